"""Features on disk: written once, never half, never for other settings."""

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
# Not OSError: too many open files say nothing about this one.
_DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile)


class FeatureStore:
    """A folder of shards; each holds the features of many utterances.

    A shard is a `.npz` with the utterances' keys, lengths and, one after the
    other, frames. The zip format keeps a checksum of every array, so a damaged
    shard is noticed and not used. Shards are written beside and renamed; a run
    that is killed loses the shard in the making only. Nothing is deleted, and
    files of other names are left alone.

    Args:
        folder: Folder of one setting, see `settings_key`.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def shards(self):
        """List of the shards' files, sorted."""
        paths = sorted(self.folder.glob("*.npz"))
        return [path for path in paths if _NAME.fullmatch(path.name)]

    def read(self, keys, set_aside=True):
        """Reads what there is of some keys.

        Args:
            keys: Iterable of keys.
            set_aside: Whether a damaged shard is renamed to `*.damaged`, for
                a caller who computes its features again.

        Returns:
            Dict from key to float32 array `(time, features)`, where present.

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
        """Adds a shard from a dict of key to float32 `(time, features)`."""
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
    """Short hash of everything that decides a feature, except the audio.

    Args:
        layers: Front end and what follows it; their configurations count.
        answer: Features that the layers make of some fixed noise. They count
            as well, rounded: a layer of the user's own may have an incomplete
            configuration, and its code changes without it.
        **settings: Anything else. The version of this package is added.

    Returns:
        String.
    """
    described = {
        "version": ser_keras.__version__,
        "layers": [
            without_names(keras.saving.serialize_keras_object(layer))
            for layer in layers
        ],
        # Adding 0 makes a positive zero of a negative one.
        "answer": (np.round(answer, 2) + 0.0).tobytes().hex(),
        **settings,
    }
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def audio_key(path, start=None, end=None, known=None):
    """Hash of a file's bytes and of the part that is used.

    Args:
        path: Audio file.
        start: Beginning of the part in seconds, or None.
        end: End of the part in seconds, or None.
        known: Dict that remembers the files hashed already, or None.
    """
    known = {} if known is None else known
    if path not in known:
        with open(path, "rb") as file:
            content = file.read()
        known[path] = hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"{known[path]}:{start}:{end}"


def without_names(config):
    """Drops the names of layers: Keras counts them up within a process."""
    if isinstance(config, dict):
        return {
            key: without_names(value)
            for key, value in config.items()
            if not (key == "name" and "trainable" in config)
        }
    if isinstance(config, list | tuple):
        return [without_names(value) for value in config]
    return config
