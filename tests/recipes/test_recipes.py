"""Every recipe, tiny, as a user runs it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import ser_keras as ser
from ser_keras.cli.main import main
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.experiments.emodarts import front_end

FILES = (
    "config.json",
    "result.json",
    "predictions.csv",
    "confusion.png",
    "skipped.json",
)
SEARCH_FILES = (
    "alphas.png",
    "architecture.jsonl",
    "search_curves.png",
    "search_metrics.jsonl",
)
FOLD_FILES = (
    "network.keras",
    "predictions.csv",
    "train_curves.png",
    "train_metrics.jsonl",
)


def run(recipe, folder, repository, *flags):
    process = subprocess.run(
        [
            sys.executable,
            str(repository / "recipes" / recipe),
            "--smoke",
            *("--output-dir", "results/run"),
            *flags,
        ],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return process


@pytest.fixture(scope="module")
def finished(tmp_path_factory, repository):
    """A folder in which each recipe has run once, and what it printed."""
    folders = {}

    def run_once(recipe, *flags):
        if recipe not in folders:
            folder = tmp_path_factory.mktemp(recipe.removesuffix(".py"))
            process = run(recipe, folder, repository, *flags)
            assert process.returncode == 0, process.stderr[-4000:]
            folders[recipe] = folder, process.stdout
        return folders[recipe]

    return run_once


def test_recipe_leaves_all_it_promises(finished):
    check_promises(*finished("iemocap_emodarts.py"))


def test_recipe_of_another_corpus(tmp_path, run_recipe):
    """And of an architecture that is given: nothing is searched."""
    given = tmp_path / "given.json"
    ser.SearchSpace.emodarts("lstm", num_nodes=1).sample(0).save(given)
    flags = ["--genotype", str(given)]
    process = run_recipe("emodb_emodarts.py", tmp_path, *flags)
    assert process.returncode == 0, process.stderr[-4000:]
    check_promises(tmp_path, process.stdout, searched=False)


def check_promises(folder, output, searched=True):
    assert "EMO-DB" in output and "SYNTHETIC" not in output
    run_folder = folder / "results" / "run"
    for name in FILES:
        assert (run_folder / name).stat().st_size, name
    (fold,) = (run_folder / "folds").iterdir()
    for name in FOLD_FILES:
        assert (fold / name).stat().st_size, name
    # One architecture of all folds lies in the run's folder.
    architecture = fold if searched else run_folder
    for name in ("cells.png", "genotype.json"):
        assert (architecture / name).stat().st_size, name
    for name in SEARCH_FILES:
        assert (fold / name).exists() == searched, name
    result = json.loads((run_folder / "result.json").read_text())
    assert 0 <= result["scores"]["uar"] <= 1
    genotype = ser.Genotype.load(architecture / "genotype.json")
    space = ser.SearchSpace.emodarts("lstm", num_nodes=1)
    assert space.contains(genotype)
    predictions = (run_folder / "predictions.csv").read_text().splitlines()
    assert len(predictions) == result["scores"]["n"] + 1
    assert (folder / "saved_models/run/1/saved_model.pb").exists()


def test_saved_model_equals_keras_on_a_wav(finished):
    folder, _ = finished("iemocap_emodarts.py")
    wav = sorted(built_in_corpus(smoke=True).iterdir())[0]
    waveform, rate = soundfile.read(wav, dtype="float32")
    (fold,) = (folder / "results/run/folds").iterdir()
    config = ser.experiments.EmoDARTSConfig(smoke=True).resolved()
    frontend, normalization = front_end(config)
    network = ser.load_model(fold / "network.keras")
    model = ser.models.with_frontend(network, frontend, normalization)
    expected = model(waveform[None])["probabilities"]
    served = ser.load_saved_model(folder / "saved_models/run")
    assert rate == 16000
    np.testing.assert_allclose(
        served([waveform])["probabilities"], expected, atol=1e-5
    )


def test_exported_again_is_the_same_model(finished, tmp_path):
    """With the front end that the network was trained with, not a like one."""
    folder, _ = finished("iemocap_emodarts.py")
    run_folder, again = folder / "results/run", tmp_path / "again"
    assert main(["export", str(run_folder), "--output", str(again)]) == 0
    wavs = sorted(built_in_corpus(smoke=True).iterdir())[:3]
    clips = [soundfile.read(wav, dtype="float32")[0] for wav in wavs]
    own, other = (
        ser.load_saved_model(path)(clips)["probabilities"]
        for path in (folder / "saved_models/run", again)
    )
    np.testing.assert_allclose(other, own, atol=1e-5)


def test_finished_run_is_not_trained_again(finished, run_recipe):
    folder, _ = finished("iemocap_emodarts.py")
    before = (folder / "results/run/predictions.csv").read_text()
    process = run_recipe("iemocap_emodarts.py", folder)
    assert process.returncode == 0, process.stderr[-4000:]
    assert "s/epoch" not in process.stdout
    assert (folder / "results/run/predictions.csv").read_text() == before


def test_other_configuration_is_refused(finished, run_recipe):
    folder, _ = finished("iemocap_emodarts.py")
    process = run_recipe("iemocap_emodarts.py", folder, "--seed", "5")
    assert process.returncode != 0
    assert "seed" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data-dir", "nowhere"], "nowhere"),
        (["--fold", "9"], "fold"),
        (["--genotype", "missing.json"], "missing.json"),
        (["--train-epochs", "0"], "train_epochs"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, run_recipe, flags, message):
    process = run_recipe("iemocap_emodarts.py", tmp_path, *flags)
    assert process.returncode != 0
    assert message in process.stderr
    assert "Traceback" not in process.stderr
