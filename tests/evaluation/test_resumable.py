"""Runs that are killed in mid-epoch end as if they had not been."""

import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("killed_run.py")


def run(stage, folder, kill_at=None):
    command = [sys.executable, str(SCRIPT), stage, str(folder)]
    if kill_at is not None:
        command.append(str(kill_at))
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPT.parents[2]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("stage", ["search", "train"])
def test_killed_run_ends_like_an_uninterrupted_one(stage, tmp_path):
    whole = run(stage, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = run(stage, tmp_path / "killed", kill_at=8)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed/state.npz").exists()
    resumed = run(stage, tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{stage}: resuming after epoch 2" in resumed.stdout
    first = np.load(tmp_path / "whole/state.npz")
    second = np.load(tmp_path / "killed/state.npz")
    assert sorted(first) == sorted(second)
    for name in first:
        np.testing.assert_array_equal(second[name], first[name], err_msg=name)
    for name in ("genotype.json", "architecture.jsonl"):
        if stage == "search":
            there = (tmp_path / "whole" / name).read_text()
            assert (tmp_path / "killed" / name).read_text() == there
