"""The engine `local`: processes of this machine."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from ser_keras.training.engines import processes
from ser_keras.training.engines.fan_out import run_tasks
from tests.training.engines import tasks

HERE = pathlib.Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(HERE.parents[2]),
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def test_output_and_errors_go_to_the_log(tmp_path, capfd):
    calls = {
        "first": ("print('hello')",),
        "second": ("raise FileNotFoundError('gone')",),
    }
    logs = {name: tmp_path / f"{name}.txt" for name in calls}
    with pytest.raises(RuntimeError, match="second failed: FileNotFoundError"):
        run_tasks(exec, calls, 1, logs)
    assert logs["first"].read_text() == "hello\n"
    assert "Traceback" in logs["second"].read_text()
    assert "first: finished, 1 of 2" in capfd.readouterr().out
    with pytest.raises(ValueError, match="`jobs`"):
        run_tasks(exec, calls, 0, logs)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    file = tmp_path / "number"
    parent = subprocess.Popen(
        [sys.executable, HERE / "waiting_process.py", file], env=ENVIRONMENT
    )
    wait_until(lambda: file.exists() and file.read_text(), 120)
    child = int(file.read_text())
    os.kill(child, 0)  # It is there.
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not running(child), 30)


@pytest.mark.parametrize(
    ("visible", "jobs", "shares"),
    [
        ("0,1,2,3", 2, ["0,2", "1,3"]),
        ("4,6,7", 2, ["4,7", "6"]),
        ("GPU-a, GPU-b", 3, ["GPU-a", "GPU-b", "GPU-a"]),
        ("0,1,-1,2", 2, ["0", "1"]),
        # Nothing to share.
        ("0,1", 1, [None]),
        ("5", 2, [None, None]),
        ("", 2, [None, None]),
        ("-1", 2, [None, None]),
    ],
)
def test_shares_of_gpus(monkeypatch, visible, jobs, shares):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert processes.gpu_shares(jobs) == shares


def test_shares_of_all_gpus_of_the_machine(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: [kind] * 4
    )
    assert processes.gpu_shares(3) == ["0,3", "1", "2"]


def test_processes_see_their_share_of_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    names = "abcd"
    run_tasks(
        tasks.write_gpus,
        {name: (tmp_path / name,) for name in names},
        2,
        {name: tmp_path / name / "log.txt" for name in names},
    )
    found = [(tmp_path / name / "final").read_text() for name in names]
    processes_and_gpus = {tuple(text.split()) for text in found}
    assert {gpus for _, gpus in processes_and_gpus} == {"3,7", "5"}
    assert len(processes_and_gpus) == 2  # A process keeps its share.
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5,7"


def running(number):
    try:
        status = pathlib.Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
