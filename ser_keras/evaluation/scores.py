"""Scores of predictions, with confidence intervals.

Every score is a function of confusion matrices `(..., classes, classes)`, whose
rows are true and whose columns are predicted classes. So the same function
scores all utterances, each speaker, and thousands of bootstrap resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

if TYPE_CHECKING:
    from ser_keras.evaluation.predictions import Predictions


def _ratio(numerator, denominator):
    """Quotient; NaN without a warning where the denominator is 0."""
    return np.divide(
        numerator,
        denominator,
        out=np.full(np.shape(numerator), np.nan),
        where=denominator > 0,
    )


def _counts(confusion):
    confusion = np.asarray(confusion, np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-1), confusion.sum(axis=-2)


def recalls(confusion):
    """Recall of each class, NaN for a class without utterances."""
    hits, support, _ = _counts(confusion)
    return _ratio(hits, support)


def unweighted_average_recall(confusion):
    """UAR: mean recall of the classes that have utterances."""
    return np.nanmean(recalls(confusion), axis=-1)


def weighted_accuracy(confusion):
    """WA: proportion of utterances whose class is predicted."""
    hits, support, _ = _counts(confusion)
    return _ratio(hits.sum(axis=-1), support.sum(axis=-1))


def macro_f1(confusion):
    """Mean F1 of the classes that have utterances or are predicted."""
    return np.nanmean(_f1(confusion), axis=-1)


def weighted_f1(confusion):
    """Mean F1 of the classes, weighted by their number of utterances."""
    support = _counts(confusion)[1]
    total = np.nansum(_f1(confusion) * support, axis=-1)
    return _ratio(total, support.sum(axis=-1))


def _f1(confusion):
    hits, support, predicted = _counts(confusion)
    return _ratio(2 * hits, support + predicted)


#: Names of the scores, and functions of `(..., classes, classes)` counts.
METRICS = {
    "uar": unweighted_average_recall,
    "wa": weighted_accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """All scores of one set of predictions.

    Args:
        uar: Unweighted average recall, from 0 to 1 as all scores.
        wa: Weighted accuracy.
        macro_f1: Mean of the classes' F1.
        weighted_f1: The same, weighted by support.
        confusion: Counts `(classes, classes)`; rows are true classes.
        recall: Recall of each label; None without utterances.
        per_class: For each label `{"recall": ..., "precision": ..., "f1": ...,
            "n": ...}`, with `n` utterances; None where undefined.
        per_speaker: For each speaker `{"uar": ..., "wa": ..., "n": ...}`, with
            `n` utterances and the UAR over the classes of this speaker.
        per_sex: The same for each known sex.
        label_names: Names of the classes.
    """

    uar: float
    wa: float
    macro_f1: float
    weighted_f1: float
    confusion: np.ndarray
    recall: dict
    per_class: dict
    per_speaker: dict
    per_sex: dict
    label_names: Sequence[str]

    @property
    def n(self) -> int:
        """Number of utterances."""
        return int(self.confusion.sum())

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types, for `result.json`."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        return {
            **fields,
            "n": self.n,
            "confusion": self.confusion.tolist(),
            "label_names": list(self.label_names),
        }


def confusion_by(groups, predictions):
    """Confusion matrix of each group of utterances, such as of each speaker.

    Args:
        groups: One value for each utterance, such as
            `predictions.speakers`.
        predictions: `Predictions`.

    Returns:
        The groups, a sorted list, and counts `(groups, classes, classes)`.
    """
    names, index = np.unique(np.array(groups), return_inverse=True)
    classes = len(predictions.label_names)
    cell = (index * classes + predictions.labels) * classes
    counts = np.bincount(
        cell + predictions.predicted, minlength=len(names) * classes**2
    )
    return names.tolist(), counts.reshape(-1, classes, classes)


def score(predictions: Predictions) -> Scores:
    """Scores predictions, pooled over all their utterances.

    UAR, WA and F1 are those of the pooled confusion matrix, not means over
    folds.

    Args:
        predictions: `Predictions`.

    Returns:
        `Scores`.

    Example:
    >>> from ser_keras.evaluation.predictions import Predictions
    >>> predictions = Predictions(
    ...     ids="abc", speakers="xyy", sexes=(None,) * 3, labels=[0, 0, 1],
    ...     probabilities=[[1, 0], [0, 1], [0, 1]], label_names="AN")
    >>> score(predictions).to_dict()["uar"]
    0.75
    """
    speakers, by_speaker = confusion_by(predictions.speakers, predictions)
    # Utterances of unknown sex are grouped under "", and left out.
    sexes, by_sex = confusion_by(
        [sex or "" for sex in predictions.sexes], predictions
    )
    confusion = by_speaker.sum(axis=0)
    names = predictions.label_names
    per_class = _classes(names, confusion)
    return Scores(
        **{name: float(metric(confusion)) for name, metric in METRICS.items()},
        confusion=confusion,
        recall={name: row["recall"] for name, row in per_class.items()},
        per_class=per_class,
        per_speaker=_table(speakers, by_speaker),
        per_sex=_table(sexes, by_sex),
        label_names=names,
    )


def _classes(names, confusion):
    hits, support, predicted = _counts(confusion)
    columns = {
        "recall": _ratio(hits, support),
        "precision": _ratio(hits, predicted),
        "f1": _f1(confusion),
    }
    return {
        name: {
            **{
                key: None if np.isnan(column[i]) else float(column[i])
                for key, column in columns.items()
            },
            "n": int(support[i]),
        }
        for i, name in enumerate(names)
    }


def _table(names, confusions):
    return {
        name: {
            "uar": float(unweighted_average_recall(confusion)),
            "wa": float(weighted_accuracy(confusion)),
            "n": int(confusion.sum()),
        }
        for name, confusion in zip(names, confusions, strict=True)
        if name
    }


def confidence_interval(
    predictions: Predictions,
    metric: str = "uar",
    resamples: int = 10000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Confidence interval of a score, by a percentile bootstrap over speakers.

    Utterances of one speaker are not independent, so that a bootstrap over
    utterances would be too narrow. Here a resample has as many speakers as
    there are, drawn with replacement, each with all utterances.

    A resample may lack a class that few speakers have. It is neither drawn
    again nor scored 0: `unweighted_average_recall` and `macro_f1` leave out a
    class without utterances (F1 only if it is not predicted either).

    With few speakers the interval is still too narrow; with a single one there
    is none.

    Args:
        predictions: `Predictions`.
        metric: Name of a score in `METRICS`.
        resamples: Number of resamples.
        level: Confidence level.
        seed: Seed of the resamples, which do not depend on the metric.

    Returns:
        `(low, high)`, or None if there are fewer than two speakers.

    Raises:
        ValueError: An argument is out of range.

    References:
        Field and Welsh, "Bootstrapping clustered data", J. R. Stat. Soc. B,
        2007 (the randomized cluster bootstrap).
    """
    check_bootstrap(metric, resamples, level)
    speakers, confusions = confusion_by(predictions.speakers, predictions)
    if len(speakers) < 2:
        return None
    confusions = confusions.astype(np.float64)  # For BLAS.
    scores = np.concatenate(
        [
            METRICS[metric](np.tensordot(drawn, confusions, axes=1))
            for drawn in draw_speakers(len(speakers), resamples, seed)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)


def check_bootstrap(metric, resamples, level):
    """Raises `ValueError` for invalid arguments of a bootstrap.

    Args:
        metric: Name of a score in `METRICS`.
        resamples: Number of resamples, at least 1.
        level: Confidence level, above 0 and below 1.
    """
    if metric not in METRICS:
        raise ValueError(
            f"`metric` must be one of {tuple(METRICS)}. Received: "
            f"metric={metric!r}"
        )
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            "`resamples` must be positive and `level` between 0 and 1. "
            f"Received: resamples={resamples}, level={level}"
        )


def draw_speakers(speakers, resamples, seed=0):
    """Draws bootstrap resamples of speakers, in chunks.

    Args:
        speakers: Number of speakers.
        resamples: Number of resamples.
        seed: Seed.

    Yields:
        How often each speaker is drawn, arrays `(resamples, speakers)` which
        together have all resamples.
    """
    random = np.random.default_rng(seed)
    chunk = max(1, 2_000_000 // speakers)  # 16 MB for any corpus.
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = random.integers(speakers, size=(rows, speakers))
        drawn += np.arange(rows)[:, None] * speakers
        counts = np.bincount(drawn.ravel(), minlength=rows * speakers)
        yield counts.reshape(rows, speakers).astype(np.float64)
