"""Paired comparison of two systems on the same utterances."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ser_keras._errors import shortened
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import METRICS
from ser_keras.evaluation.scores import check_bootstrap
from ser_keras.evaluation.scores import confusion_by
from ser_keras.evaluation.scores import draw_speakers

#: Fewest test speakers of whom a permutation test can have p < 0.05: with S,
#: p is `2 ** (1 - S)` at the least.
MIN_SPEAKERS = 6


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Difference of a score of two systems on the same utterances.

    Args:
        metric: Name of the score, as in `METRICS`.
        first: Score of the first system.
        second: Score of the second system.
        difference: `first - second`: positive if the first is better.
        low: Lower end of the confidence interval of the difference; None for
            one speaker.
        high: Upper end; None for one speaker.
        p_value: Of the two-sided permutation test: the probability of a
            difference at least as large if the systems were exchangeable.
        speakers: Number of speakers.
        n: Number of utterances.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float
    speakers: int
    n: int

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return dataclasses.asdict(self)

    @property
    def inconclusive(self) -> str:
        """Why nothing can be shown with so few speakers, or an empty text."""
        return inconclusive(self.speakers)

    def describe(self) -> str:
        """One line for a table or a log."""
        interval = "no interval with one speaker"
        if self.low is not None:
            interval = f"{self.low:+.3f} to {self.high:+.3f}"
        return (
            f"{self.metric} {self.first:.3f} - {self.second:.3f} = "
            f"{self.difference:+.3f} ({interval}), p = {self.p_value:.3g}, "
            f"{self.speakers} speakers, {self.n} utterances"
            + (f"; {self.inconclusive}" if self.inconclusive else "")
        )


def inconclusive(speakers: int) -> str:
    """Why nothing can be shown with so few speakers, or an empty text.

    Args:
        speakers: Number of test speakers.

    >>> inconclusive(2)
    'nothing can be shown with 2 test speakers: p is 0.5 at the least'
    >>> inconclusive(MIN_SPEAKERS)
    ''
    """
    if speakers >= MIN_SPEAKERS:
        return ""
    plural = "s" if speakers > 1 else ""
    return (
        f"nothing can be shown with {speakers} test speaker{plural}: p is "
        f"{2.0 ** (1 - speakers):.3g} at the least"
    )


def compare_predictions(
    first: Predictions,
    second: Predictions,
    metric: str = "uar",
    resamples: int = 10000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compares two systems on the same utterances, paired by speaker.

    The confidence interval is a bootstrap over speakers: both systems are
    scored on the same resampled speakers. The p-value is that of a permutation
    test that exchanges the two systems' predictions of all utterances of a
    speaker; all permutations are tried if there are at most `resamples`, and
    random ones otherwise. Both resample speakers, because utterances of one
    speaker are not independent; so with S speakers no p-value is below
    `2 ** (1 - S)`, which is 0.002 for ten.

    Args:
        first: `Predictions` of a system.
        second: `Predictions` of another, of the same utterances, in any
            order of utterances and classes.
        metric: Name of a score in `METRICS`.
        resamples: Number of bootstrap resamples and of permutations.
        level: Confidence level of the interval.
        seed: Seed of both.

    Returns:
        `Comparison`.

    Raises:
        ValueError: The predictions are of different utterances, classes,
            speakers or labels (the message names rows), or an argument is out
            of range.

    References:
        Field and Welsh, "Bootstrapping clustered data", J. R. Stat. Soc. B,
        2007; Noreen, "Computer-intensive methods for testing hypotheses",
        1989 (approximate randomization).

    Example:
    >>> from ser_keras.evaluation.predictions import Predictions
    >>> rows = {"ids": "abcd", "speakers": "xxyy", "sexes": (None,) * 4,
    ...         "labels": [0, 1, 0, 1], "label_names": "AN"}
    >>> right = Predictions(probabilities=np.eye(2)[[0, 1, 0, 1]], **rows)
    >>> half = Predictions(probabilities=np.eye(2)[[0, 0, 0, 0]], **rows)
    >>> comparison = compare_predictions(right, half)
    >>> comparison.difference, comparison.p_value
    (0.5, 0.5)
    """
    check_bootstrap(metric, resamples, level)
    second = align(first, second)
    score = METRICS[metric]
    names, one = confusion_by(first.speakers, first)
    _, other = confusion_by(second.speakers, second)
    one, other = one.astype(np.float64), other.astype(np.float64)
    scores = [float(score(x.sum(axis=0))) for x in (one, other)]
    low = high = None
    if len(names) > 1:
        differences = np.concatenate(
            [
                score(np.tensordot(drawn, one, axes=1))
                - score(np.tensordot(drawn, other, axes=1))
                for drawn in draw_speakers(len(names), resamples, seed)
            ]
        )
        tail = (1 - level) / 2
        low, high = np.quantile(differences, [tail, 1 - tail]).tolist()
    return Comparison(
        metric=metric,
        first=scores[0],
        second=scores[1],
        difference=scores[0] - scores[1],
        low=low,
        high=high,
        p_value=_p_value(one, other, score, resamples, seed),
        speakers=len(names),
        n=len(first),
    )


def align(first, second):
    """Reorders predictions to the utterances and classes of others.

    Args:
        first: `Predictions`.
        second: `Predictions` of the same utterances.

    Returns:
        `second`, with rows and classes in the order of `first`.

    Raises:
        ValueError: They have different utterances or classes, or different
            labels or speakers of an utterance.
    """
    if set(first.label_names) != set(second.label_names):
        raise ValueError(
            "Both predictions must be of the same classes. Received: "
            f"{first.label_names} and {second.label_names}"
        )
    rows = {name: row for row, name in enumerate(second.ids)}
    one, other = set(first.ids), set(second.ids)
    for which, lacking in (
        ("second", [name for name in first.ids if name not in other]),
        ("first", [name for name in second.ids if name not in one]),
    ):
        if lacking:
            raise ValueError(
                "Both predictions must cover the same utterances. Received: "
                f"the {which} lack {len(lacking)} of {len(one | other)}, "
                f"{shortened(lacking)}"
            )
    order = np.array([rows[name] for name in first.ids])
    classes = [second.label_names.index(name) for name in first.label_names]
    number = np.argsort(classes)  # From class numbers of `second` to `first`.
    aligned = Predictions(
        first.ids,
        [second.speakers[row] for row in order],
        [second.sexes[row] for row in order],
        number[second.labels[order]],
        second.probabilities[order][:, classes],
        first.label_names,
    )
    for name, column, other in (
        ("label", first.labels, aligned.labels),
        ("speaker", first.speakers, aligned.speakers),
    ):
        wrong = np.flatnonzero(np.array(column) != np.array(other))
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"Both predictions must have the same {name} for every "
                f"utterance. Received: {len(wrong)} that differ, first "
                f"{first.ids[row]} (row {row}): {column[row]!r} and "
                f"{other[row]!r}"
            )
    return aligned


def _p_value(one, other, score, resamples, seed):
    total, change = one.sum(axis=0), other - one
    both = total + other.sum(axis=0)

    def differences(exchanged):
        permuted = total + np.tensordot(exchanged, change, axes=1)
        return np.abs(score(permuted) - score(both - permuted))

    speakers = len(one)
    observed = abs(score(total) - score(both - total))
    # Rounding must not decide whether a difference is at least as large.
    limit = observed - 1e-12
    if speakers <= 60 and 2 ** (speakers - 1) <= resamples:
        # The last speaker is kept: exchanging all only changes the sign.
        patterns = np.arange(2 ** (speakers - 1))[:, None]
        exchanged = (patterns >> np.arange(speakers)) & 1
        return float(np.mean(differences(exchanged.astype(float)) >= limit))
    random = np.random.default_rng(seed)
    reached, chunk = 0, max(1, 2_000_000 // speakers)
    for start in range(0, resamples, chunk):
        shape = (min(chunk, resamples - start), speakers)
        exchanged = random.integers(2, size=shape).astype(float)
        reached += int(np.sum(differences(exchanged) >= limit))
    # The observed assignment counts as one of the permutations.
    return (reached + 1) / (resamples + 1)
