"""What a probability is worth, from what a model said in its test."""

import json
import pathlib

import numpy as np

from ser_keras.evaluation.predictions import Predictions

_NEAR = 0.1
_FEWEST = 10  # Answers of which a rate says something.
_UNKNOWN = (
    "How often an answer with such a probability is right has not been "
    "measured for this model."
)


def predictions_beside(path):
    """Predictions of a model's own test, if they lie beside it.

    Args:
        path: Folder of a run, or a model's file or folder with
            `predictions.csv` beside it.

    Returns:
        `Predictions`, or None.
    """
    path = pathlib.Path(path)
    folder = path if path.is_dir() else path.parent
    file = folder / "predictions.csv"
    return Predictions.load_csv(file) if file.exists() else None


def calibration_note(probability, predictions=None, overstates=False):
    """How often answers as sure as this one were right.

    Args:
        probability: Of the answer.
        predictions: `Predictions` of the model's test, or None.
        overstates: Whether that test was too easy.

    Returns:
        A sentence or two.

    >>> calibration_note(0.9)
    'How often an answer with such a probability is right has not been ...'
    """
    if predictions is None:
        return _UNKNOWN
    sure = predictions.probabilities.max(axis=1)
    near = np.abs(sure - probability) <= _NEAR
    count = int(near.sum())
    if count < _FEWEST:
        return (
            f"Only {count} answers of its test were about as sure as this "
            "one: too few to say how often they are right."
        )
    right = int((predictions.predicted == predictions.labels)[near].sum())
    note = (
        f"In its test, {right} of {count} answers about as sure as this one "
        f"were right: {right / count:.0%}."
    )
    if overstates:
        note += " The test was too easy: it shared speakers with training, "
        note += "or chose on itself."
    return note


def overstates(path):
    """Whether a run's `result.json` says that its test was too easy."""
    file = pathlib.Path(path) / "result.json"
    if not file.exists():
        return False
    result = json.loads(file.read_text(encoding="utf-8"))
    return bool(result["leaks_speakers"] or result["selects_on_test"])
