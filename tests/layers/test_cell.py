"""Cells against an explicit sum over edges; drop path; users' operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.layers import AttentionPooling
from ser_keras.layers import Cell
from ser_keras.layers import ConvMixedOp
from ser_keras.layers import DropPath
from ser_keras.layers import MeanPooling
from ser_keras.layers import build_primitive
from ser_keras.layers import frame_mask
from ser_keras.layers import register_primitive
from ser_keras.models.cell_network import CellNetwork
from ser_keras.search_space import SearchSpace
from ser_keras.testing import check_model_saving


@register_primitive("test_tanh", "cnn")
def scaled_tanh(filters, strides):
    return keras.layers.Conv2D(
        filters, 1, strides, padding="same", activation="tanh"
    )


@register_primitive("test_gru", "recurrent")
def gru(filters):
    return keras.layers.GRU(filters, return_sequences=True)


def states(rng, *shape):
    return [tf.constant(rng.normal(size=shape), "float32") for _ in range(2)]


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_nodes_are_sums_over_edges(kind):
    """Every candidate of every edge computed by a layer of its own."""
    rng = np.random.default_rng(0)
    names = ["sep_conv_3x3", "max_pool_3x3", "skip_connect", "none"]
    edges = [
        [s, t, names] for t in (2, 3, 4) for s in range(t) if (s, t) != (0, 3)
    ]
    cell = Cell(kind, edges, [2, 4], filters=3)
    older, newer = states(rng, 2, 6, 5, 3)
    weights = tf.nn.softmax(rng.normal(size=(len(edges), 4)).astype("float32"))
    output = cell(older, newer, weights=weights)
    every = {0: older, 1: newer}
    for i, (source, target, _) in enumerate(edges):
        strides = 2 if kind == "reduce" and source < 2 else 1
        for k, op in enumerate(names[:-1]):
            single = ConvMixedOp([[op]], 3, strides=strides)
            single.build((None, None, None, 3))
            single.set_candidate(0, op, cell.get_candidate(i, op))
            term = weights[i, k] * single(every[source])[0]
            every[target] = every.get(target, 0.0) + term
    expected = tf.concat([every[2], every[4]], -1)
    assert output.shape == ((2, 6, 5, 6) if kind == "normal" else (2, 3, 3, 6))
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_derived_cell_and_nodes_without_operations():
    rng = np.random.default_rng(0)
    older, newer = states(rng, 2, 6, 5, 3)
    edges = [
        [0, 2, ["skip_connect"]],
        [1, 2, ["skip_connect"]],
        [0, 3, ["none"]],
        [2, 4, ["skip_connect"]],
        [3, 4, ["none"]],
    ]
    output = Cell("normal", edges, [2, 3, 4], 3)(older, newer).numpy()
    total = (older + newer).numpy()
    np.testing.assert_allclose(output[..., :3], total, rtol=1e-6)
    np.testing.assert_array_equal(output[..., 3:6], 0)
    np.testing.assert_allclose(output[..., 6:], total, rtol=1e-6)
    nothing = Cell("reduce", [[0, 2, ["none"]]], [2], 3)(older, newer)
    np.testing.assert_array_equal(nothing, np.zeros((2, 3, 3, 3)))


def test_an_operation_of_another_family_raises():
    with pytest.raises(ValueError, match="lstm_1"):
        Cell("normal", [[0, 2, ["lstm_1"]]], [2], 3)


def test_drop_path_statistics():
    x = np.ones((4000, 2, 3), "float32")
    layer = DropPath(0.3, seed=1)
    y = np.asarray(layer(x, training=True))
    clip = y[:, 0, 0]
    np.testing.assert_array_equal(
        y, np.broadcast_to(clip[:, None, None], y.shape)
    )
    np.testing.assert_allclose(np.unique(clip), [0, 1 / 0.7], rtol=1e-6)
    # Four standard deviations of a binomial count.
    assert abs(np.mean(clip == 0) - 0.3) < 4 * (0.21 / 4000) ** 0.5
    np.testing.assert_array_equal(layer(x, training=False), x)
    np.testing.assert_array_equal(DropPath(0.3, seed=1)(x, training=True), y)
    layer.current_rate.assign(0.0)
    np.testing.assert_array_equal(layer(x, training=True), x)
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"rate={rate}"):
            DropPath(rate)


def test_skip_connections_are_never_dropped():
    x = tf.ones((500, 3, 2))
    edges = [[0, 2, ["skip_connect"]], [1, 3, ["rnn_1"]]]
    cell = Cell("recurrent", edges, [2, 3], 2, drop_path_rate=0.5)
    y = cell(x, x, training=True).numpy()
    np.testing.assert_array_equal(y[..., :2], 1)
    dropped = (y[..., 2:] == 0).all((1, 2))
    assert 190 < dropped.sum() < 310


def test_registered_operations(tmp_path):
    space = SearchSpace(
        cnn=("test_tanh", "none"),
        recurrent=("test_gru", "none"),
        num_nodes=2,
    )
    arguments = {"filters": 2, "recurrent_filters": 3, "num_cells": 3}
    x = np.random.default_rng(0).normal(size=(2, 9, 6, 1)).astype("float32")
    derived = CellNetwork(space.sample(0), (None, 6, 1), 4, **arguments)
    copy = check_model_saving(derived, x, tmp_path / "derived.keras")
    assert copy.architecture.count("test_gru") == 4
    supernet = CellNetwork(space, (None, 6, 1), 4, **arguments)
    mixing = {k: tf.fill([5, 2], 0.5) for k in space.kinds}
    expected = supernet(x, mixing_weights=mixing)
    supernet.save(tmp_path / "space.keras")
    copy = keras.saving.load_model(tmp_path / "space.keras")
    np.testing.assert_allclose(
        copy(x, mixing_weights=mixing), expected, atol=1e-6
    )
    source, target = supernet.cells[1], derived.cells[1]
    values = source.get_candidate(0, "test_tanh")
    target.set_candidate(0, "test_tanh", values)
    again = target.get_candidate(0, "test_tanh")
    for key, value in values.items():
        np.testing.assert_array_equal(again[key], value)


@register_primitive("test_masked_mean", "cnn")
class MaskedMean(keras.layers.Layer):
    """A user's layer that takes `mask` and `training`."""

    def __init__(self, filters, strides):
        super().__init__()
        self.supports_masking = True

    def call(self, x, mask=None, training=None):
        real = tf.cast(mask, x.dtype)[:, :, None, None]
        mean = tf.reduce_sum(x * real, 1, keepdims=True)
        mean /= tf.reduce_sum(real, 1, keepdims=True)
        return x + mean * (2.0 if training else 1.0)


def test_registered_layers_get_mask_training_and_policy():
    lengths = np.array([6, 2])
    mask = tf.constant(np.arange(6) < lengths[:, None])
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    x *= mask.numpy()[..., None, None]
    mixed = ConvMixedOp([["test_masked_mean"]], 3, dtype="float64")
    mean = x.sum(1, keepdims=True) / lengths[:, None, None, None]
    for training, factor in ((False, 1), (True, 2)):
        (y,) = mixed(x, mask=mask, training=training)
        expected = (x + factor * mean) * mask.numpy()[..., None, None]
        np.testing.assert_allclose(y, expected, atol=1e-12)


def test_registration():
    with pytest.raises(ValueError, match="built-in"):
        register_primitive("lstm_1", "recurrent", gru)
    with pytest.raises(ValueError, match="registered already"):
        register_primitive("test_gru", "recurrent", scaled_tanh)
    with pytest.raises(ValueError, match="Unknown cnn operation 'test_gru'"):
        build_primitive("test_gru", "cnn", filters=2)
    assert build_primitive("test_gru", "recurrent", filters=2).units == 2


def test_attention_pooling_is_a_weighted_mean_and_deviation():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    layer = AttentionPooling(5)
    lengths = (7, 4)
    mask = np.arange(7) < np.array(lengths)[:, None]
    outputs = layer(x, mask=tf.constant(mask)).numpy()
    kernel, bias = layer.hidden.get_weights()
    (score,) = layer.score.get_weights()
    for clip, length, output in zip(x, lengths, outputs, strict=True):
        h = clip[:length].astype("float64")
        a = np.exp(np.tanh(h @ kernel + bias) @ score)
        a /= a.sum()
        mean = (a * h).sum(0)
        deviation = np.sqrt((a * (h - mean) ** 2).sum(0))
        expected = np.concatenate([mean, deviation])
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    pooled = MeanPooling()(x, mask=tf.constant(mask)).numpy()
    np.testing.assert_allclose(pooled[1], x[1, :4].mean(0), rtol=1e-5)


def test_frame_mask_keeps_silence_within_a_clip():
    x = np.zeros((3, 6, 2), "float32")
    x[0, [1, 4], 0] = (-1, 2)
    x[1, :, 1] = -3
    expected = [[1] * 5 + [0], [1] * 6, [1] + [0] * 5]
    for features in (x, x[..., None]):
        mask = frame_mask(features).numpy()
        np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_every_operation_runs_in_a_cell():
    x = tf.ones((2, 6, 5, 2))
    edges = [[i % 2, 2 + i, [op]] for i, op in enumerate(CNN_OPERATIONS)]
    output = Cell("normal", edges, range(2, 10), 2, affine=True)(x, x)
    assert output.shape == (2, 6, 5, 16)
