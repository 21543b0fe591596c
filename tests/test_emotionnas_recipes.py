"""The recipes of two streams, tiny, as a user runs them."""

import json

import ser_keras as ser
from ser_keras.genotype import load_genotype


def test_recipe_of_both_streams(tmp_path, run_recipe):
    flags = ["--protocol", "speaker-groups-5"]
    process = run_recipe("emodb_emotionnas.py", tmp_path, *flags)
    check_promises(tmp_path, process, streams="both")


def test_recipe_of_one_stream(tmp_path, run_recipe):
    flags = ["--streams", "deep"]
    process = run_recipe("iemocap_emotionnas.py", tmp_path, *flags)
    check_promises(tmp_path, process, streams="deep")


def check_promises(tmp_path, process, streams):
    assert process.returncode == 0, process.stderr[-4000:]
    for word in ("SYNTHETIC", "UNTRAINED"):
        assert word in process.stdout
    run = tmp_path / "results" / "run"
    (fold,) = (run / "folds").iterdir()
    for file in (
        run / "result.json",
        run / "predictions.csv",
        run / "confusion.png",
        fold / "alphas.png",
        fold / "cells.png",
        fold / "architecture.jsonl",
        fold / "search_metrics.jsonl",
        fold / "train_metrics.jsonl",
    ):
        assert file.stat().st_size, file
    genotype = load_genotype(fold / "genotype.json")
    network = ser.load_model(fold / "network.keras")
    assert network.architecture == genotype
    result = json.loads((run / "result.json").read_text())
    assert result["streams"] == streams
    assert result["parameters"] == network.count_params()
    assert (tmp_path / "saved_models/run/1/saved_model.pb").exists()
