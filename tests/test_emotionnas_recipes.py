"""The recipes of two streams, tiny, as a user runs them."""

import json
import os
import subprocess
import sys

import pytest

import ser_keras as ser
from ser_keras.genotype import load_genotype


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("emodb_emotionnas.py", ["--protocol", "speaker-groups-5"]),
        ("iemocap_emotionnas.py", ["--streams", "deep"]),
    ],
)
def test_recipe_leaves_all_it_promises(tmp_path, repository, recipe, flags):
    process = subprocess.run(
        [
            sys.executable,
            str(repository / "recipes" / recipe),
            "--smoke",
            *("--output-dir", "results/run"),
            *flags,
        ],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
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
    assert result["streams"] == ("deep" if "deep" in flags else "both")
    assert result["parameters"] == network.count_params()
    assert (tmp_path / "saved_models/run/1/saved_model.pb").exists()
