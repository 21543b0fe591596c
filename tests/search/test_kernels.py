"""A search does not depend on whose kernels compute it."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

SCRIPT = pathlib.Path(__file__).with_name("kernels_search.py")


def test_with_and_without_onednn():
    """The same gradients, and the same genotype in the end."""
    runs = {
        onednn: subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for onednn in "01"
    }
    found = {}
    for onednn, process in runs.items():
        out, err = process.communicate()
        assert process.returncode == 0, err[-4000:]
        found[onednn] = json.loads(out.splitlines()[-1])
    without, with_onednn = found["0"], found["1"]
    size = np.linalg.norm(np.concatenate(without["gradients"]))
    for a, b in zip(
        with_onednn["gradients"], without["gradients"], strict=True
    ):
        error = np.linalg.norm(np.subtract(a, b))
        assert error <= 1e-4 * max(np.linalg.norm(b), 1e-2 * size)
    # Adam has moved them by up to 0.01 in each of eight steps. (They are not
    # equal to the last digit: ReLU and maxima amplify what rounding leaves.)
    for alphas in without["alphas"].values():
        assert np.abs(alphas).max() > 0.02
    assert with_onednn["genotype"] == without["genotype"]
