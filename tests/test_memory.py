import os
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from ser_keras.memory import keep_memory

def pages():
    return int(open("/proc/self/statm").read().split()[1])

if {keep}:
    print(keep_memory(), keep_memory())
else:
    print("left alone")
before = pages()
for _ in range(2):
    block = np.ones(2**24)  # 128 MiB
    del block
print((pages() - before) * 4096 / 2**20)
"""
THREADS = """
import threading
from ser_keras.memory import keep_memory

keep_memory()
turns = [threading.Event() for _ in range(5)]

def pages():
    return int(open("/proc/self/statm").read().split()[1])

def work(number):
    turns[number].wait()
    blocks = [bytearray(b"1" * 2**18) for _ in range(100)]  # 25 MiB
    del blocks
    turns[number + 1].set()
    turns[-1].wait()

threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
for thread in threads:
    thread.start()
before = pages()
turns[0].set()
for thread in threads:
    thread.join()
print((pages() - before) * 4096 / 2**20)
"""
TUNED = (
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TRIM_THRESHOLD_",
)


glibc = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}),
    reason="only glibc has such settings",
)


def run(program, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in TUNED}
    return subprocess.check_output(
        [sys.executable, "-c", program], env=clean | environment, text=True
    )


def kept(keep, **environment):
    output = run(PROGRAM.format(keep=keep), **environment)
    answer, mebibytes = output.splitlines()
    return answer, float(mebibytes)


@glibc
def test_memory_is_kept():
    assert kept(False)[1] < 20
    answer, mebibytes = kept(True)
    # The second call finds what the first has left for child processes.
    assert answer == "True False"
    assert mebibytes > 100


@glibc
def test_threads_use_what_others_have_freed():
    assert 20 < float(run(THREADS)) < 40
    alone = {
        "MALLOC_ARENA_MAX": "8",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
    }
    assert float(run(THREADS, **alone)) > 60


def test_the_environment_is_respected():
    answer, mebibytes = kept(True, MALLOC_TRIM_THRESHOLD_="1000000")
    assert answer == "False False"
    assert mebibytes < 20
