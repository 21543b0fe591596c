import itertools
import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from ser_keras.evaluation.comparison import align
from ser_keras.evaluation.comparison import compare_predictions
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.evaluation.scores import draw_speakers
from ser_keras.evaluation.scores import score

NAMES = ("anger", "fear", "neutral")


def make(quality, n=200, speakers=6, seed=0):
    labels = np.random.default_rng(1).integers(3, size=n)
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(3), n)
    probabilities[np.arange(n), labels] += quality
    return Predictions(
        ids=[f"u{i}" for i in range(n)],
        speakers=[f"s{i % speakers:02d}" for i in range(n)],
        sexes=[None] * n,
        labels=labels,
        probabilities=probabilities / probabilities.sum(1, keepdims=True),
        label_names=NAMES,
    )


def uar(truth, predicted):
    return sklearn.metrics.recall_score(truth, predicted, average="macro")


def test_interval_equals_a_loop_over_resamples():
    first, second = make(0.4), make(0.2, seed=2)
    speakers = np.array(first.speakers)
    (counts,) = draw_speakers(6, 150, seed=3)
    values = []
    for row in counts.astype(int):
        rows = np.concatenate(
            [
                np.tile(np.flatnonzero(speakers == f"s{i:02d}"), times)
                for i, times in enumerate(row)
            ]
        )
        values.append(
            uar(first.labels[rows], first.predicted[rows])
            - uar(first.labels[rows], second.predicted[rows])
        )
    result = compare_predictions(first, second, resamples=150, seed=3)
    expected = np.quantile(values, [0.025, 0.975])
    assert (result.low, result.high) == pytest.approx(tuple(expected))
    assert result.difference == pytest.approx(
        score(first).uar - score(second).uar
    )
    assert result.n == 200 and result.speakers == 6


def test_p_value_equals_scipy_on_all_exchanges():
    first, second = make(0.5), make(0.25, seed=2)
    speakers = np.array(first.speakers)
    groups = [speakers == f"s{i:02d}" for i in range(6)]

    def difference(exchanged):
        a, b = first.predicted.copy(), second.predicted.copy()
        for swap, group in zip(exchanged, groups, strict=True):
            if swap:
                a[group], b[group] = b[group].copy(), a[group].copy()
        return uar(first.labels, a) - uar(first.labels, b)

    observed = abs(difference([0] * 6))
    every = [
        abs(difference(exchanged)) >= observed - 1e-12
        for exchanged in itertools.product([0, 1], repeat=6)
    ]
    result = compare_predictions(first, second)
    assert 1 / 32 <= result.p_value < 1
    assert result.p_value == pytest.approx(np.mean(every))


def test_random_exchanges_agree_with_all_of_them():
    first, second = make(0.35, speakers=10), make(0.3, speakers=10, seed=2)
    exact = compare_predictions(first, second, resamples=512).p_value
    drawn = compare_predictions(first, second, resamples=511, seed=4).p_value
    assert 0.05 < exact < 1 and exact != drawn
    error = np.sqrt(exact * (1 - exact) / 511)
    assert abs(drawn - exact) < 4 * error


def test_accuracy_of_balanced_speakers_equals_a_paired_permutation_test():
    # Then the accuracy is the mean over speakers, which scipy can test.
    first, second = make(0.4, 180), make(0.25, 180, seed=2)
    speakers = np.array(first.speakers)
    rates = [
        [
            np.mean((p.predicted == p.labels)[speakers == s])
            for s in set(speakers)
        ]
        for p in (first, second)
    ]
    expected = scipy.stats.permutation_test(
        rates,
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
    )
    result = compare_predictions(first, second, "wa")
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.difference == pytest.approx(expected.statistic)


def test_order_of_rows_and_classes_does_not_matter():
    first, second = make(0.4), make(0.3, seed=2)
    order = np.random.default_rng(3).permutation(200)
    shuffled = Predictions(
        [second.ids[i] for i in order],
        [second.speakers[i] for i in order],
        [None] * 200,
        np.array([1, 2, 0])[second.labels[order]],
        second.probabilities[order][:, [2, 0, 1]],
        ("neutral", "anger", "fear"),
    )
    assert compare_predictions(first, shuffled) == compare_predictions(
        first, second
    )
    aligned = align(first, shuffled)
    np.testing.assert_array_equal(aligned.probabilities, second.probabilities)
    assert aligned.label_names == NAMES


def test_against_itself_and_the_other_way_round():
    first, second = make(0.5), make(0.2, seed=2)
    same = compare_predictions(first, first)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    one = compare_predictions(first, second)
    other = compare_predictions(second, first)
    assert one.difference == -other.difference
    assert one.low == pytest.approx(-other.high)
    assert one.p_value == other.p_value


def test_pairing_is_narrower_than_two_intervals():
    # Each speaker has a level of his own, common to both systems.
    first = make(0.3)
    better = first.probabilities.copy()
    better[np.arange(200), first.labels] += 0.2
    better /= better.sum(axis=1, keepdims=True)
    second = Predictions(
        first.ids, first.speakers, first.sexes, first.labels, better, NAMES
    )
    result = compare_predictions(second, first)
    low, high = confidence_interval(first)
    assert result.low > 0
    assert result.high - result.low < high - low


def test_one_speaker_shows_nothing():
    result = compare_predictions(
        make(0.9, speakers=1), make(0.1, speakers=1, seed=2)
    )
    assert result.difference > 0.1
    assert (result.low, result.high, result.p_value) == (None, None, 1)
    assert "one speaker" in result.describe()
    assert json.loads(json.dumps(result.to_dict()))["high"] is None


def test_what_does_not_fit_is_named():
    first = make(0.4)
    fields = {
        "ids": first.ids,
        "speakers": first.speakers,
        "sexes": first.sexes,
        "labels": first.labels,
        "probabilities": first.probabilities,
        "label_names": NAMES,
    }
    short = Predictions(
        **{
            name: column if name == "label_names" else column[:-3]
            for name, column in fields.items()
        }
    )
    with pytest.raises(ValueError, match="second lack 3 of 200.*u197.*u198"):
        compare_predictions(first, short)
    with pytest.raises(ValueError, match="first lack 3 of 200.*u197.*u198"):
        compare_predictions(short, first)
    labels = first.labels.copy()
    labels[4] = (labels[4] + 1) % 3
    for change, message in (
        ({"labels": labels}, r"same label.*1 that differ, first u4 \(row 4\)"),
        ({"speakers": ["x", *first.speakers[1:]]}, "same speaker.*u0.*'s00'"),
        ({"label_names": ("anger", "fear", "joy")}, "same classes.*joy"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_predictions(first, Predictions(**(fields | change)))
    for arguments in ({"metric": "ua"}, {"resamples": 0}, {"level": 95}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            compare_predictions(first, first, **arguments)


@pytest.mark.parametrize("speakers", [2, 3, 5, 6, 7])
def test_few_speakers_cannot_show_a_difference(speakers):
    """Even of a system that is right against one that is wrong always."""
    rows = {
        "ids": [f"{i}" for i in range(2 * speakers)],
        "speakers": [f"{i // 2}" for i in range(2 * speakers)],
        "sexes": (None,) * 2 * speakers,
        "labels": [0, 1] * speakers,
        "label_names": "AN",
    }
    right = np.eye(2)[rows["labels"]]
    found = compare_predictions(
        Predictions(probabilities=right, **rows),
        Predictions(probabilities=1 - right, **rows),
    )
    assert found.p_value == 2.0 ** (1 - speakers)
    assert bool(found.inconclusive) == (found.p_value >= 0.05)
    if found.inconclusive:
        assert f"with {speakers} test speakers" in found.describe()
        assert f"p is {found.p_value:.3g} at the least" in found.describe()
