"""Benchmarks write records of what they measured."""

import subprocess
import sys

import pytest

from ser_keras.reports.records import read_record


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


def test_every_benchmark_has_the_option(repository):
    helpers = {"recording.py", "peer_emodarts.py"}  # The latter has no Keras.
    for script in (repository / "benchmarks").glob("*.py"):
        if script.name not in helpers:
            source = script.read_text()
            ways = ("add_record_argument", "add_peer_arguments", '"--record"')
            has_it = any(way in source for way in ways)
            assert has_it, f"{script.name} has no --record"
