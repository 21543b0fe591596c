import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation import baselines
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.evaluation.baselines import fit_classifier
from ser_keras.features.feature_set import FeatureSet
from ser_keras.models.hand_made import HAND_MADE
from ser_keras.models.hand_made import hand_made_genotype
from ser_keras.models.hand_made import hand_made_network
from ser_keras.protocols.protocol import folds_hash
from ser_keras.reports.report import summary
from ser_keras.testing import check_model_saving


def make_features(speakers="abcd", each=9, spread=1.0, seed=0):
    random = np.random.default_rng(seed)
    utterances, arrays = [], []
    for speaker in speakers:
        for i in range(each):
            label = "ANS"[i % 3]
            name = f"{speaker}{i}"
            utterances.append(Utterance(name, name, label, speaker))
            centre = 2 * np.eye(3)[i % 3]
            arrays.append([[*random.normal(centre, spread), 0.0]])
    return FeatureSet(Manifest(utterances), arrays)


@pytest.mark.parametrize("name", list(baselines.CLASSIFIERS)[1:])
def test_it_learns_and_is_calibrated(name):
    fitted = fit_classifier(name, make_features())
    test = make_features("xyz", 60, seed=1)
    truth = test.manifest.label_ids
    probabilities = fitted.predict(baselines.classifier_input(name, test))
    assert np.allclose(probabilities.sum(axis=1), 1)
    uar = balanced_accuracy_score(truth, probabilities.argmax(axis=1))
    assert uar > 0.65
    assert fitted.c in baselines.CLASSIFIERS[name]
    # As sure as it is right, on speakers that it never heard.
    assert abs(probabilities.max(axis=1).mean() - uar) < 0.12


def layers_of(features, informative, count=3):
    """Noise as layers, but for one of them."""
    random = np.random.default_rng(3)
    rows = []
    for x in features.arrays:
        layers = random.normal(size=(count, x.shape[1])).astype("float32")
        layers[informative] = x[0]
        rows.append(layers)
    return FeatureSet(features.manifest, rows)


@pytest.mark.parametrize("informative", [0, 2])
def test_a_layer_is_selected_on_training_speakers(informative, tmp_path):
    features = layers_of(make_features(), informative)
    folds = ser.protocols.leave_one_speaker_out(features.manifest)
    run = ser.training.RunFolder(tmp_path / "run", {})
    outcome = cross_validate_classifier(
        "layer_probe", features, folds, run=run, exposed=None
    )
    assert outcome.scores.uar > 0.65
    for fold in folds:
        chosen = json.loads(
            (run.path / "folds" / fold.name / "chosen.json").read_text()
        )
        assert informative in chosen["layers"]
    # As scikit-learn by hand, with what was chosen on the last fold.
    train, test = (
        np.stack(
            [x[chosen["layers"]].ravel() for x in features.select(part).arrays]
        )
        for part in (fold.train, fold.test)
    )
    model = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=chosen["c"], class_weight="balanced", max_iter=2000
        ),
    ).fit(train, fold.train.label_ids)
    rows = [outcome.predictions.ids.index(u.id) for u in fold.test]
    answers = outcome.predictions.probabilities[rows].argmax(axis=1)
    assert np.array_equal(answers, model.predict(test))


def test_of_many_utterances_some_take_part_in_the_selection(monkeypatch):
    features = make_features(each=60)
    searched = []

    class Search(baselines.GridSearchCV):
        def fit(self, x, y, groups):
            searched.append((len(x), sorted(set(groups)), sorted(set(y))))
            return super().fit(x, y, groups=groups)

    monkeypatch.setattr(baselines, "GridSearchCV", Search)
    everything = fit_classifier("logistic_regression", features)
    monkeypatch.setattr(baselines, "_SELECTION", 100)
    fitted = fit_classifier("logistic_regression", features)
    assert searched == [
        (240, [*"abcd"], [0, 1, 2]),
        (100, [*"abcd"], [0, 1, 2]),
    ]
    # All of them train the classifier, whatever was selected on some.
    assert len(fitted.held_out.ids) == 240
    scale = everything.pipeline["scale"].mean_
    np.testing.assert_allclose(fitted.pipeline["scale"].mean_, scale)


def test_clips_have_the_same_layers():
    features = make_features()
    arrays = [*features.arrays[:-1], np.zeros((2, 4), "float32")]
    features = FeatureSet(features.manifest, arrays)
    with pytest.raises(ValueError, match=r"Received: \[1, 2\] rows"):
        fit_classifier("layer_probe", features)


def test_probabilities_do_not_change_the_decision():
    train, test = make_features(), make_features("xyz", 60, seed=1)
    fitted = fit_classifier("rbf_svm", train)
    x = baselines.vectors(test)
    model = make_pipeline(
        StandardScaler(),
        SVC(C=fitted.c, class_weight="balanced", break_ties=True),
    ).fit(baselines.vectors(train), train.manifest.label_ids)
    answers = fitted.predict(x).argmax(axis=1)
    assert np.array_equal(answers, model.predict(x))


def test_nothing_of_the_test_speakers_is_used():
    """Scale, C and temperature are the same whatever is tested."""
    train = make_features()
    first = fit_classifier("linear_svm", train)
    second = fit_classifier("linear_svm", train)
    assert first.temperature == second.temperature
    scaler = first.pipeline.named_steps["scale"]
    assert np.allclose(scaler.mean_, baselines.vectors(train).mean(axis=0))


def test_cross_validation_resumes(tmp_path, monkeypatch):
    features = make_features()
    folds = ser.protocols.leave_one_speaker_out(features.manifest)
    run = ser.training.RunFolder(tmp_path / "run", {"seed": 0})
    options = {"run": run, "exposed": None}
    outcome = cross_validate_classifier(
        "linear_svm", features, folds, **options
    )
    assert outcome.scores.uar > 0.6 and len(outcome.fold_scores) == 4
    (tmp_path / "run/folds/b/predictions.csv").unlink()
    fitted = []

    def fit(name, train, seed):
        fitted.append(train.manifest.speakers)
        return fit_classifier(name, train, seed)

    monkeypatch.setattr(baselines, "fit_classifier", fit)
    again = cross_validate_classifier("linear_svm", features, folds, **options)
    assert fitted == [("a", "c", "d")]
    assert np.array_equal(
        again.predictions.probabilities, outcome.predictions.probabilities
    )


def test_majority(tmp_path):
    features = make_features(each=10)
    folds = ser.protocols.leave_one_speaker_out(features.manifest)
    run = ser.training.RunFolder(tmp_path / "run", {"seed": 0})
    outcome = cross_validate_classifier(
        "majority", features, folds, run=run, exposed=None
    )
    assert outcome.scores.uar == pytest.approx(1 / 3)
    assert outcome.scores.wa == pytest.approx(0.4)
    assert outcome.predictions.probabilities[0] == pytest.approx(
        [0.4, 0.3, 0.3]
    )


def test_facts_of_a_classifier_do_not_contradict_each_other(tmp_path):
    """It has no epoch that could be picked on the test part."""
    features = make_features()
    folds = ser.get_protocol("random-folds", number=2).folds(features.manifest)
    run = ser.training.RunFolder(tmp_path / "run", {"seed": 0})
    with pytest.warns(UserWarning, match="OVERSTATES"):
        outcome = cross_validate_classifier(
            "majority", features, folds, run=run, exposed=None
        )
    result = summary(outcome)
    for record in (result, result["protocol"]):
        assert record["leaks_speakers"] and not record["selects_on_test"]
    assert result["protocol"]["hash"] == folds[0].protocol["hash"]
    assert result["folds_hash"] == folds_hash(folds)


def test_a_class_missing_from_an_inner_fold():
    features = make_features("abc")
    rare = [u for u in features.manifest if u.label != "S" or u.speaker == "a"]
    train = features.select(Manifest(rare, features.manifest.labels))
    fitted = fit_classifier("rbf_svm", train)
    assert np.isfinite(fitted.predict(baselines.vectors(features))).all()


def test_bad_input():
    with pytest.raises(ValueError, match="name='svm'"):
        fit_classifier("svm", make_features())
    with pytest.raises(ValueError, match="at least two"):
        fit_classifier("rbf_svm", make_features("a"))
    with pytest.raises(ValueError, match="name='gru'"):
        hand_made_network("gru", (None, 8, 1), 3)


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_networks_use_all_their_weights(name):
    network = hand_made_network(
        name, (None, 8, 1), 3, num_cells=3, filters=4, recurrent_filters=4
    )
    assert ("lstm" in name) == bool(network.recurrent_cells)
    assert ("cnn" in name) == bool(network.cells)
    x = np.random.default_rng(0).normal(size=(4, 12, 8, 1)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, training=True)[:, 0] ** 2)
    weights = [weight.value for weight in network.trainable_weights]
    gradients = tape.gradient(loss, weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), weight.name
    # Of all but the biases before a normalisation, which takes them out.
    used = [np.any(np.abs(gradient) > 0) for gradient in gradients]
    assert np.mean(used) > 0.9


def test_attention_is_what_differs(tmp_path):
    for name in ("cnn", "lstm", "cnn_lstm"):
        plain = hand_made_genotype(name)
        attending = hand_made_genotype(f"{name}_attention")
        assert plain.normal == attending.normal
        assert attending.count("lstm_att_1") == plain.count("lstm_1")
    network = hand_made_network("cnn_attention", (None, 8, 1), 3, num_cells=3)
    assert network.pooling == "attention"
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 1)).astype("float32")
    check_model_saving(network, x, tmp_path / "network.keras")
