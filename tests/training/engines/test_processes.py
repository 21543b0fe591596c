"""The engine `local`: processes of this machine."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from ser_keras.training.engines.fan_out import run_tasks

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
