"""Whether one system is better than another on the same utterances."""

import dataclasses

import numpy as np

from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import METRICS
from ser_keras.evaluation.scores import confusion_by
from ser_keras.evaluation.scores import draw_speakers


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The difference of two systems on the same utterances.

    Args:
        metric: Name of the score, as in `METRICS`.
        first: Score of the first system.
        second: Score of the second system.
        difference: `first - second`: positive if the first is better.
        low: Lower end of the difference's interval; None for one speaker.
        high: Upper end; None for one speaker.
        p_value: Probability of a difference at least as large, either way,
            if it did not matter which system heard which speaker.
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

    def to_dict(self):
        """Everything as JSON types."""
        return dataclasses.asdict(self)

    def describe(self):
        """One line for a table or a log."""
        interval = "no interval with one speaker"
        if self.low is not None:
            interval = f"{self.low:+.3f} to {self.high:+.3f}"
        return (
            f"{self.metric} {self.first:.3f} - {self.second:.3f} = "
            f"{self.difference:+.3f} ({interval}), p = {self.p_value:.3g}, "
            f"{self.speakers} speakers, {self.n} utterances"
        )


def compare_predictions(
    first, second, metric="uar", resamples=10000, level=0.95, seed=0
):
    """Compares two systems on the same utterances, speaker by speaker.

    The interval is a bootstrap over speakers: both systems are scored on the
    same drawn speakers, so that what makes a speaker hard for both cancels.
    The p-value is of a permutation test that exchanges the two systems'
    answers to all utterances of a speaker. All exchanges are tried if there
    are no more of them than `resamples`, a random sample otherwise. Both
    count speakers, not utterances, which are not independent of each other;
    so with S speakers no p-value is below `2 ** (1 - S)`: 0.002 for ten.

    Args:
        first: `Predictions` of a system.
        second: `Predictions` of another, of the same utterances, in any
            order of utterances and classes.
        metric: Name of a score in `METRICS`.
        resamples: Number of bootstrap resamples and of permutations.
        level: Probability that the interval is meant to cover.
        seed: Seed of both.

    Returns:
        `Comparison`.

    Raises:
        ValueError: The predictions are of different utterances, classes,
            speakers or truths (the message names rows), or an argument is out
            of its range.

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
    second = align(first, second)
    score = METRICS[metric]
    names, ours = confusion_by(first.speakers, first)
    _, theirs = confusion_by(second.speakers, second)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    scores = [float(score(x.sum(axis=0))) for x in (ours, theirs)]
    low = high = None
    if len(names) > 1:
        differences = np.concatenate(
            [
                score(np.tensordot(drawn, ours, axes=1))
                - score(np.tensordot(drawn, theirs, axes=1))
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
        p_value=_p_value(ours, theirs, score, resamples, seed),
        speakers=len(names),
        n=len(first),
    )


def align(first, second):
    """`second` with its rows and classes in the order of `first`.

    Args:
        first: `Predictions`.
        second: `Predictions` of the same utterances.

    Raises:
        ValueError: They do not cover the same utterances, or do not agree on
            the classes, the truth or the speaker of one.
    """
    if set(first.label_names) != set(second.label_names):
        raise ValueError(
            "Both predictions must be of the same classes. Received: "
            f"{first.label_names} and {second.label_names}"
        )
    rows = {name: row for row, name in enumerate(second.ids)}
    here, there = set(first.ids), set(second.ids)
    for which, lacking in (
        ("second", [name for name in first.ids if name not in there]),
        ("first", [name for name in second.ids if name not in here]),
    ):
        if lacking:
            raise ValueError(
                "Both predictions must cover the same utterances. The "
                f"{which} lack {len(lacking)} of {len(here | there)}, such as "
                f"{', '.join(lacking[:5])}."
            )
    order = np.array([rows[name] for name in first.ids])
    classes = [second.label_names.index(name) for name in first.label_names]
    number = np.argsort(classes)  # From their class number to ours.
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
                f"utterance. Received {len(wrong)} that differ, first "
                f"{first.ids[row]} (row {row}): {column[row]!r} and "
                f"{other[row]!r}"
            )
    return aligned


def _p_value(ours, theirs, score, resamples, seed):
    total, change = ours.sum(axis=0), theirs - ours
    both = total + theirs.sum(axis=0)

    def differences(exchanged):
        one = total + np.tensordot(exchanged, change, axes=1)
        return np.abs(score(one) - score(both - one))

    speakers = len(ours)
    observed = abs(score(total) - score(both - total))
    # Rounding must not decide whether a difference is as large.
    limit = observed - 1e-12
    if speakers <= 60 and 2 ** (speakers - 1) <= resamples:
        # The last speaker stays: exchanging everybody changes the sign only.
        patterns = np.arange(2 ** (speakers - 1))[:, None]
        exchanged = (patterns >> np.arange(speakers)) & 1
        return float(np.mean(differences(exchanged.astype(float)) >= limit))
    random = np.random.default_rng(seed)
    reached, chunk = 0, max(1, 2_000_000 // speakers)
    for start in range(0, resamples, chunk):
        shape = (min(chunk, resamples - start), speakers)
        exchanged = random.integers(2, size=shape).astype(float)
        reached += int(np.sum(differences(exchanged) >= limit))
    # The observed assignment is one of the possible ones.
    return (reached + 1) / (resamples + 1)
