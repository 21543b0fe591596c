"""Runs `as_shipped.py` as a user's process would compute it.

With TensorFlow's optimisers of graphs and XLA's passes, which the other tests
leave out, and once more without oneDNN's kernels.
"""

import os
import pathlib
import subprocess
import sys

import pytest

FILE = pathlib.Path(__file__).with_name("as_shipped.py")
# What has other kernels without oneDNN, as `pytest -k`. Not XLA and searches
# (`True`, and `search/test_kernels.py`), nor bfloat16, which is oneDNN's here.
OTHER_KERNELS = (
    "not bfloat16 and not True and (cnn_candidate or recurrent_candidate or "
    "dilated or test_cell or test_network or batch_norm or conv_norm_pool or "
    "pooling)"
)
NAMES = ("PYTEST_", "XLA_FLAGS", "TF_NUM_INTRAOP_THREADS")


@pytest.mark.parametrize(
    ("onednn", "tests"),
    [("1", ""), ("0", OTHER_KERNELS)],
    ids=["onednn", "without_onednn"],
)
def test_as_shipped(onednn, tests):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(NAMES)
    }
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--durations=5"),
            *("-p", "no:cacheprovider", "-n", "0", "-k", tests, str(FILE)),
        ],
        env={
            **environment,
            "SER_KERAS_AS_SHIPPED": "1",
            "TF_ENABLE_ONEDNN_OPTS": onednn,
        },
        cwd=FILE.parent.parent,
        capture_output=True,
        text=True,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-4000:]
