"""Memory that is kept between steps, instead of given back and asked for."""

import ctypes
import os

# mallopt's numbers, and the variables from which glibc reads the same.
_OPTIONS = {
    -4: ("MALLOC_MMAP_MAX_", 0),
    -1: ("MALLOC_TRIM_THRESHOLD_", 2**31 - 1),
    -8: ("MALLOC_ARENA_MAX", 1),
}


def keep_memory() -> bool:
    """Tells the C library of this process to keep the memory that it frees.

    glibc gives large blocks back to the system when they are freed. The next
    step of a training, or batch of clips, gets them again page by page, which
    on a CPU can take a front end longer than its Fourier transforms. The
    process then stays as large as it once was. All threads share one pool:
    what one of them frees, any of them can use, which in a large search saves
    several copies of all weights. Processes that it starts do the same.

    The command line and the recipes call this; a program of your own calls it
    before its work. Environment variables that say otherwise are respected.

    Returns:
        Whether the C library was told: only glibc has such settings.

    >>> isinstance(keep_memory(), bool)
    True
    """
    given = ("GLIBC_TUNABLES", *(name for name, _ in _OPTIONS.values()))
    if any(name in os.environ for name in given):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    for number, (name, value) in _OPTIONS.items():
        if not mallopt(number, value):
            return False
        os.environ[name] = str(value)
    return True
