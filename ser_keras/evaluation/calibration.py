"""Whether probabilities mean what they say, and what a refusal buys."""

import dataclasses
import functools

import numpy as np
import scipy.optimize

from ser_keras._files import replace_file
from ser_keras.evaluation.predictions import Predictions
from ser_keras.protocols.splits import SpeakerOverlapError

#: Bins of confidence: one number, or the ECE of a run is not one.
BINS = 15
_TINY = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How often the recognised class is right, by how sure the system is.

    Args:
        ece: Expected calibration error, from 0 to 1: mean distance between
            confidence and accuracy of the bins, weighted by utterances.
        mce: Distance in the worst bin that has utterances.
        confidence: Mean confidence of each bin, NaN if it is empty.
        accuracy: Proportion of right answers in each bin, NaN if empty.
        counts: Utterances in each bin.
    """

    ece: float
    mce: float
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray

    def to_dict(self):
        """Everything as JSON types; an empty bin's values are null."""
        return {
            "ece": self.ece,
            "mce": self.mce,
            "confidence": _or_none(self.confidence),
            "accuracy": _or_none(self.accuracy),
            "counts": self.counts.tolist(),
        }


def calibration(predictions, bins=BINS):
    """Expected calibration error and the bins of a reliability diagram.

    Confidence is the probability of the most probable class. Bins are equally
    wide; a confidence on an edge belongs to the lower bin.

    Args:
        predictions: `Predictions`.
        bins: Number of bins.

    Returns:
        `Calibration`.

    References:
        Guo et al., "On calibration of modern neural networks", ICML 2017,
        eq. 2, 3 and 5.

    Example:
    >>> predictions = Predictions(
    ...     ids="ab", speakers="xy", sexes=(None, None), labels=[0, 0],
    ...     probabilities=[[0.75, 0.25], [0.25, 0.75]], label_names="AN")
    >>> calibration(predictions).ece
    0.25
    """
    if bins < 1:
        raise ValueError(
            f"`bins` must be a positive integer. Received: bins={bins}"
        )
    confidence, right = _confidence(predictions)
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
        for weights in (confidence, right)
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
    """Accuracy if only the surest utterances are answered.

    Args:
        coverage: Proportion of utterances that are answered, rising to 1.
        accuracy: Weighted accuracy of these.
        threshold: Confidence from which on they are answered.
        area: Mean error over all coverages (the area under the
            risk-coverage curve); less is better.
    """

    coverage: np.ndarray
    accuracy: np.ndarray
    threshold: np.ndarray
    area: float

    def accuracy_at(self, coverage):
        """Accuracy of the smallest part with at least this coverage."""
        row = int(np.searchsorted(self.coverage, coverage - 1e-9))
        return float(self.accuracy[min(row, len(self.accuracy) - 1)])


def coverage_curve(predictions):
    """Coverage against accuracy, from the surest utterance to all.

    Utterances of one confidence are answered together, so there is a point
    for each different confidence.

    Args:
        predictions: `Predictions`.

    Returns:
        `Coverage`.

    References:
        El-Yaniv and Wiener, "On the foundations of noise-free selective
        classification", JMLR 11, 2010.
    """
    confidence, right = _confidence(predictions)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    last = np.append(confidence[1:] != confidence[:-1], True)
    answered = np.arange(1, len(right) + 1)[last]
    accuracy = np.cumsum(right)[last] / answered
    steps = np.diff(answered, prepend=0)
    return Coverage(
        coverage=answered / len(right),
        accuracy=accuracy,
        threshold=confidence[last],
        area=float(np.sum((1 - accuracy) * steps) / len(right)),
    )


def fit_temperature(predictions):
    """Temperature at which the log-likelihood of predictions is largest.

    Args:
        predictions: `Predictions` for held-out *training* speakers.

    Returns:
        Float; above 1 where the system is too sure.

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


def apply_temperature(predictions, temperature):
    """Predictions with softened or sharpened probabilities.

    The recognised classes stay the same, and so do UAR, WA and F1.

    Args:
        predictions: `Predictions`.
        temperature: Positive number, such as `fit_temperature` returns.

    Returns:
        `Predictions`.
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


def calibrate(held_out, predictions):
    """Scales predictions by the temperature of other speakers.

    Args:
        held_out: `Predictions` for training speakers whom the network did not
            learn from.
        predictions: `Predictions` for the test speakers, of the same classes.

    Returns:
        The scaled predictions, and the temperature.

    Raises:
        SpeakerOverlapError: A speaker is in both.
        ValueError: The classes differ.
    """
    shared = sorted(set(held_out.speakers) & set(predictions.speakers))
    if shared:
        raise SpeakerOverlapError(
            "The temperature must be fitted on other speakers than those who "
            f"are scored. Received shared speakers: {shared}"
        )
    if held_out.label_names != predictions.label_names:
        raise ValueError(
            "Both predictions must be of the same classes in the same order. "
            f"Received: {held_out.label_names} and {predictions.label_names}"
        )
    temperature = fit_temperature(held_out)
    return apply_temperature(predictions, temperature), temperature


def plot_reliability(systems, path=None, bins=BINS):
    """Draws accuracy over confidence, and coverage against accuracy.

    Args:
        systems: `Predictions`, or a dict from a system's name to them.
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
        found = calibration(predictions, bins)
        some = found.counts > 0
        label = f"{name} ECE {found.ece:.3f}".strip()
        left.plot(
            found.confidence[some], found.accuracy[some], "o-", label=label
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
    right = predictions.predicted == predictions.labels
    return confidence, right.astype(np.float64)


def _log_softmax(logits):
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _or_none(values):
    return [None if np.isnan(x) else float(x) for x in values]
