"""Folds on every engine, one of whose workers is lost in a training."""

import importlib
import json
import os
import signal
import threading
import time

import numpy as np
import pytest

from ser_keras.cli.main import main
from ser_keras.evaluation.predictions import Predictions
from ser_keras.training.engines import make_engine
from ser_keras.training.engines import run_tasks
from tests.training.engines import parallel_folds
from tests.training.engines import tasks
from tests.training.engines.parallel_folds import StopOnce

# Ray and submitit leave sockets and files to be closed at the end.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]
EPOCHS = 4


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Predictions of folds that were trained one after the other here."""
    folder = tmp_path_factory.mktemp("alone")
    parallel_folds.main(folder, 1, epochs=EPOCHS)
    assert not list(folder.glob("folds/*/log.txt"))
    return Predictions.load_csv(folder / "predictions.csv")


@pytest.fixture(scope="module")
def cluster():
    """Ray: a head without CPUs and two nodes of one CPU, on this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    # Reads what a cluster of this library has in its environment.
    importlib.import_module("ser_keras.training.engines.ray")
    small = {"object_store_memory": 80 * 2**20}
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, **small)
        ray.init(cluster.address, log_to_driver=False, logging_level="error")
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def jobs(monkeypatch):
    """SLURM: jobs are processes; a killed one is given up after a second."""
    submitit = pytest.importorskip("submitit", reason="needs `slurm`")
    monkeypatch.setenv("SER_KERAS_SLURM", "cluster=local")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)


def check(engine, folder, lose, alone, capfd):
    """Runs the folds, loses a worker in one, and compares.

    Args:
        engine: Name of the engine.
        folder: Empty folder.
        lose: `lose(process, node)` ends the worker that waits to be lost.
        alone: Predictions of a run without loss.
        capfd: Of pytest.
    """
    stopped = folder / "stopped"

    def wait_and_lose():
        end = time.monotonic() + 240
        while time.monotonic() < end:
            text = stopped.read_text() if stopped.exists() else ""
            if text.endswith("\n"):
                process, node = text.split()
                return lose(int(process), node)
            time.sleep(0.1)

    thread = threading.Thread(target=wait_and_lose)
    thread.start()
    run = folder / "run"
    parallel_folds.main(
        run, 2, engine, epochs=EPOCHS, callbacks=[StopOnce(stopped)]
    )
    thread.join()
    out = capfd.readouterr().out
    assert "a worker was lost, its task is begun again" in out
    assert "finished, 3 of 3" in out and "fold 3/3: test c  UAR" in out
    resumed = []
    for fold in (run / "folds").iterdir():
        log = (fold / "log.txt").read_text()
        resumed.append("train: resuming after epoch 2" in log)
        assert "train  4/4" in log
        # The lost worker's third epoch was never finished.
        lines = (fold / "train_metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
        assert not (fold / ".lock").exists()
    assert sorted(resumed) == [False, False, True]
    found = Predictions.load_csv(run / "predictions.csv")
    assert found.ids == alone.ids and len(found.ids) == 18
    # Another number of threads, hence not bit for bit.
    np.testing.assert_allclose(
        found.probabilities, alone.probabilities, atol=1e-3
    )


def kill(process, node):
    os.kill(process, signal.SIGKILL)


def test_a_killed_process_costs_an_epoch(tmp_path, alone, capfd):
    check("local", tmp_path, kill, alone, capfd)


def test_a_killed_slurm_job_costs_an_epoch(jobs, tmp_path, alone, capfd):
    check("slurm", tmp_path, kill, alone, capfd)


def test_a_removed_ray_node_costs_an_epoch(cluster, tmp_path, alone, capfd):
    def remove(process, node):
        (lost,) = (x for x in cluster.worker_nodes if x.node_id == node)
        cluster.remove_node(lost, allow_graceful=False)

    check("ray", tmp_path, remove, alone, capfd)
    assert len(cluster.worker_nodes) == 1


def trains(engine, folder, monkeypatch):
    """The command that the documentation shows."""
    monkeypatch.chdir(folder)
    argv = ["train", "hand_made", "--smoke", "--network", "cnn", "--no-final"]
    assert main([*argv, "--engine", engine, "--output-dir", "run"]) == 0
    (log,) = (folder / "run").glob("folds/*/log.txt")
    assert "train  1/1" in log.read_text()
    assert (folder / "run/result.json").exists()


def test_the_command_with_ray(cluster, tmp_path, monkeypatch):
    trains("ray", tmp_path, monkeypatch)


def test_the_command_with_slurm(jobs, tmp_path, monkeypatch):
    trains("slurm", tmp_path, monkeypatch)


def fails(engine, folder):
    logs = {"a": folder / "a.txt"}
    with pytest.raises(RuntimeError, match="a failed: FileNotFoundError"):
        run_tasks(
            exec,
            {"a": ("print('hello'); raise FileNotFoundError('gone')",)},
            1,
            logs,
            engine=engine,
        )
    assert logs["a"].read_text().startswith("hello\nTraceback")


def test_calls_of_ray(cluster, tmp_path):
    import ray

    with make_engine("ray", 2, tmp_path) as engine:
        value = engine.share([1, 2, 3])
        futures = [engine.submit(sum, value, x) for x in (0, 10)]
        assert [future.result() for future in futures] == [6, 16]
        with pytest.raises(TypeError, match="multiply"):
            engine.submit(tasks.square, "x").result()
    assert ray.is_initialized()  # It was not this engine that connected.
    fails("ray", tmp_path)


def test_calls_of_slurm(jobs, tmp_path):
    with make_engine("slurm", 2, tmp_path) as engine:
        value = engine.share([1, 2, 3])
        futures = [engine.submit(sum, value, x) for x in (0, 10)]
        assert [future.result() for future in futures] == [6, 16]
        (pickle,) = (tmp_path / "slurm").glob("*.pkl")
    assert not pickle.exists()
    fails("slurm", tmp_path)


def test_slurm_in_this_process(jobs, monkeypatch, tmp_path):
    monkeypatch.setenv("SER_KERAS_SLURM", "cluster=debug timeout_min=5")
    calls = {name: (tmp_path / name,) for name in "ab"}
    run_tasks(
        tasks.write,
        calls,
        2,
        {name: tmp_path / f"{name}.txt" for name in calls},
        engine="slurm",
        finals={name: tmp_path / name / "final" for name in calls},
    )
    begun = [(tmp_path / name / "begun").read_text() for name in calls]
    assert begun == [f"{os.getpid()}\n"] * 2
    assert (tmp_path / "b.txt").read_text() == "hello from b\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("cluster=local colour=red", "SER_KERAS_SLURM.*colour"),
        ("cluster=cloud", "must be slurm, local or debug. Received: cloud"),
        ("partition", "words KEY=VALUE.*Received: partition"),
        ("cluster=local timeout_min=long", "timeout_min"),
        ("", "needs SLURM's `sbatch`.*cluster=local"),
    ],
)
def test_what_cannot_be_asked_of_slurm(
    jobs, options, message, monkeypatch, tmp_path
):
    monkeypatch.setenv("SER_KERAS_SLURM", options)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make_engine("slurm", 1, tmp_path)
