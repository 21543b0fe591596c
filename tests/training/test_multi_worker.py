"""Two processes train and search as one device does, also after a kill."""

import contextlib
import json
import os
import pathlib
import signal
import socket

import keras
import numpy as np
import pytest

from ser_keras.training.runtime import Runtime
from ser_keras.training.runtime import strategy
from tests.forks import Program
from tests.models import small_network as small
from tests.training import worker

SCRIPT = pathlib.Path(worker.__file__)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def start(tmp_path):
    """`start(command, index)`: a process that is a worker of a cluster.

    And the file that it prints to.
    """
    ports = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []

    def begin(command, index, folder=None):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": ports}, "task": task}
        environment = {
            **os.environ,
            "PYTHONPATH": str(SCRIPT.parents[2]),
            "TF_CONFIG": json.dumps(config),
        }
        file = tmp_path / f"printed_{len(processes)}.txt"
        with open(file, "w") as log:
            processes.append(Program(command, log, log, environment, folder))
        return processes[-1], file

    yield begin
    for process in processes:
        process.kill()


def ended(process, file, status=0):
    """What it has printed, once it has ended as it is to end."""
    found = process.wait(timeout=300)
    printed = file.read_text()
    assert found == status, printed
    return printed


def test_two_workers_and_a_kill_are_one_device(tmp_path, start):
    command = [SCRIPT, "--output-dir", tmp_path / "run"]
    chief = start(command, 0)
    killed = start([*command, "--killed-in", 2], 1)
    ended(*killed, status=-signal.SIGKILL)
    # The chief waits for it, and both go on after the first epoch.
    other = start(command, 1)
    printed = ended(*chief)
    assert "Another worker has ended" in printed
    assert "train: resuming after epoch 1" in printed
    assert "train: resuming after epoch 1" in ended(*other)
    chief, other = (
        np.load(tmp_path / f"{name}.npz") for name in ("chief", "worker")
    )
    for name in chief.files:
        np.testing.assert_array_equal(chief[name], other[name], err_msg=name)

    scope = strategy("none").scope
    weights = worker.resumable(tmp_path / "one", scope())
    fit = small.SITUATIONS["fewer clips than replicas"]()
    model, history = small.trained("none", fit, run_eagerly=False)
    alphas, search_history = worker.searched(scope())
    wanted = [
        *weights,
        *model.get_weights(),
        np.array([history[name] for name in sorted(history)]),
        alphas,
        np.array([search_history[name] for name in sorted(search_history)]),
    ]
    assert len(wanted) == len(chief.files)
    for name, value in zip(chief.files, wanted, strict=True):
        np.testing.assert_allclose(
            chief[name], value, rtol=1e-5, atol=1e-5, err_msg=name
        )


class Interrupt(keras.callbacks.Callback):
    """As Ctrl-C in the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_resumed_on_another_number_of_replicas(tmp_path):
    whole = worker.resumable(tmp_path / "one", strategy("none").scope())
    for first, second in (("none", "mirrored"), ("mirrored", "none")):
        folder = tmp_path / first
        with pytest.raises(KeyboardInterrupt):
            worker.resumable(
                folder, strategy(first).scope(), callbacks=[Interrupt()]
            )
        found = worker.resumable(folder, strategy(second).scope())
        for a, b in zip(whole, found, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (None, RuntimeError, "needs the environment variable TF_CONFIG"),
        ("{", ValueError, "must be JSON with `cluster` and `task`"),
        ({"cluster": {}}, ValueError, "must be JSON with `cluster`"),
        (
            {"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}},
            ValueError,
            "needs a `worker` list, whose first is the chief",
        ),
        (
            {
                "cluster": {"worker": ["a:1"]},
                "task": {"type": "worker", "index": 1},
            },
            ValueError,
            "must be one of its cluster's workers",
        ),
    ],
)
def test_bad_tf_config(config, error, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(error, match=message):
        Runtime("multi-worker").start()


def test_workers_that_differ_are_told(tmp_path, start):
    """The same command, but for an option that makes other numbers."""
    command = ["-m", "ser_keras", "train", "light_sernet", "--smoke"]
    command += ["--strategy", "multi-worker", "--output-dir", "run"]
    workers = [
        start([*command, "--seed", seed], seed, tmp_path) for seed in (0, 1)
    ]
    for worker_and_file in workers:
        printed = ended(*worker_and_file, status=1)
        assert "The workers have different configurations" in printed
    assert not (tmp_path / "run").exists()
