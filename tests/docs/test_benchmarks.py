"""Benchmarks write records of what they measured."""

import os
import subprocess
import sys

import pytest

from ser_keras.reports.records import read_record
from tests import forks


def test_a_benchmark_writes_its_record(repository, tmp_path):
    file = tmp_path / "scores.json"
    options = ["--utterances", "200", "--speakers", "5", "--resamples", "20"]
    subprocess.run(
        [sys.executable, "benchmarks/scores.py", *options, "--record", file],
        cwd=repository,
        check=True,
        capture_output=True,
    )
    record = read_record(file)
    assert (record["kind"], record["name"]) == ("benchmark", "scores")
    # What has to be typed to measure it again; the file is not part of it.
    expected = " ".join(["python benchmarks/scores.py", *options])
    assert record["command"] == expected
    rows = {(row["of"], row["quantity"]): row for row in record["measurements"]}
    assert rows["interval of uar", "clock"]["unit"] == "s"
    assert rows["interval of uar", "clock"]["value"] > 0


def test_data_of_some_size_is_measured(repository, tmp_path):
    file = tmp_path / "data_size.json"
    options = ["--rows", "30", "--manifest-rows", "40"]
    options += ["--data-dir", "ser_keras/corpora/built_in/emodb_smoke"]
    subprocess.run(
        [sys.executable, "benchmarks/data_size.py", *options, "--record", file],
        cwd=repository,
        check=True,
        capture_output=True,
    )
    rows = read_record(file)["measurements"]
    found = {(row["of"], row["quantity"]): row["value"] for row in rows}
    for size in ("30 rows", "40 rows"):
        assert found["load: time", size] > 0
    (large,) = {size for _, size in found if size.startswith("250 h")}
    epoch, hour, audio = (
        f"{of}: time"
        for of in (
            "second epoch",
            "MFCC of an hour of audio",
            "MFCC of all audio",
        )
    )
    expected = found[epoch, "30 rows"] * 150_000 / 30
    assert found[epoch, large] == pytest.approx(expected)
    assert found[audio, large] == pytest.approx(250 * found[hour, "30 rows"])


def run(script, *options):
    """The record of a benchmark, and its rows by name and quantity."""
    file = options[-1]
    forks.run([script, *options]).check_returncode()
    record = read_record(file)
    rows = {
        (row["of"], row["quantity"]): row["value"]
        for row in record["measurements"]
    }
    return record, rows


def test_gpu_check_on_a_cpu(repository, tmp_path):
    # As it is downloaded: one file, anywhere.
    script = tmp_path / "gpu_check.py"
    script.write_text((repository / "benchmarks/gpu_check.py").read_text())
    works = "training, light_sernet", "LSTM, ours"
    options = ["--tiny", "--only", *works, "LSTM, Keras with cuDNN"]
    record, rows = run(script, *options, "--record", tmp_path / "check.json")
    ways = [
        f"{precision}, XLA {xla}"
        for precision in ("float32", "bfloat16")
        for xla in ("off", "on")
    ]
    for work in works:
        assert all(rows[f"{work}; {way}", "step"] > 0 for way in ways)
        assert all(rows[f"{work}; {way}", "first step"] > 0 for way in ways)
    # The CPU equals itself.
    assert rows[works[0], "difference of losses from the CPU's"] == 0
    assert rows[works[0], "difference of weights from the CPU's"] == 0
    assert len(rows) == 2 * 2 * 4 + 2
    # And what is only on a GPU is named.
    assert "cuDNN" in record["notes"]
    assert "no GPU" in record["machine"]


def test_gpu_check_needs_a_gpu(repository):
    found = forks.run(
        [repository / "benchmarks/gpu_check.py"],
        {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert found.returncode == 1
    assert "TensorFlow finds no GPU" in found.stderr
    assert "--tiny" in found.stderr


def test_host_side_of_a_step(repository, tmp_path):
    script = repository / "benchmarks/host_step.py"
    options = ["--smoke", "--clips", "256", "--epochs", "2"]
    options += ["--only", "light_sernet", "--record", tmp_path / "host.json"]
    _, rows = run(script, *options)
    assert {quantity for _, quantity in rows} == {
        f"{what}, {calls} a call"
        for what in ("step", "Python", "input")
        for calls in (1, 16)
    }
    assert all(value > 0 for value in rows.values())


def test_every_benchmark_has_the_option(repository):
    helpers = {"recording.py", "peer_emodarts.py"}  # The latter has no Keras.
    for script in (repository / "benchmarks").glob("*.py"):
        if script.name not in helpers:
            source = script.read_text()
            ways = ("add_record_argument", "add_peer_arguments", '"--record"')
            has_it = any(way in source for way in ways)
            assert has_it, f"{script.name} has no --record"
