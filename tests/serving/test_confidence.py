"""The note on calibration beside an answer."""

import numpy as np
import pytest

from ser_keras.evaluation.predictions import Predictions
from ser_keras.serving.confidence import calibration_note
from ser_keras.serving.confidence import predictions_beside


def test_note_counts_answers_of_similar_confidence():
    confidence = np.repeat([0.95, 0.75, 0.55], [20, 12, 5])
    right = np.arange(37) % 4 > 0
    predictions = Predictions(
        ids=tuple(map(str, range(37))),
        speakers=("a",) * 37,
        sexes=(None,) * 37,
        labels=np.where(right, 0, 1),
        probabilities=np.stack([confidence, 1 - confidence], axis=1),
        label_names=("anger", "calm"),
    )
    note = calibration_note(0.9, predictions)
    expected = int(right[:20].sum())
    assert f"{expected} of 20 answers" in note
    assert f"{expected / 20:.0%}" in note
    assert "too few" in calibration_note(0.5, predictions)
    overstated = calibration_note(0.9, predictions, overstates=True)
    assert overstated.startswith(note) and "overstates" in overstated
    assert "overstates" not in note


def test_predictions_are_found_beside_a_file_or_in_a_folder(tmp_path):
    assert predictions_beside(tmp_path) is None
    assert predictions_beside(tmp_path / "model.tflite") is None
    predictions = Predictions(
        ids=("x",),
        speakers=("a",),
        sexes=(None,),
        labels=[0],
        probabilities=[[1.0, 0.0]],
        label_names=("anger", "calm"),
    )
    predictions.save_csv(tmp_path / "predictions.csv")
    (tmp_path / "model.tflite").touch()
    for path in (tmp_path, tmp_path / "model.tflite"):
        assert predictions_beside(path).probabilities[0, 0] == pytest.approx(1)
