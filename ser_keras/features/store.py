"""FeatureStore: features on disk, in shards that are written atomically."""

import contextlib
import functools
import hashlib
import json
import logging
import math
import pathlib
import re
import struct
import zipfile
from typing import NamedTuple

import keras
import numpy as np

import ser_keras
from ser_keras._files import replace_file
from ser_keras.features.mapped_frames import ALIGNMENT
from ser_keras.features.mapped_frames import Part
from ser_keras.features.mapped_frames import can_map
from ser_keras.features.mapped_frames import file_state
from ser_keras.features.mapped_frames import map_parts

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[0-9a-f]{32}\.npz")
# Not OSError: "too many open files" does not mean that this one is damaged.
_DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile)
_BLOCK = 1 << 20  # Bytes that are checked at a time.
_FRAMES = "frames.npy"
_HEADER = 128  # Bytes of numpy's header of such an array.
_ZIP_HEADER = 30 + len(_FRAMES) + 20  # With the sizes of 64 bits.
_PADDING = 0xD935  # Kind of an extra field that aligns data, of zipalign.

_checked: dict[tuple, bool] = {}  # From a file's state to whether all finite.


class FeatureStore:
    """Folder of shards, each with the features of many utterances.

    A shard is a `.npz` file with the keys and lengths of its utterances and
    their concatenated frames. The zip format has a checksum of every array,
    which is verified once a process, so a damaged shard is detected and not
    used. Shards are written atomically: a kill loses at most the one being
    written. Nothing is deleted, and files of other names are ignored.

    What is read stays on the disk: arrays are views of the files, mapped into
    memory, and the system may drop their pages at any time. Shards of earlier
    versions, and all where files cannot be mapped, are read into memory.

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
        wanted, found, shards = set(keys), {}, []
        for path in self.shards():
            try:
                shard = _read_shard(path, wanted)
                if shard is not None:
                    shards.append(shard)
            except FileNotFoundError:
                continue  # Another process has set it aside.
            except _DAMAGED as error:
                _LOG.warning("Damaged features, not used: %s: %s", path, error)
                if set_aside:
                    with contextlib.suppress(FileNotFoundError):
                        path.replace(path.with_suffix(".damaged"))
        # Those with a NaN apart, so that all others are known to have none.
        for kind in {shard.kind for shard in shards}:
            alike = [shard for shard in shards if shard.kind == kind]
            parts = [shard.part for shard in alike]
            frames = [shard.frames for shard in alike]
            if kind.mapped:
                frames = map_parts(parts, kind.width, kind.finite)
            for shard, array in zip(alike, frames, strict=True):
                if array is not None:
                    found.update(shard.split(array, wanted))
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
        frames = np.concatenate([features[k] for k in keys])
        save = functools.partial(
            _write_shard,
            frames=np.ascontiguousarray(frames, np.float32),
            keys=np.array(keys, "S"),
            lengths=np.array([len(features[k]) for k in keys], "i4"),
        )
        replace_file(self.folder / f"{name.hexdigest()}.npz", save)


class _Kind(NamedTuple):
    """What shards must have in common to be mapped together."""

    mapped: bool
    width: int
    finite: bool


class _Shard(NamedTuple):
    """A shard that was found undamaged."""

    kind: _Kind
    part: Part
    frames: np.ndarray | None  # None if they are to be mapped.
    keys: list[str]
    lengths: np.ndarray

    def split(self, frames, wanted):
        """Dict from each wanted key to its part of the frames."""
        ends = np.cumsum(self.lengths).tolist()
        return {
            key: frames[end - length : end]
            for key, end, length in zip(
                self.keys, ends, self.lengths.tolist(), strict=True
            )
            if key in wanted
        }


def _write_shard(path, frames, **arrays):
    """Writes what `np.savez` would, with frames that can be mapped."""
    info = zipfile.ZipInfo(_FRAMES)
    missing = -(_ZIP_HEADER + _HEADER + 4) % ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, missing) + bytes(missing)
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, array in {_FRAMES: frames, **arrays}.items():
            member = info if name == _FRAMES else f"{name}.npy"
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _read_shard(path, wanted):
    """The `_Shard` of a file, or None if it has no wanted key."""
    # Opened here: of an empty file, numpy leaves its own handle open.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as shard:
        state = file_state(file)
        keys = [key.decode() for key in shard["keys"]]
        if wanted.isdisjoint(keys):
            return None
        lengths = shard["lengths"]
        shape, offset, finite = _check_frames(file, shard.zip, state)
        if len(lengths) != len(keys) or lengths.sum() != shape[0]:
            raise ValueError("its parts do not fit together")
        kind = _Kind(can_map(offset), shape[1], finite)
        frames = None if kind.mapped else shard["frames"]
    return _Shard(
        kind, Part(path, offset, shape[0], state), frames, keys, lengths
    )


def _check_frames(file, archive, state):
    """Shape of a shard's frames, their first byte, and whether all are finite.

    Raises:
        zipfile.BadZipFile: They do not have their checksum.
    """
    info = archive.getinfo(_FRAMES)
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0) or info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its frames are of another format")
        read_header = np.lib.format.read_array_header_1_0
        shape, fortran, dtype = read_header(member)
        if dtype != np.float32 or fortran or len(shape) != 2:
            raise ValueError("its frames are no float32 `(time, features)`")
        header = member.tell()
        if state not in _checked:
            finite = True
            # The zip file compares the checksum at the end.
            while content := member.read(_BLOCK):
                values = np.frombuffer(content, "V1").view(np.float32)
                finite = finite and bool(np.isfinite(values).all())
            _checked[state] = finite
    file.seek(info.header_offset)
    lengths = struct.unpack("<26xHH", file.read(30))
    offset = info.header_offset + 30 + sum(lengths) + header
    if offset + 4 * math.prod(shape) > info.header_offset + state[2]:
        raise ValueError("its frames are cut short")
    return shape, offset, _checked[state]


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


def digest(weights, text=""):
    """Hexadecimal digits that identify weights, and a text beside them."""
    found = hashlib.blake2b(text.encode(), digest_size=16)
    for weight in weights:
        found.update(np.ascontiguousarray(weight).tobytes())
    return found.hexdigest()


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
