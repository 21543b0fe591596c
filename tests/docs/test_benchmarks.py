"""Benchmarks write records of what they measured."""

import subprocess
import sys

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


def test_every_benchmark_has_the_option(repository):
    helpers = {"recording.py", "peer_emodarts.py"}  # The latter has no Keras.
    for script in (repository / "benchmarks").glob("*.py"):
        if script.name not in helpers:
            source = script.read_text()
            ways = ("add_record_argument", "add_peer_arguments", '"--record"')
            has_it = any(way in source for way in ways)
            assert has_it, f"{script.name} has no --record"
