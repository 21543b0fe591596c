"""Every recipe, tiny, as a user runs it; each once, on the built-in corpus."""

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import pathlib
import re
import sys

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.cli.config import make_parser
from ser_keras.evaluation.predictions import Predictions
from ser_keras.genotype import load_genotype
from tests import forks

RECIPES = sorted(
    path.name
    for path in (pathlib.Path(__file__).parents[2] / "recipes").glob("*.py")
)
RUN_FILES = (
    "config.json",
    "confusion.png",
    "predictions.csv",
    "preprocessor.json",
    "result.json",
    "skipped.json",
)
FOLD_FILES = (
    "network.keras",
    "predictions.csv",
    "train_curves.png",
    "train_metrics.jsonl",
)
SEARCH_FILES = (
    "alphas.png",
    "architecture.jsonl",
    "search_curves.png",
    "search_metrics.jsonl",
)


def load(repository, monkeypatch, name):
    """A recipe as a module."""
    path = repository / "recipes" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def check_promises(folder, kind):
    """All that a run leaves; returns the fold's folder and the result."""
    run = folder / "results/run"
    for name in RUN_FILES:
        assert (run / name).stat().st_size, name
    (fold,) = (run / "folds").iterdir()
    for name in FOLD_FILES:
        assert (fold / name).stat().st_size, name
    result = json.loads((run / "result.json").read_text())
    record = json.loads((run / "preprocessor.json").read_text())
    assert result["kind"] == record["kind"] == kind
    predictions = Predictions.load_csv(run / "predictions.csv")
    assert len(predictions) == result["scores"]["n"]
    assert result["scores"] == ser.score(predictions).to_dict()
    network = ser.load_model(fold / "network.keras")
    assert result["parameters"] == network.count_params()
    assert (folder / result["saved_model"] / "saved_model.pb").exists()
    return fold, result


def test_emodarts_searches_and_trains(tmp_path, repository):
    """As a program of its own."""
    recipe = repository / "recipes/iemocap_emodarts.py"
    process = forks.run(
        [recipe, "--smoke", "--output-dir", "results/run"], cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr[-4000:]
    # On whose speech this runs is said first of all.
    assert "EMO-DB" in process.stdout.splitlines()[0]
    assert "SYNTHETIC" not in process.stdout
    fold, _ = check_promises(tmp_path, "emodarts")
    for name in (*SEARCH_FILES, "cells.png", "genotype.json"):
        assert (fold / name).stat().st_size, name
    genotype = ser.Genotype.load(fold / "genotype.json")
    assert ser.SearchSpace.emodarts("lstm", num_nodes=1).contains(genotype)


def test_emodarts_with_a_genotype(tmp_path, run_recipe):
    given = tmp_path / "given.json"
    ser.SearchSpace.emodarts("lstm", num_nodes=1).sample(0).save(given)
    flags = ["--genotype", str(given)]
    process = run_recipe("emodb_emodarts.py", tmp_path, *flags)
    assert process.returncode == 0, process.stderr[-4000:]
    fold, _ = check_promises(tmp_path, "emodarts")
    # One architecture of all folds lies in the run's folder.
    for name in ("cells.png", "genotype.json"):
        assert (tmp_path / "results/run" / name).stat().st_size, name
    for name in SEARCH_FILES:
        assert not (fold / name).exists(), name


def test_two_streams(tmp_path, run_recipe):
    process = run_recipe("emodb_emotionnas.py", tmp_path)
    assert process.returncode == 0, process.stderr[-4000:]
    assert "UNTRAINED" in process.stdout
    fold, result = check_promises(tmp_path, "emotionnas")
    for name in (*SEARCH_FILES, "cells.png", "genotype.json"):
        assert (fold / name).stat().st_size, name
    assert result["seconds"] > 0
    assert result["deep_extractor"] == "untrained"
    network = ser.load_model(fold / "network.keras")
    assert network.architecture == load_genotype(fold / "genotype.json")
    # Either stream alone still gives an answer, and another one.
    answers = [Predictions.load_csv(fold / "predictions.csv")]
    for stream in ("handcrafted", "deep"):
        answers.append(Predictions.load_csv(fold / f"without_{stream}.csv"))
        scores = ser.score(answers[-1])
        assert result["without"][stream]["uar"] == scores.uar
    for first, second in itertools.combinations(answers, 2):
        assert first.ids == second.ids
        difference = first.probabilities - second.probabilities
        assert np.abs(difference).max() > 1e-4


def test_one_stream(tmp_path, run_recipe):
    flags = ["--streams", "deep", "--architecture", "hand_made"]
    process = run_recipe("iemocap_emotionnas.py", tmp_path, *flags)
    assert process.returncode == 0, process.stderr[-4000:]
    _, result = check_promises(tmp_path, "emotionnas")
    assert result["streams"] == "deep" and result["without"] is None


@pytest.fixture(scope="module")
def light_sernet(tmp_path_factory):
    """Where the run of emodb_light_sernet.py is, for the tests after it."""
    return tmp_path_factory.mktemp("light_sernet")


@pytest.mark.parametrize(
    ("corpus", "flags"),
    [
        ("emodb", ["--schedule", "published"]),
        ("ravdess", ["--features", "spectrogram", "--no-litert"]),
        ("iemocap", ["--protocol", "published", "--separable", "--no-litert"]),
    ],
)
def test_light_sernet(light_sernet, tmp_path, run_recipe, corpus, flags):
    published = "--protocol" in flags
    warned = contextlib.nullcontext()
    if published:
        warned = pytest.warns(UserWarning, match="OVERSTATES")
    folder = light_sernet if corpus == "emodb" else tmp_path
    with warned:
        process = run_recipe(f"{corpus}_light_sernet.py", folder, *flags)
    assert process.returncode == 0, process.stderr[-4000:]
    assert "the built-in corpus" in process.stdout
    fold, result = check_promises(folder, "light_sernet")
    facts = [result[name] for name in ("leaks_speakers", "selects_on_test")]
    assert facts == [published] * 2
    named = "random-folds" if published else "speaker-groups-5"
    assert re.search(named, result["protocol"]["name"])
    assert result["protocol"]["leaks_speakers"] == published
    assert ("OVERSTATES" in process.stdout) == published
    assert ("litert" in result) == (corpus == "emodb")
    for precision, entry in result.get("litert", {}).items():
        for inputs, prefix in (("waveform", ""), ("features", "features_")):
            file = fold / f"{prefix}{precision}.tflite"
            model = ser.load_litert(file)
            assert (model.inputs, model.precision) == (inputs, precision)
            assert entry[f"{prefix}bytes"] == file.stat().st_size
        table = Predictions.load_csv(fold / f"{precision}.csv")
        assert entry["uar"] == ser.score(table).uar


def test_bundled_model(light_sernet, repository, tmp_path, monkeypatch):
    """Of the run before: what comes with the package is the same network."""
    recipe = load(repository, monkeypatch, "bundled_model.py")
    monkeypatch.setattr(recipe, "BUNDLED", tmp_path)
    run = light_sernet / "results/run"
    config = recipe.Config(str(run), licence="CC0", corpus="EMO-DB")
    recipe.main(config)
    (folder,) = tmp_path.iterdir()
    (written,) = run.glob("folds/*/int8.tflite")
    assert (folder / "model.tflite").read_bytes() == written.read_bytes()
    card = (folder / "card.md").read_text()
    assert "CC0" in card and "EMO-DB" in card
    clip = np.random.default_rng(0).normal(0, 0.1, 16000).astype("float32")
    preset = ser.models.WaveformModel.from_preset(folder)
    result = json.loads((run / "result.json").read_text())
    np.testing.assert_allclose(
        preset(clip[None])["probabilities"][0],
        ser.load_saved_model(light_sernet / result["saved_model"])([clip])[
            "probabilities"
        ][0],
        atol=1e-5,
    )
    with pytest.raises(FileExistsError):  # Another one is not overwritten.
        recipe.main(config)


def test_tune(repository, monkeypatch):
    pytest.importorskip("keras_tuner")
    given = []
    monkeypatch.setattr(ser.experiments, "run_tune", given.append)
    recipe = load(repository, monkeypatch, "tune.py")
    recipe.main(recipe.Config())
    recipe.main(recipe.Config(data_dir="/corpora/emodb"))
    assert [config.corpus for config in given] == ["", "emodb"]
    assert [config.trials for config in given] == [20, 20]


def test_compare_takes_no_genotype_of_the_test_speakers(
    repository, monkeypatch
):
    given = []
    monkeypatch.setattr(ser.experiments, "run_compare", given.append)
    recipe = load(repository, monkeypatch, "compare.py")
    found = str(recipe.GENOTYPE)
    for options in ({}, {"corpus": "emodb"}, {"corpus": "ravdess"}):
        recipe.main(recipe.Config(**options, data_dir="x" if options else ""))
    assert [config.genotype for config in given] == [found, found, ""]
    assert given[0].corpus == ""
    with pytest.raises(ValueError, match="Leave --genotype out"):
        recipe.main(
            recipe.Config(corpus="ravdess", data_dir="x", genotype=found)
        )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_explains_itself(name, repository, monkeypatch):
    """Its first lines say how it is run, its help what it can be told."""
    recipe = load(repository, monkeypatch, name)
    assert f"python recipes/{name}" in recipe.__doc__
    parser = make_parser(recipe.Config)
    fields = {field.name for field in dataclasses.fields(recipe.Config)}
    actions = {action.dest: action for action in parser._actions}
    assert fields <= {dest.replace("-", "_") for dest in actions}
    for action in actions.values():
        assert len(action.help.split()) > 1, action.dest


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("emodb_light_sernet.py", ["--fold", "99"], "fold=99"),
        ("emodb_light_sernet.py", ["--data-dir", "nowhere"], "nowhere"),
        ("iemocap_emodarts.py", ["--data-dir", "nowhere"], "nowhere"),
        ("iemocap_emodarts.py", ["--genotype", "no.json"], "no.json"),
        ("iemocap_emodarts.py", ["--train-epochs", "0"], "train_epochs=0"),
        ("emodb_emodarts.py", ["--search-dir", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path, run_recipe, recipe, flags, message
):
    process = run_recipe(recipe, tmp_path, *flags)
    assert process.returncode != 0
    assert message in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "results").exists()
