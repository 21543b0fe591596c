"""FeatureStore: features on disk, in shards that are written atomically."""

import contextlib
import functools
import hashlib
import json
import logging
import pathlib
import re
import zipfile

import keras
import numpy as np

import ser_keras
from ser_keras._files import replace_file

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[0-9a-f]{32}\.npz")
# Not OSError: "too many open files" does not mean that this one is damaged.
_DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile)


class FeatureStore:
    """Folder of shards, each with the features of many utterances.

    A shard is a `.npz` file with the keys and lengths of its utterances and
    their concatenated frames. The zip format has a checksum of every array, so
    a damaged shard is detected and not used. Shards are written atomically: a
    kill loses at most the one being written. Nothing is deleted, and files of
    other names are ignored.

    Args:
        folder: Folder of one configuration, see `settings_key`.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def shards(self):
        """Files of the shards, a sorted list."""
        paths = sorted(self.folder.glob("*.npz"))
        return [path for path in paths if _NAME.fullmatch(path.name)]

    def read(self, keys, set_aside=True):
        """Reads the stored features of some keys.

        Args:
            keys: Iterable of keys.
            set_aside: Whether a damaged shard is renamed to `*.damaged`, for
                a caller that computes its features again.

        Returns:
            Dict from each stored key to a float32 array `(time, features)`.

        Raises:
            OSError: A shard cannot be opened or read.
        """
        wanted, found = set(keys), {}
        for path in self.shards():
            try:
                found.update(_read_shard(path, wanted))
            except FileNotFoundError:
                continue  # Another process has set it aside.
            except _DAMAGED as error:
                _LOG.warning("Damaged features, not used: %s: %s", path, error)
                if set_aside:
                    with contextlib.suppress(FileNotFoundError):
                        path.replace(path.with_suffix(".damaged"))
        return found

    def write(self, features):
        """Writes a shard.

        Args:
            features: Dict from key to float32 array `(time, features)`; nothing
                is written if it is empty.
        """
        if not features:
            return
        keys = sorted(features)
        name = hashlib.blake2b("".join(keys).encode(), digest_size=16)
        save = functools.partial(
            np.savez,
            keys=np.array(keys, "S"),
            lengths=np.array([len(features[k]) for k in keys], "i4"),
            frames=np.concatenate([features[k] for k in keys]),
        )
        replace_file(self.folder / f"{name.hexdigest()}.npz", save)


def _read_shard(path, wanted):
    # Opened here: of an empty file, numpy leaves its own handle open.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as shard:
        keys = [key.decode() for key in shard["keys"]]
        if wanted.isdisjoint(keys):
            return {}
        ends = np.cumsum(shard["lengths"])
        frames = shard["frames"]
        if len(ends) != len(keys) or ends[-1] != len(frames):
            raise ValueError("its parts do not fit together")
    parts = np.split(frames, ends[:-1])
    return {k: x for k, x in zip(keys, parts, strict=True) if k in wanted}


def settings_key(layers, answer, **settings):
    """Hash of all that determines features, except the audio.

    Args:
        layers: Front end and normalization, whose configurations are hashed.
        answer: Features of some fixed noise, which are rounded and hashed as
            well: a user's layer may have an incomplete configuration, or its
            code may change.
        **settings: Further settings. The version of this package is added.

    Returns:
        Sixteen hexadecimal digits.
    """
    described = {
        "version": ser_keras.__version__,
        "layers": [
            layer_settings(keras.saving.serialize_keras_object(layer))
            for layer in layers
        ],
        # Adding 0 turns negative zeros into positive ones.
        "answer": (np.round(answer, 2) + 0.0).tobytes().hex(),
        **settings,
    }
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def audio_key(path, start=None, end=None, known=None):
    """Key of an utterance: hash of the file's bytes, start and end.

    Args:
        path: Audio file.
        start: Start of the utterance in seconds, or None.
        end: End of the utterance in seconds, or None.
        known: Dict of hashes of files, which is extended, or None.

    Returns:
        String.
    """
    known = {} if known is None else known
    if path not in known:
        with open(path, "rb") as file:
            content = file.read()
        known[path] = hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"{known[path]}:{start}:{end}"


def layer_settings(config):
    """A configuration of layers without what is no setting of theirs.

    That is their names, which Keras numbers, and the shapes of their first
    inputs, which it adds once a layer has been called.
    """
    if isinstance(config, dict):
        return {
            key: layer_settings(value)
            for key, value in config.items()
            if key != "build_config"
            and not (key == "name" and "trainable" in config)
        }
    if isinstance(config, list | tuple):
        return [layer_settings(value) for value in config]
    return config
