"""Calibration of a single answer, from the predictions of a model's test."""

from __future__ import annotations

import os
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
    folders = [folder]
    if path.is_dir():  # Of a SavedModel, beside the newest version.
        folders += [path / str(n) for n in versions_in(path)[-1:]]
    for folder in folders:
        if (folder / "predictions.csv").exists():
            return Predictions.load_csv(folder / "predictions.csv")
    return None


def threshold_for(predictions: Predictions | None, accuracy: float) -> float:
    """The lowest threshold above which answers had a wanted accuracy.

    Of the model's test, whose speakers were in no training: the most answers
    whose accuracy is at least the wanted one.

    Args:
        predictions: `Predictions` of the model's test, or None.
        accuracy: Wanted, such as 0.9.

    Returns:
        Lowest probability of an answer.

    Raises:
        ValueError: There is no test, or no threshold has this accuracy.

    >>> names = ("calm", "anger")
    >>> rows = [[0.9, 0.1]] * 20 + [[0.6, 0.4]] * 20
    >>> predictions = Predictions(
    ...     [str(i) for i in range(40)], ["s"] * 40, [None] * 40,
    ...     [0] * 20 + [0, 1] * 10, rows, names)
    >>> round(threshold_for(predictions, 0.7), 2)
    0.6
    >>> round(threshold_for(predictions, 0.9), 2)
    0.9
    """
    if not 0 < accuracy <= 1:
        raise ValueError(
            "`accuracy` must be above 0 and at most 1. Received: "
            f"accuracy={accuracy}"
        )
    if predictions is None:
        raise ValueError(
            "`accuracy` needs the test answers of the model, and there are "
            "none beside it. Give a `threshold`, or the folder of the run."
        )
    confidence = predictions.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    correct = (predictions.predicted == predictions.labels)[order]
    sorted_confidence = confidence[order]
    answers = np.arange(1, len(order) + 1)
    enough = np.cumsum(correct) / answers >= accuracy
    enough &= answers >= _FEWEST
    # Answers of the same confidence are all in or all out.
    enough[:-1] &= sorted_confidence[:-1] > sorted_confidence[1:]
    if not enough.any():
        raise ValueError(
            f"No threshold had an accuracy of {accuracy:g} in the model's test "
            f"of {len(order)} answers. Ask for less."
        )
    return float(sorted_confidence[np.flatnonzero(enough)[-1]])


def chosen_threshold(
    path: str | os.PathLike[str],
    threshold: float = 0.0,
    accuracy: float = 0.0,
) -> float:
    """The threshold that a user asked for, itself or by an accuracy.

    Args:
        path: As of `predictions_beside`.
        threshold: Lowest probability of an answer; 0 for any.
        accuracy: Wanted accuracy, see `threshold_for`; 0 for none.
    """
    if not accuracy:
        return threshold
    return threshold_for(predictions_beside(path), accuracy)


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
    """Whether the protocol of a run overstates, by its `result.json`.

    Of an exported model, by what `labels.json` keeps of it.
    """
    path = pathlib.Path(path)
    result = read_json(path / "result.json")
    if result is not None:
        return bool(result["leaks_speakers"] or result["selects_on_test"])
    for folder in (path, *(path / str(n) for n in versions_in(path)[-1:])):
        facts = read_json(folder / "labels.json")
        if facts is not None:
            return bool(facts.get("overstates"))
    return False


def versions_in(path):
    """Version numbers in a model's folder, sorted.

    As in `export.saved_model.model`, whose import needs TensorFlow.
    """
    if not path.is_dir():
        return []
    return sorted(int(x.name) for x in path.iterdir() if x.name.isdecimal())
