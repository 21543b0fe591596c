"""The recipes of two streams, tiny, as a user runs them."""

import itertools
import json

import numpy as np
import tensorflow as tf

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.predictions import Predictions
from ser_keras.genotype import load_genotype


def test_recipe_of_both_streams(tmp_path, run_recipe):
    flags = ["--protocol", "speaker-groups-5"]
    process = run_recipe("emodb_emotionnas.py", tmp_path, *flags)
    check_promises(tmp_path, process, streams="both")
    run = tmp_path / "results/run"
    (fold,) = (run / "folds").iterdir()
    result = json.loads((run / "result.json").read_text())
    assert result["seconds"] > 0
    assert result["deep_extractor"] == "untrained"
    # Either stream alone still gives an answer, and another one.
    answers = [Predictions.load_csv(fold / "predictions.csv")]
    for stream in ("handcrafted", "deep"):
        assert 0 <= result["without"][stream]["uar"] <= 1
        answers.append(Predictions.load_csv(fold / f"without_{stream}.csv"))
    for first, second in itertools.combinations(answers, 2):
        assert first.ids == second.ids
        difference = first.probabilities - second.probabilities
        assert np.abs(difference).max() > 1e-4
    # The front end and the deep network are both in the SavedModel.
    expected = Predictions.load_csv(run / "predictions.csv")
    heard = {u.id: u for u in Manifest.load(run / "utterances.jsonl")}
    waveform = ser.audio.load_audio(heard[expected.ids[0]].path, 16000)
    served = ser.load_serving(tmp_path / "saved_models/run")
    outputs = served.signatures["serving_default"](
        waveform=tf.constant(waveform[None])
    )
    np.testing.assert_allclose(
        outputs["probabilities"][0], expected.probabilities[0], atol=1e-4
    )
    # Again: nothing is trained, and what was written stays.
    before = (run / "predictions.csv").read_bytes()
    process = run_recipe("emodb_emotionnas.py", tmp_path, *flags)
    assert process.returncode == 0, process.stderr[-4000:]
    assert "s/epoch" not in process.stdout
    again = json.loads((run / "result.json").read_text())
    assert again["saved_model"] == result["saved_model"]
    assert again["scores"] == result["scores"]
    assert (run / "predictions.csv").read_bytes() == before
    flags += ["--stream-dropout", "0.5"]
    process = run_recipe("emodb_emotionnas.py", tmp_path, *flags)
    assert process.returncode != 0
    assert "stream_dropout" in process.stderr


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
