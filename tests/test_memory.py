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
TUNED = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def kept(keep, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in TUNED}
    program = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    output = subprocess.check_output(
        program, env=clean | environment, text=True
    )
    answer, mebibytes = output.splitlines()
    return answer, float(mebibytes)


@pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}),
    reason="only glibc has such settings",
)
def test_memory_is_kept():
    assert kept(False)[1] < 20
    answer, mebibytes = kept(True)
    # The second call finds what the first has left for child processes.
    assert answer == "True False"
    assert mebibytes > 100


def test_the_environment_is_respected():
    answer, mebibytes = kept(True, MALLOC_TRIM_THRESHOLD_="1000000")
    assert answer == "False False"
    assert mebibytes < 20
