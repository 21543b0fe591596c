"""Frames of many files as one read-only array that stays on the disk.

The files of a store are mapped one after the other into one range of memory
addresses. All clips are then rows of one array, from which TensorFlow gathers
batches as it does from memory: without a copy, and without Python in the input
pipeline (an iterator that is deleted while a Python function is prefetched
waits for it with Python's lock held, which that function needs: a deadlock).
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
import weakref
from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

#: Frames that begin at such a byte of their file can be mapped.
ALIGNMENT = mmap.ALLOCATIONGRANULARITY
_MAP_FIXED = 0x10  # Of Linux and macOS; the module `mmap` does not have it.

_blocks: dict[int, Block] = {}  # By the id of their `flat`, while it lives.
# A tensor must not be the last to hold its block: threads of TensorFlow would
# wait for Python's lock then. So they stay, which costs addresses, no memory.
_tensors: dict[int, tf.Tensor] = {}


class Part(NamedTuple):
    """Frames in a file: where they begin, how many, and of which file."""

    path: os.PathLike[str]
    offset: int  # Bytes.
    rows: int
    state: Any  # `file_state` when the content was checked.


class Block(NamedTuple):
    """An array that `map_parts` made."""

    width: int
    rows: int
    finite: bool


def can_map(offset: int) -> bool:
    """Whether frames that begin at this byte of a file can be mapped here."""
    return sys.platform in ("linux", "darwin") and offset % ALIGNMENT == 0


def file_state(file: Any) -> tuple:
    """What changes when an open file is replaced or written to."""
    x = os.fstat(file.fileno())
    return x.st_dev, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns


def map_parts(
    parts: Iterable[Part], width: int, finite: bool
) -> list[np.ndarray | None]:
    """Maps parts of files into one block, the last row of which is zero.

    Args:
        parts: Sequence of `Part`, whose offsets `can_map` accepts.
        width: Features of a frame.
        finite: Whether all frames are known to be finite.

    Returns:
        For each part a read-only float32 array `(rows, width)`, or None if
        the file is gone or is another one now.

    Raises:
        OSError: The system refuses.
    """
    parts = list(parts)
    row = 4 * width
    # Every part begins at a page and at a multiple of a row.
    step = math.lcm(ALIGNMENT, row)
    starts, size = [], 0
    for part in parts:
        starts.append(size)
        size += -(-part.rows * row // step) * step
    size += step
    # Python's own mapping, of zeros, keeps the range and frees it.
    region = mmap.mmap(
        -1,
        size,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        prot=mmap.PROT_READ,
    )
    address = np.frombuffer(region, np.uint8).__array_interface__["data"][0]
    mapped = [
        _map(address + start, part, part.rows * row)
        for start, part in zip(starts, parts, strict=True)
    ]
    flat = _array(address, size // 4, region)
    flat.flags.writeable = False
    _blocks[id(flat)] = Block(width, size // row, finite)
    weakref.finalize(flat, _blocks.pop, id(flat)).atexit = False
    return [
        flat[start // 4 :][: part.rows * width].reshape(-1, width)
        if found
        else None
        for start, part, found in zip(starts, parts, mapped, strict=True)
    ]


def block_of(array: np.ndarray) -> tuple[np.ndarray, Block] | None:
    """The flat array and the `Block` that an array is a part of, or None."""
    flat = array.base
    block = _blocks.get(id(flat))
    if flat is None or block is None or array.shape[1:] != (block.width,):
        return None
    return flat, block


def first_row(array: np.ndarray, flat: np.ndarray) -> int:
    """Row of a block at which an array begins."""
    address, base = (x.__array_interface__["data"][0] for x in (array, flat))
    return (address - base) // (4 * array.shape[1])


def known_finite(array: np.ndarray) -> bool:
    """Whether it is from a file whose frames were all found finite."""
    found = block_of(array)
    return found is not None and found[1].finite


def block_tensor(flat: np.ndarray) -> tf.Tensor:
    """A block as a float32 tensor `(rows, width)`, without a copy."""
    key = id(flat)
    if key not in _tensors:
        block = _blocks[key]
        address = flat.__array_interface__["data"][0]
        # DLPack takes arrays only that look writable.
        x = _array(address, flat.size, flat).reshape(-1, block.width)
        with tf.device("CPU"):
            tensor = tf.experimental.dlpack.from_dlpack(x.__dlpack__())
        _tensors[key] = tensor
    return _tensors[key]


def _array(address, size, owner):
    """Float32 array at an address that keeps the owner of the memory."""
    buffer = (ctypes.c_float * size).from_address(address)
    buffer.owner = owner
    return np.frombuffer(buffer, np.float32)


def _map(address, part, size):
    """Puts a part of a file at an address; whether it is still that file."""
    try:
        file = open(part.path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return False
    with file:
        if file_state(file) != part.state:
            return False
        place = _libc_mmap()
        # The file may be closed then, so there is no limit of open files.
        found = place(
            address,
            size,
            mmap.PROT_READ,
            mmap.MAP_SHARED | _MAP_FIXED,
            file.fileno(),
            part.offset,
        )
    if found != address:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(part.path))
    return True


def _libc_mmap():
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    ]
    return function
