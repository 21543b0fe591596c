import json
import warnings

import audmetric
import numpy as np
import pytest
import sklearn.metrics

from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import METRICS
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.evaluation.scores import confusion_by
from ser_keras.evaluation.scores import draw_speakers
from ser_keras.evaluation.scores import score

NAMES = ("anger", "boredom", "fear", "neutral")


def make(n=300, speakers=10, seed=0, classes=4, labels=None):
    random = np.random.default_rng(seed)
    if labels is None:
        labels = random.choice(classes, n, p=[0.5, 0.3, 0.15, 0.05])
    probabilities = random.dirichlet(np.ones(classes), n)
    probabilities[np.arange(n), labels] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    speaker = random.integers(speakers, size=n)
    return Predictions(
        ids=[f"u{i}" for i in range(n)],
        speakers=[f"s{i:03d}" for i in speaker],
        sexes=[("female", "male", None)[i % 3] for i in speaker],
        labels=labels,
        probabilities=probabilities,
        label_names=NAMES,
    )


def oracle(truth, predicted):
    with warnings.catch_warnings():
        # Predicted classes without support; scikit-learn warns of them.
        warnings.simplefilter("ignore", UserWarning)
        uar = sklearn.metrics.balanced_accuracy_score(truth, predicted)
    f1 = sklearn.metrics.f1_score
    return {
        "uar": uar,
        "wa": sklearn.metrics.accuracy_score(truth, predicted),
        "macro_f1": f1(truth, predicted, average="macro"),
        "weighted_f1": f1(truth, predicted, average="weighted"),
    }


@pytest.mark.parametrize("missing", [False, True])
def test_equals_scikit_learn_and_audmetric(missing):
    random = np.random.default_rng(5)
    predictions = make(labels=random.integers(3, size=300) if missing else None)
    scores = score(predictions)
    truth, predicted = predictions.labels, predictions.predicted
    for name, value in oracle(truth, predicted).items():
        assert getattr(scores, name) == pytest.approx(value), name
    np.testing.assert_array_equal(
        scores.confusion,
        sklearn.metrics.confusion_matrix(truth, predicted, labels=range(4)),
    )
    assert scores.n == 300
    assert scores.wa == pytest.approx(audmetric.accuracy(truth, predicted))
    if missing:
        assert scores.recall["neutral"] is None
        return
    assert scores.uar == pytest.approx(
        audmetric.unweighted_average_recall(truth, predicted)
    )
    recall = audmetric.recall_per_class(truth, predicted)
    assert list(scores.recall.values()) == pytest.approx(list(recall.values()))


@pytest.mark.parametrize("missing", [False, True])
def test_per_class_equals_scikit_learn(missing):
    labels = np.random.default_rng(5).integers(3, size=300)
    predictions = make(labels=labels if missing else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        columns = sklearn.metrics.precision_recall_fscore_support(
            predictions.labels, predictions.predicted, labels=range(4)
        )
    rows = score(predictions).per_class
    assert list(rows) == list(NAMES)
    for i, (name, row) in enumerate(rows.items()):
        precision, recall, f1, n = (column[i] for column in columns)
        assert row["n"] == n
        assert row["precision"] == pytest.approx(precision)
        assert row["f1"] == pytest.approx(f1)
        if n:
            assert row["recall"] == pytest.approx(recall)
        else:
            assert name == "neutral" and row["recall"] is None


def test_per_speaker_and_per_sex():
    predictions = make()
    scores = score(predictions)
    for table, column in (
        (scores.per_speaker, predictions.speakers),
        (scores.per_sex, predictions.sexes),
    ):
        assert set(table) == set(column) - {None}
        for name, row in table.items():
            chosen = np.array([value == name for value in column])
            expected = oracle(
                predictions.labels[chosen], predictions.predicted[chosen]
            )
            assert row["n"] == chosen.sum()
            assert row["uar"] == pytest.approx(expected["uar"])
            assert row["wa"] == pytest.approx(expected["wa"])


def test_to_dict_is_json():
    scores = score(make())
    row = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert row == scores.to_dict()
    assert row["uar"] == scores.uar
    assert np.sum(row["confusion"]) == row["n"] == 300


@pytest.mark.parametrize("metric", METRICS)
def test_interval_equals_a_loop_over_resamples(metric):
    # Three speakers, one of whom alone has the last class: many resamples
    # lack it.
    predictions = make(n=60, speakers=3)
    rare = predictions.labels == 3
    speakers = np.where(rare, "s000", predictions.speakers)
    predictions = Predictions(
        predictions.ids,
        tuple(speakers.tolist()),
        predictions.sexes,
        predictions.labels,
        predictions.probabilities,
        NAMES,
    )
    names = sorted(set(predictions.speakers))
    (counts,) = draw_speakers(len(names), 200, seed=7)
    lacking, values = 0, []
    for row in counts.astype(int):
        rows = [
            i
            for name, times in zip(names, row, strict=True)
            for i in np.flatnonzero(speakers == name).tolist() * times
        ]
        truth = predictions.labels[rows]
        lacking += 3 not in truth
        values.append(oracle(truth, predictions.predicted[rows])[metric])
    assert lacking > 10
    expected = np.quantile(values, [0.05, 0.95])
    interval = confidence_interval(
        predictions, metric, resamples=200, level=0.9, seed=7
    )
    assert interval == pytest.approx(tuple(expected))


def test_speakers_are_drawn_evenly_with_replacement():
    counts = np.concatenate(list(draw_speakers(7, 700_000, seed=1)))
    assert counts.shape == (700_000, 7)  # Several chunks.
    assert (counts.sum(axis=1) == 7).all()
    # Multinomial: mean 1, variance 1 - 1/7, covariance -1/7.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.01)
    np.testing.assert_allclose(np.cov(counts.T), np.eye(7) - 1 / 7, atol=0.01)


def test_interval_holds_the_score_and_is_wider_for_few_speakers():
    predictions = make(n=2000, speakers=20)
    low, high = confidence_interval(predictions, resamples=2000)
    assert low < score(predictions).uar < high
    narrow = confidence_interval(predictions, resamples=2000, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    again = confidence_interval(predictions, resamples=2000)
    assert again == (low, high)
    assert confidence_interval(predictions, resamples=2000, seed=1) != again


def test_utterances_of_one_speaker_count_as_one():
    # A hundred copies of every utterance tell nothing new.
    few = make(n=40, speakers=8)
    many = Predictions(
        ids=[f"{name}-{i}" for i in range(100) for name in few.ids],
        speakers=few.speakers * 100,
        sexes=few.sexes * 100,
        labels=np.tile(few.labels, 100),
        probabilities=np.tile(few.probabilities, (100, 1)),
        label_names=NAMES,
    )
    assert confidence_interval(many, resamples=300) == pytest.approx(
        confidence_interval(few, resamples=300)
    )


def test_one_speaker_has_no_interval():
    assert confidence_interval(make(speakers=1), resamples=10) is None


def test_bad_arguments():
    for arguments in ({"metric": "ua"}, {"resamples": 0}, {"level": 95}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            confidence_interval(make(), **arguments)


def test_confusion_by_any_group():
    predictions = make(n=50)
    groups, counts = confusion_by(["b"] * 20 + ["a"] * 30, predictions)
    assert groups == ["a", "b"]
    np.testing.assert_array_equal(
        counts[1],
        sklearn.metrics.confusion_matrix(
            predictions.labels[:20], predictions.predicted[:20], labels=range(4)
        ),
    )
