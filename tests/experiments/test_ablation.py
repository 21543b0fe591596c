"""An ablation: variants on the same folds, in one table; nothing is trained."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.evaluation.scores import score
from ser_keras.experiments.ablation import CONTROLS
from ser_keras.experiments.ablation import VARIANTS
from ser_keras.experiments.ablation import markdown
from ser_keras.experiments.ablation import run_ablation
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.training.run_folder import RunFolder
from tests.experiments.conftest import FOLDS


def fake_run(probabilities, given=None):
    """A run that "predicts" what it is told, by variant; `given` its folds."""
    given = [] if given is None else given

    def run(config, folds):
        assert not config.ablate and not config.final
        given.append(folds)
        name = config.output_dir.rsplit("/", 1)[1]
        assert not config.controls
        variant = (VARIANTS | CONTROLS)[name]
        assert variant.items() <= dataclasses.asdict(config).items()
        assert config.export_dir.endswith(name)
        folder = RunFolder(config.output_dir, {"name": name})
        predictions = Predictions(
            ids=tuple("abcdefgh"),
            speakers=tuple("uuvvwwxx"),
            sexes=(None,) * 8,
            labels=[0, 1] * 4,
            probabilities=np.eye(2)[probabilities[name]],
            label_names=("calm", "anger"),
        )
        predictions.save_csv(folder.path / "predictions.csv")
        return {
            "scores": score(predictions).to_dict(),
            "uar_interval_95": confidence_interval(predictions),
            "parameters": 1000.4,
            "seconds": 12.3,
            "deep_extractor": "untrained",
            "protocol": {"name": "leave-one-speaker-out"},
            "leaks_speakers": False,
            "selects_on_test": False,
        }

    return run


def test_ablation_is_one_table(tmp_path, no_audio, capsys):
    right = [0, 1] * 4
    answers = {
        "handcrafted": [0, 1, 0, 1, 0, 0, 0, 0],
        "deep": [0] * 8,
        "concatenation": [0, 1, 0, 1, 0, 1, 0, 0],
        "supplement": right,
    }
    config = EmotionNASConfig(ablate=True, output_dir=str(tmp_path / "run"))
    table = run_ablation(config, FOLDS, fake_run(answers))
    uar = {name: row["uar"] for name, row in table["variants"].items()}
    assert uar == {
        "handcrafted": 0.75,
        "deep": 0.5,
        "concatenation": 0.875,
        "supplement": 1.0,
    }
    assert len(table["comparisons"]) == 6
    best = next(
        row
        for row in table["comparisons"]
        if (row["variant"], row["reference"]) == ("supplement", "deep")
    )
    assert (best["first"], best["second"]) == (1.0, 0.5)
    assert best["difference"] == 0.5
    # 16 exchanges of four speakers; only none and all are so far apart.
    assert best["p_value"] == 2 / 16
    folder = tmp_path / "run"
    assert json.loads((folder / "ablation.json").read_text()) == table
    with open(folder / "ablation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(VARIANTS)
    assert [float(row["uar"]) for row in rows] == list(uar.values())
    text = (folder / "ablation.md").read_text()
    assert "| both, supplement | 1.000 |" in text
    assert "+0.500" in text
    assert text in capsys.readouterr().out
    assert "Protocol: leave-one-speaker-out: new speakers." in text
    told = markdown({**table, "selects_on_test": True})
    assert "leave-one-speaker-out: OVERSTATES: selects on test." in told
    assert "**THIS SCORE OVERSTATES: the epoch is selected on the test" in told


def test_controls_are_added_to_a_finished_ablation(tmp_path, no_audio):
    answers = dict.fromkeys([*VARIANTS, *CONTROLS], [0, 1] * 4)
    answers["random"] = answers["hand_made"] = [0, 1, 0, 1, 0, 0, 0, 0]
    config = EmotionNASConfig(ablate=True, output_dir=str(tmp_path / "run"))
    run_ablation(config, FOLDS, fake_run(answers))
    config = dataclasses.replace(config, controls=True)
    table = run_ablation(config, FOLDS, fake_run(answers))
    assert list(table["variants"]) == [*VARIANTS, "random", "hand_made"]
    assert len(table["comparisons"]) == 15
    text = (tmp_path / "run/ablation.md").read_text()
    name = "both, supplement, architecture made by hand"
    assert f"| {name} | 0.750 |" in text
    assert f"| {name} - both, supplement | -0.250 |" in text


def test_all_variants_are_scored_on_the_same_utterances(tmp_path, no_audio):
    """What either stream has to skip is left out of every variant."""
    no_audio.update(("a1", "c3"))
    given, answers = [], dict.fromkeys(VARIANTS, [0, 1] * 4)
    config = EmotionNASConfig(
        ablate=True, output_dir=str(tmp_path / "run"), skip_bad_audio=True
    )
    run_ablation(config, FOLDS, fake_run(answers, given))
    assert len(given) == len(VARIANTS)
    for folds in given:
        assert len(folds) == len(FOLDS)
        ids = {u.id for part in (folds[0].train, folds[0].test) for u in part}
        everything = {u.id for x in (FOLDS[0].train, FOLDS[0].test) for u in x}
        assert ids == everything - {"a1", "c3"}


def test_controls_need_an_ablation():
    with pytest.raises(ValueError, match="give `ablate` as well"):
        EmotionNASConfig(controls=True)
