"""Locks of run folders: waiting, taking over, and holders that stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from ser_keras.training import run_lock
from ser_keras.training.run_lock import RunLock
from ser_keras.training.run_lock import RunLockedError
from tests.conftest import REPOSITORY

HOLDER = """
import sys, time
from ser_keras.training.run_lock import RunLock, RunLockedError
try:
    with RunLock(sys.argv[1], stale_seconds=float(sys.argv[2])):
        print("held", flush=True)
        while True:
            time.sleep(0.01)
except RunLockedError as error:
    print("lost", flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`, with beats of 0.1 s."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "1.2"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_one_at_a_time(tmp_path, monkeypatch, capsys):
    # Threads change places often, and look at the lock often.
    sleep, interval = time.sleep, sys.getswitchinterval()
    quick = types.SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda _: sleep(0.0003)
    )
    monkeypatch.setattr(run_lock, "time", quick)
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(40):
            with RunLock(tmp_path):
                inside += 1
                most = max(most, inside)
                sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert most == 1
    assert "taken over" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_living_holder_is_waited_for(tmp_path, holder, capsys):
    with pytest.raises(RunLockedError, match=f"process {holder.pid} on"):
        RunLock(tmp_path, stale_seconds=5, wait=False).__enter__()
    threading.Timer(0.5, holder.kill).start()
    start = time.monotonic()
    with RunLock(tmp_path, stale_seconds=60):
        # Of a process of this machine that has ended nothing is waited for.
        assert 0.3 < time.monotonic() - start < 30
        owner = json.loads((tmp_path / ".lock").read_text())
        assert owner["pid"] == os.getpid()
    out = capsys.readouterr().out
    assert "is being worked on" in out
    assert f"taken over from process {holder.pid}" in out


def test_a_holder_without_a_heartbeat_loses_the_lock(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    with RunLock(tmp_path, stale_seconds=1):
        holder.send_signal(signal.SIGCONT)
        # It learns of it, and leaves the new holder's lock alone.
        assert holder.stdout.readline() == "lost\n"
        assert holder.wait(30) == 0
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == (
            os.getpid()
        )


def test_a_holder_of_another_machine_is_believed_its_heartbeat(tmp_path):
    lock = tmp_path / ".lock"
    owner = {"host": "other", "machine": "?", "pid": 1, "started": 1}
    lock.write_text(json.dumps(owner))
    end = threading.Event()

    def beat():
        while not end.wait(0.1):
            os.utime(lock)

    thread = threading.Thread(target=beat)
    thread.start()
    time.sleep(1.5)
    start = time.monotonic()
    threading.Timer(1.5, end.set).start()
    with RunLock(tmp_path, stale_seconds=1):
        assert time.monotonic() - start > 2.4
    thread.join()


def test_only_one_takes_over(tmp_path):
    (tmp_path / ".lock").write_text("")  # Its maker was killed then.
    inside, most, order = 0, 0, []

    def work(number):
        nonlocal inside, most
        with RunLock(tmp_path, stale_seconds=0.5):
            inside += 1
            most = max(most, inside)
            order.append(number)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert sorted(order) == list(range(6))
    assert not list(tmp_path.iterdir())


def test_the_lock_in_a_copy_of_a_folder_is_none(tmp_path, holder):
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    with RunLock(tmp_path.with_name("copy"), wait=False):
        pass
    with pytest.raises(RunLockedError):
        RunLock(tmp_path, wait=False).__enter__()


def test_seconds_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`stale_seconds` must be a positive"):
        RunLock(tmp_path, stale_seconds=0)
    monkeypatch.setenv("SER_KERAS_STALE_SECONDS", "soon")
    with pytest.raises(ValueError, match="SER_KERAS_STALE_SECONDS.*soon"):
        RunLock(tmp_path)
