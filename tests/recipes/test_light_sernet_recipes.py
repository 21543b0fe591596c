"""Light-SERNet's recipes, tiny, as a user runs them."""

import contextlib
import json
import re

import pytest

import ser_keras as ser

FOLD_FILES = (
    "network.keras",
    "predictions.csv",
    "train_curves.png",
    "train_metrics.jsonl",
)


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("emodb_light_sernet.py", ["--schedule", "published"]),
        (
            "ravdess_light_sernet.py",
            ["--features", "spectrogram", "--no-litert"],
        ),
        (
            "iemocap_light_sernet.py",
            ["--protocol", "published", "--separable"],
        ),
    ],
)
def test_recipe(tmp_path, run_recipe, recipe, flags):
    published = "--protocol" in flags
    warned = contextlib.nullcontext()
    if published:
        warned = pytest.warns(UserWarning, match="OVERSTATES")
    with warned:
        process = run_recipe(recipe, tmp_path, *flags)
    assert process.returncode == 0, process.stderr[-4000:]
    assert "SYNTHETIC" in process.stdout
    (fold,) = (tmp_path / "results/run/folds").iterdir()
    for name in FOLD_FILES:
        assert (fold / name).stat().st_size, name
    result = json.loads((tmp_path / "results/run/result.json").read_text())
    assert 0 <= result["scores"]["uar"] <= 1
    facts = [result[name] for name in ("leaks_speakers", "selects_on_test")]
    assert facts == [published] * 2
    named = "random-folds" if published else "-out|speaker-groups-"
    assert re.search(named, result["protocol"]["name"])
    assert result["protocol"]["leaks_speakers"] == published
    assert 0 <= result["calibration"]["ece"] <= 1
    assert ("OVERSTATES" in process.stdout) == published
    network = ser.load_model(fold / "network.keras")
    assert network.count_params() == result["parameters"]
    for precision, entry in result["litert"].items():
        for inputs, prefix in (("waveform", ""), ("features", "features_")):
            file = fold / f"{prefix}{precision}.tflite"
            assert ser.load_litert(file).inputs == inputs
            assert entry[f"{prefix}bytes"] == file.stat().st_size
        assert 0 <= entry["uar"] <= 1
    assert len(result["litert"]) == (0 if "--no-litert" in flags else 3)
    served = ser.load_serving(tmp_path / "saved_models/run")
    assert len(served.labels) == network.num_classes


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fold", "99"], "fold=99"),
        (["--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, run_recipe, flags, message):
    process = run_recipe("emodb_light_sernet.py", tmp_path, *flags)
    assert process.returncode != 0
    assert message in process.stderr
    assert "Traceback" not in process.stderr
