import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score

from ser_keras.metrics import UnweightedAverageRecall
from ser_keras.training.runtime import strategy


@pytest.fixture
def examples():
    random = np.random.default_rng(1)
    labels = random.choice(4, 203, p=[0.7, 0.15, 0.1, 0.05])
    logits = random.normal(size=(203, 4)).astype("float32")
    logits[np.arange(203), labels] += 1
    return labels, logits


@pytest.mark.parametrize("form", ["ids", "column", "float", "one_hot"])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_balanced_accuracy_over_batches(examples, form, weighted):
    labels, logits = examples
    weight = np.random.default_rng(2).uniform(0, 3, 203) if weighted else None
    given = {
        "ids": labels,
        "column": labels[:, None],
        "float": labels.astype("float32"),
        "one_hot": np.eye(4)[labels],
    }[form]
    metric = UnweightedAverageRecall(4)
    for start in range(0, 203, 32):
        part = slice(start, start + 32)
        metric.update_state(
            given[part], logits[part], weight[part] if weighted else None
        )
    expected = balanced_accuracy_score(
        labels, logits.argmax(1), sample_weight=weight
    )
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_classes_without_support_are_left_out():
    metric = UnweightedAverageRecall(5, ignore_class=-1)
    # Class 3 is predicted but has no example; -1 is padding.
    metric.update_state([0, 0, 1, -1], np.eye(5)[[0, 3, 1, 4]])
    assert float(metric.result()) == pytest.approx((0.5 + 1) / 2)


def test_counts_frames_and_broadcasts_weights():
    metric = UnweightedAverageRecall(2)
    labels = np.array([[0, 0, 1], [0, 1, 1]])
    predicted = np.array([[0, 1, 1], [1, 1, 0]])
    metric.update_state(labels, np.eye(2)[predicted], [1.0, 0.5])
    expected = balanced_accuracy_score(
        labels.ravel(), predicted.ravel(), sample_weight=[1] * 3 + [0.5] * 3
    )
    assert float(metric.result()) == pytest.approx(expected)


def test_in_a_compiled_function(examples):
    labels, logits = examples
    metric = UnweightedAverageRecall(4)
    update = tf.function(metric.update_state, jit_compile=True)
    update(tf.constant(labels), tf.constant(logits))
    assert float(metric.result()) == pytest.approx(
        balanced_accuracy_score(labels, logits.argmax(1)), rel=1e-6
    )


def identity_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Activation(None)])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[UnweightedAverageRecall(4)],
        jit_compile=False,
    )
    return model


@pytest.mark.parametrize("devices", ["none", "mirrored"])
def test_exact_over_the_epoch_and_over_replicas(examples, devices):
    labels, logits = examples
    with strategy(devices).scope():
        model = identity_model()
    # 203 examples in batches of 16: replicas get unequal parts of the last.
    logs = model.evaluate(
        logits, labels, batch_size=16, verbose=0, return_dict=True
    )
    assert logs["uar"] == pytest.approx(
        balanced_accuracy_score(labels, logits.argmax(1)), rel=1e-6
    )


def test_survives_saving_in_a_model(examples, tmp_path):
    labels, logits = examples
    model = identity_model()
    before = model.evaluate(logits, labels, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    after = loaded.evaluate(logits, labels, verbose=0, return_dict=True)
    assert after == before
    metric = UnweightedAverageRecall(4, name="recall", ignore_class=-1)
    config = keras.saving.serialize_keras_object(metric)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert copy.get_config() == metric.get_config()


def test_keras_maximises_it(examples):
    labels, logits = examples
    model = identity_model()
    model.evaluate(logits, labels, verbose=0)
    # With mode="auto"; 0.6 is the best of these values.
    callback = keras.callbacks.EarlyStopping("val_uar", patience=5)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, uar in enumerate([0.5, 0.6, 0.4]):
        callback.on_epoch_end(epoch, {"val_uar": uar})
    assert callback.best == 0.6


def test_a_class_that_is_ignored_may_be_one_of_them():
    metric = UnweightedAverageRecall(3, ignore_class=0)
    metric.update_state([0, 0, 1, 1, 2], np.eye(3)[[1, 0, 1, 2, 2]])
    assert float(metric.result()) == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    "labels", [[0, 4, -1], [0, 4, 1], [0, -1, 1], [0.0, float("nan"), 1.0]]
)
def test_class_numbers_out_of_range(labels, graph):
    metric = UnweightedAverageRecall(4)
    update = metric.update_state
    if graph:
        update = tf.function(update)
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 3"):
        update(tf.constant(labels), tf.zeros((3, 4)))


def test_class_numbers_out_of_range_in_xla():
    metric = UnweightedAverageRecall(4)
    update = tf.function(metric.update_state, jit_compile=True)
    update(tf.constant([0, 4, 1]), tf.zeros((3, 4)))
    assert np.isnan(float(metric.result()))


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_classes=1"):
        UnweightedAverageRecall(1)
    with pytest.raises(ValueError, match="must have 3 classes"):
        UnweightedAverageRecall(3).update_state([0], [[0.0, 1.0]])
