"""The graph of a training step is made once, and nothing else changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.models.network import labels_like

SPACE = ser.SearchSpace(
    ("skip_connect", "max_pool_3x3"),
    ("rnn_1", "skip_connect"),
    num_nodes=1,
)
SIZE = {"filters": 2, "num_cells": 3, "recurrent_filters": 2}
SHAPE = (12, 8, 1)


def cell_network():
    return ser.CellNetwork(SPACE.sample(0), SHAPE, 3, **SIZE)


def light_sernet():
    return ser.LightSERNet((None, *SHAPE[1:]), 3, width=0.125, dropout=0.0)


def two_streams():
    space = ser.TwoStreamSearchSpace(SPACE, SPACE)
    shapes = {"handcrafted": SHAPE, "deep": SHAPE}
    return ser.TwoStreamNet(space.sample(0), shapes, 3, SIZE, SIZE)


def supernet():
    return ser.SuperNet(SPACE, SHAPE, 3, seed=0, **SIZE)


def batch(one_hot=False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, *SHAPE)).astype("float32")
    y = np.arange(8) % 3
    return x, np.eye(3, dtype="float32")[y] if one_hot else y


def count_traces(model, monkeypatch):
    calls, step = [], model.train_step
    monkeypatch.setattr(
        model, "train_step", lambda data: calls.append(1) or step(data)
    )
    return calls


@pytest.mark.parametrize("make", [cell_network, light_sernet, two_streams])
def test_of_networks(make, monkeypatch):
    keras.utils.set_random_seed(0)
    model = make()
    calls = count_traces(model, monkeypatch)
    model.compile(
        "adam",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", ser.UnweightedAverageRecall(3)],
    )
    x, y = batch()
    if make is two_streams:
        x = {"handcrafted": x, "deep": x}
    data = tf.data.Dataset.from_tensors((x, y))
    first = model.fit(data, verbose=0).history
    assert len(calls) == 1
    # All eight were counted, and nothing that was not there.
    assert round(first["accuracy"][0] * 8, 3) % 1 == 0
    model.fit(data, epochs=2, verbose=0)
    assert len(calls) == 1


def test_of_a_search(monkeypatch):
    model = supernet()
    calls = count_traces(model, monkeypatch)
    model.compile(metrics=["accuracy"])
    data = tf.data.Dataset.from_tensors(batch())
    model.fit(ser.bilevel(data, data), verbose=0)
    assert len(calls) == 1


@pytest.mark.parametrize("one_hot", [False, True])
def test_scores_are_those_of_keras(one_hot):
    """Labels as arrays of either kind, against Keras' own `fit`."""
    keras.utils.set_random_seed(0)
    ours, histories = light_sernet(), []
    copy = light_sernet()
    copy.set_weights(ours.get_weights())
    x, y = batch(one_hot)
    for model, fit in ((ours, type(ours).fit), (copy, keras.Model.fit)):
        kind = "" if one_hot else "Sparse"
        loss = getattr(keras.losses, f"{kind}CategoricalCrossentropy")
        model.compile("sgd", loss(from_logits=True), metrics=["accuracy"])
        arguments = {"batch_size": 4, "epochs": 2, "shuffle": False}
        histories.append(fit(model, x, y, verbose=0, **arguments).history)
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, atol=1e-5)


def test_what_keras_refuses_is_its_error():
    model = light_sernet()
    with pytest.raises(ValueError, match="compile"):
        model.fit(*batch(), verbose=0)


def test_labels_that_tensorflow_has_no_type_of():
    class Labels:
        shape, dtype = (3,), "of another library"

    assert labels_like(Labels()) is None
    assert labels_like([0, 1]) is None
    assert labels_like(np.zeros((4, 3), "float32")).shape == (1, 3)
