import json

import numpy as np
import pytest
import sklearn.calibration
import sklearn.linear_model
import sklearn.metrics

from ser_keras.evaluation.calibration import apply_temperature
from ser_keras.evaluation.calibration import calibrate
from ser_keras.evaluation.calibration import coverage_curve
from ser_keras.evaluation.calibration import fit_temperature
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.calibration import plot_reliability
from ser_keras.evaluation.predictions import Predictions
from ser_keras.protocols.splits import SpeakerOverlapError


def make(n=400, classes=4, sharpness=1.0, seed=0, speakers="ab"):
    """Labels drawn from a softmax; what is reported is sharper than that."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, classes))
    labels = (logits + random.gumbel(size=(n, classes))).argmax(axis=1)
    probabilities = np.exp(sharpness * logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(
        ids=[f"u{i}" for i in range(n)],
        speakers=[speakers[i % len(speakers)] for i in range(n)],
        sexes=[None] * n,
        labels=labels,
        probabilities=probabilities,
        label_names=[f"c{i}" for i in range(classes)],
    )


def test_reliability_of_two_classes_equals_scikit_learn():
    predictions = make(classes=2, sharpness=2)
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.predicted == predictions.labels
    accuracy, mean = sklearn.calibration.calibration_curve(
        right, confidence, n_bins=12
    )
    found = measure_calibration(predictions, bins=12)
    some = found.counts > 0
    np.testing.assert_allclose(found.accuracy[some], accuracy, atol=1e-12)
    np.testing.assert_allclose(found.confidence[some], mean, rtol=1e-6)
    assert found.counts.sum() == 400 and not some[:5].any()


def test_ece_equals_a_loop():
    predictions = make(sharpness=3)
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.predicted == predictions.labels
    total, worst = 0.0, 0.0
    for low in np.arange(15) / 15:
        chosen = (confidence > low) & (confidence <= low + 1 / 15)
        if chosen.any():
            gap = abs(right[chosen].mean() - confidence[chosen].mean())
            total += gap * chosen.mean()
            worst = max(worst, gap)
    found = measure_calibration(predictions)
    assert found.ece == pytest.approx(total, abs=1e-6)
    assert found.mce == pytest.approx(worst, abs=1e-6)
    row = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert row["confidence"][0] is None and sum(row["counts"]) == 400


def test_edges_and_one_bin():
    predictions = Predictions(
        "abc", "xyz", [None] * 3, [0, 0, 1], [[1, 0], [0.5, 0.5], [1, 0]], "AN"
    )
    found = measure_calibration(predictions, bins=2)
    assert found.counts.tolist() == [1, 2]
    assert found.accuracy.tolist() == [1, 0.5]
    assert measure_calibration(predictions, 1).ece == pytest.approx(
        5 / 6 - 2 / 3
    )
    with pytest.raises(ValueError, match="bins=0"):
        measure_calibration(predictions, 0)


def test_temperature_of_two_classes_is_a_logistic_regression():
    predictions = make(classes=2, sharpness=2.5)
    odds = np.log(predictions.probabilities[:, 1:].astype(float))
    odds -= np.log(predictions.probabilities[:, :1])
    model = sklearn.linear_model.LogisticRegression(
        C=np.inf, fit_intercept=False, tol=1e-10
    )
    model.fit(odds, predictions.labels)
    assert fit_temperature(predictions) == pytest.approx(
        1 / model.coef_[0, 0], rel=1e-4
    )


def test_temperature_undoes_what_was_too_sure():
    sure = make(n=20000, sharpness=3)
    temperature = fit_temperature(sure)
    assert temperature == pytest.approx(3, rel=0.05)
    scaled = apply_temperature(sure, temperature)
    np.testing.assert_array_equal(scaled.predicted, sure.predicted)
    assert (
        measure_calibration(scaled).ece
        < 0.02
        < 0.1
        < measure_calibration(sure).ece
    )
    losses = [
        sklearn.metrics.log_loss(sure.labels, p.probabilities)
        for p in (scaled, sure, apply_temperature(sure, temperature * 1.2))
    ]
    assert losses[0] == min(losses)
    np.testing.assert_allclose(
        apply_temperature(sure, 1).probabilities, sure.probabilities, atol=1e-6
    )
    with pytest.raises(ValueError, match="temperature=0"):
        apply_temperature(sure, 0)


def test_probabilities_of_zero_are_bearable():
    labels = np.arange(4) % 2
    predictions = Predictions(
        "abcd", "wxyz", [None] * 4, labels, np.eye(2)[[0, 1, 0, 0]], "AN"
    )
    scaled = apply_temperature(predictions, fit_temperature(predictions))
    assert np.isfinite(scaled.probabilities).all()


def test_calibrate_is_fitted_on_other_speakers():
    held_out, test = make(sharpness=3), make(sharpness=3, seed=1, speakers="cd")
    scaled, temperature = calibrate(held_out, test)
    assert temperature == fit_temperature(held_out)
    assert measure_calibration(scaled).ece < measure_calibration(test).ece
    with pytest.raises(SpeakerOverlapError, match=r"\['a', 'b'\]"):
        calibrate(held_out, make(seed=2))
    with pytest.raises(ValueError, match="same classes"):
        calibrate(held_out, make(classes=3, speakers="cd"))


def test_coverage_equals_a_loop_over_thresholds():
    predictions = make(n=120)
    confidence = predictions.probabilities.max(axis=1).astype(float)
    right = predictions.predicted == predictions.labels
    curve = coverage_curve(predictions)
    for coverage, accuracy, threshold in zip(
        curve.coverage, curve.accuracy, curve.threshold, strict=True
    ):
        chosen = confidence >= threshold
        assert coverage == pytest.approx(chosen.mean())
        assert accuracy == pytest.approx(right[chosen].mean())
    assert curve.coverage[-1] == 1
    assert curve.accuracy[-1] == pytest.approx(right.mean())
    assert curve.accuracy_at(1) == pytest.approx(right.mean())
    assert curve.accuracy_at(0.5) > curve.accuracy_at(1)
    assert curve.area == pytest.approx(np.mean(1 - curve.accuracy))


def test_ties_are_answered_together():
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]]
    predictions = Predictions(
        "abcd", "wxyz", [None] * 4, [0, 0, 1, 1], probabilities, "AN"
    )
    curve = coverage_curve(predictions)
    assert curve.coverage.tolist() == [0.25, 0.75, 1]
    assert curve.accuracy.tolist() == [1, 2 / 3, 0.5]
    assert curve.area == pytest.approx((0 + 2 * (1 / 3) + 0.5) / 4)
    assert curve.accuracy_at(0.5) == pytest.approx(2 / 3)


def test_plot(tmp_path):
    figure = plot_reliability(
        {"one": make(), "two": make(sharpness=3)}, tmp_path / "reliability.png"
    )
    left, right = figure.axes
    assert len(left.lines) == 3 and len(right.lines) == 2
    assert "two ECE" in left.get_legend().get_texts()[1].get_text()
    assert (tmp_path / "reliability.png").stat().st_size > 5000
    assert len(plot_reliability(make()).axes[1].lines) == 1
