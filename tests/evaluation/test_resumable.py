"""Runs that are killed in mid-epoch end as if they had not been."""

import os
import pathlib
import signal
import subprocess
import sys

import numpy as np

SCRIPT = pathlib.Path(__file__).with_name("killed_run.py")


def run(*folders, kill_at=()):
    names = os.pathsep.join(map(str, folders))
    command = [sys.executable, str(SCRIPT), names, *map(str, kill_at)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPT.parents[2]),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600
    )


def test_killed_run_ends_like_an_uninterrupted_one(tmp_path):
    printed = ""
    for stage in ("search", "train"):
        killed = run(tmp_path / "killed", kill_at=(stage, 8))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / f"killed/{stage}.npz").exists()
        printed += killed.stdout
    # And one that nobody kills.
    last = run(tmp_path / "killed", tmp_path / "whole")
    assert last.returncode == 0, last.stderr
    printed += last.stdout
    for stage in ("search", "train"):
        assert f"{stage}: resuming after epoch 2" in printed
        first = np.load(tmp_path / f"whole/{stage}.npz")
        second = np.load(tmp_path / f"killed/{stage}.npz")
        assert sorted(first) == sorted(second)
        for name in first:
            np.testing.assert_array_equal(
                second[name], first[name], err_msg=f"{stage}: {name}"
            )
    for name in ("genotype.json", "architecture.jsonl"):
        there = (tmp_path / "whole" / name).read_text()
        assert (tmp_path / "killed" / name).read_text() == there
