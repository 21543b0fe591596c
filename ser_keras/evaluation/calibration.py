"""Calibration of probabilities, and selective prediction."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import scipy.optimize

from ser_keras._files import replace_file
from ser_keras.evaluation.predictions import Predictions
from ser_keras.protocols.splits import SpeakerOverlapError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bins of confidence. One number for all, as the ECE depends on it.
BINS = 15
_TINY = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration of predictions: ECE and the bins of a reliability diagram.

    Args:
        ece: Expected calibration error, from 0 to 1: mean distance between
            confidence and accuracy of the bins, weighted by utterances.
        mce: Maximum calibration error: the largest distance of a bin.
        confidence: Mean confidence of each bin, NaN if it is empty.
        accuracy: Accuracy of each bin, NaN if it is empty.
        counts: Utterances in each bin.
    """

    ece: float
    mce: float
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; values of empty bins are null."""
        return {
            "ece": self.ece,
            "mce": self.mce,
            "confidence": _or_none(self.confidence),
            "accuracy": _or_none(self.accuracy),
            "counts": self.counts.tolist(),
        }


def measure_calibration(
    predictions: Predictions, bins: int = BINS
) -> Calibration:
    """Expected calibration error and the bins of a reliability diagram.

    Confidence is the probability of the most probable class. Bins have equal
    widths; a confidence on an edge belongs to the lower bin.

    Args:
        predictions: `Predictions`.
        bins: Number of bins.

    Returns:
        `Calibration`.

    Raises:
        ValueError: `bins` is not positive.

    References:
        Guo et al., "On calibration of modern neural networks", ICML 2017,
        eq. 2, 3 and 5.

    Example:
    >>> predictions = Predictions(
    ...     ids="ab", speakers="xy", sexes=(None, None), labels=[0, 0],
    ...     probabilities=[[0.75, 0.25], [0.25, 0.75]], label_names="AN")
    >>> measure_calibration(predictions).ece
    0.25
    """
    if bins < 1:
        raise ValueError(
            f"`bins` must be a positive integer. Received: bins={bins}"
        )
    confidence, correct = _confidence(predictions)
    index = np.ceil(confidence * bins).astype(int) - 1
    index = np.clip(index, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    means = [
        np.divide(
            np.bincount(index, weights, bins),
            counts,
            out=np.full(bins, np.nan),
            where=counts > 0,
        )
        for weights in (confidence, correct)
    ]
    gaps = np.abs(means[0] - means[1])
    return Calibration(
        ece=float(np.nansum(gaps * counts) / counts.sum()),
        mce=float(np.nanmax(gaps)),
        confidence=means[0],
        accuracy=means[1],
        counts=counts,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Coverage:
    """Selective prediction: accuracy at each coverage.

    Args:
        coverage: Proportion of utterances that are answered, those with the
            highest confidence; rising to 1.
        accuracy: Weighted accuracy of these.
        threshold: Lowest confidence that is answered.
        area: Area under the risk-coverage curve, the mean error over all
            coverages; lower is better.
    """

    coverage: np.ndarray
    accuracy: np.ndarray
    threshold: np.ndarray
    area: float

    def accuracy_at(self, coverage: float) -> float:
        """Accuracy at the smallest coverage of at least this one."""
        row = int(np.searchsorted(self.coverage, coverage - 1e-9))
        return float(self.accuracy[min(row, len(self.accuracy) - 1)])


def coverage_curve(predictions: Predictions) -> Coverage:
    """Accuracy over coverage, as the threshold of confidence is lowered.

    Utterances with the same confidence are answered together, so there is one
    point for each confidence.

    Args:
        predictions: `Predictions`.

    Returns:
        `Coverage`.

    References:
        El-Yaniv and Wiener, "On the foundations of noise-free selective
        classification", JMLR 11, 2010.
    """
    confidence, correct = _confidence(predictions)
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    last = np.append(confidence[1:] != confidence[:-1], True)
    answered = np.arange(1, len(correct) + 1)[last]
    accuracy = np.cumsum(correct)[last] / answered
    steps = np.diff(answered, prepend=0)
    return Coverage(
        coverage=answered / len(correct),
        accuracy=accuracy,
        threshold=confidence[last],
        area=float(np.sum((1 - accuracy) * steps) / len(correct)),
    )


def fit_temperature(predictions: Predictions) -> float:
    """Fits a temperature to predictions by maximum likelihood.

    Args:
        predictions: `Predictions` of held-out *training* speakers.

    Returns:
        Float, above 1 for an overconfident system.

    References:
        Guo et al., 2017, section 4.2.
    """
    logits = np.log(np.maximum(predictions.probabilities, _TINY))
    logits = logits.astype(np.float64)
    rows = np.arange(len(predictions))

    def loss(log_temperature):
        scaled = _log_softmax(logits / np.exp(log_temperature))
        return -scaled[rows, predictions.labels].mean()

    found = scipy.optimize.minimize_scalar(
        loss, bounds=(-5.0, 5.0), method="bounded", options={"xatol": 1e-8}
    )
    return float(np.exp(found.x))


def apply_temperature(
    predictions: Predictions, temperature: float
) -> Predictions:
    """Temperature scaling: divides the logits of predictions by a temperature.

    The predicted classes stay the same, and so do UAR, WA and F1.

    Args:
        predictions: `Predictions`.
        temperature: Positive number, such as `fit_temperature` returns.

    Returns:
        `Predictions`.

    Raises:
        ValueError: `temperature` is not positive.

    References:
        Guo et al., 2017, section 4.2, eq. 9.
    """
    if not temperature > 0:
        raise ValueError(
            "`temperature` must be positive. Received: "
            f"temperature={temperature}"
        )
    logits = np.log(np.maximum(predictions.probabilities, _TINY))
    logits = logits.astype(np.float64)
    return dataclasses.replace(
        predictions, probabilities=np.exp(_log_softmax(logits / temperature))
    )


def calibrate(
    held_out: Predictions, predictions: Predictions
) -> tuple[Predictions, float]:
    """Calibrates predictions by the temperature of held-out speakers.

    Args:
        held_out: `Predictions` of held-out training speakers.
        predictions: `Predictions` of the test speakers, of the same classes.

    Returns:
        `(predictions, temperature)`: the scaled `Predictions`, and a float.

    Raises:
        SpeakerOverlapError: A speaker is in both.
        ValueError: The classes differ.
    """
    shared = sorted(set(held_out.speakers) & set(predictions.speakers))
    if shared:
        raise SpeakerOverlapError(
            "The temperature must be fitted on other speakers than the test "
            f"speakers. Received shared speakers: {shared}"
        )
    if held_out.label_names != predictions.label_names:
        raise ValueError(
            "Both predictions must be of the same classes in the same order. "
            f"Received: {held_out.label_names} and {predictions.label_names}"
        )
    temperature = fit_temperature(held_out)
    return apply_temperature(predictions, temperature), temperature


def plot_reliability(
    systems: Predictions | Mapping[str, Predictions],
    path: str | os.PathLike[str] | None = None,
    bins: int = BINS,
) -> Figure:
    """Draws a reliability diagram, and accuracy over coverage.

    Args:
        systems: `Predictions`, or a dict from the name of a system to them.
        path: File to write, or None.
        bins: Number of bins.

    Returns:
        `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    if isinstance(systems, Predictions):
        systems = {"": systems}
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    for name, predictions in systems.items():
        found = measure_calibration(predictions, bins)
        filled = found.counts > 0
        label = f"{name} ECE {found.ece:.3f}".strip()
        left.plot(
            found.confidence[filled], found.accuracy[filled], "o-", label=label
        )
        curve = coverage_curve(predictions)
        right.plot(curve.coverage, curve.accuracy, label=name or None)
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    left.legend()
    right.set(xlabel="coverage", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    if path is not None:
        replace_file(path, functools.partial(figure.savefig, dpi=150))
    return figure


def _confidence(predictions):
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    correct = predictions.predicted == predictions.labels
    return confidence, correct.astype(np.float64)


def _log_softmax(logits):
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _or_none(values):
    return [None if np.isnan(x) else float(x) for x in values]
