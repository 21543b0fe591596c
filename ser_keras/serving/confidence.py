"""Calibration of a single answer, from the predictions of a model's test."""

import pathlib

import numpy as np

from ser_keras._files import read_json
from ser_keras.evaluation.predictions import Predictions

_NEAR = 0.1  # Largest difference of confidence of similar answers.
_FEWEST = 10  # Similar answers that are needed for an accuracy.
_UNKNOWN = "The calibration of this model has not been measured."


def predictions_beside(path):
    """Test predictions of a model, if they are stored beside it.

    Args:
        path: Folder of a run, or file or folder of a model with
            `predictions.csv` beside it.

    Returns:
        `Predictions`, or None.
    """
    path = pathlib.Path(path)
    folder = path if path.is_dir() else path.parent
    file = folder / "predictions.csv"
    return Predictions.load_csv(file) if file.exists() else None


def calibration_note(probability, predictions=None, overstates=False):
    """Text on the accuracy of test answers with a similar confidence.

    Args:
        probability: Probability of the answer.
        predictions: `Predictions` of the model's test, or None.
        overstates: Whether the protocol of that test overstates, see
            `ser_keras.protocols.Fold`.

    Returns:
        One or two sentences.

    >>> calibration_note(0.9)
    'The calibration of this model has not been measured.'
    """
    if predictions is None:
        return _UNKNOWN
    confidence = predictions.probabilities.max(axis=1)
    similar = np.abs(confidence - probability) <= _NEAR
    count = int(similar.sum())
    if count < _FEWEST:
        return (
            f"Only {count} answers of the model's test had a similar "
            "confidence: too few to estimate their accuracy."
        )
    correct = predictions.predicted == predictions.labels
    right = int(correct[similar].sum())
    note = (
        f"In the model's test, {right} of {count} answers with a similar "
        f"confidence were right: {right / count:.0%}."
    )
    if overstates:
        note += (
            " That overstates: test speakers were in training, or the model "
            "was selected on the test part."
        )
    return note


def overstates(path):
    """Whether the protocol of a run overstates, by its `result.json`."""
    result = read_json(pathlib.Path(path) / "result.json")
    if result is None:
        return False
    return bool(result["leaks_speakers"] or result["selects_on_test"])
