"""Batch norm against Keras' own layer and numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.layers import BatchNorm
from ser_keras.testing import check_replicas


def maps(dtype="float64", seed=0):
    x = np.random.default_rng(seed).normal(2.0, 3.0, (4, 5, 6, 3))
    return x.astype(dtype)


def pair(dtype, affine, one_pass=False):
    """Ours and Keras' with equal, random weights."""
    ours = BatchNorm(affine, one_pass=one_pass, dtype=dtype)
    theirs = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, center=affine, scale=affine, dtype=dtype
    )
    rng = np.random.default_rng(1)
    for layer in (ours, theirs):
        layer.build((None, None, None, 3))
    values = rng.uniform(0.5, 2.0, (4 if affine else 2, 3))
    ours.set_weights([np.float64(v) for v in values])
    theirs.set_weights(ours.get_weights())
    return ours, theirs


@pytest.mark.parametrize(
    ("affine", "one_pass"), [(False, False), (True, False), (True, True)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_keras(dtype, affine, one_pass):
    ours, theirs = pair(dtype, affine, one_pass)
    rtol = 1e-10 if dtype == "float64" else 2e-4
    x = tf.constant(maps(dtype))
    for training in (False, True):
        results = []
        for layer in (ours, theirs):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training)
                loss = tf.reduce_sum(tf.sin(y))
            watched = [x] + [v.value for v in layer.trainable_variables]
            results.append([y, *tape.gradient(loss, watched)])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)
    # After one training step; Keras keeps the biased variance.
    count = x.shape[0] * x.shape[1] * x.shape[2]
    old = pair(dtype, affine)[0].moving_variance.numpy()
    biased = (theirs.moving_variance.numpy() - 0.9 * old) / 0.1
    expected = 0.9 * old + 0.1 * biased * count / (count - 1)
    np.testing.assert_allclose(
        ours.moving_mean.numpy(), theirs.moving_mean.numpy(), rtol=rtol
    )
    np.testing.assert_allclose(
        ours.moving_variance.numpy(), expected, rtol=rtol
    )


def test_moving_statistics_are_those_of_torch():
    """Momentum 0.9 and the unbiased variance, over several batches."""
    layer = BatchNorm(dtype="float64")
    mean, variance = np.zeros(3), np.ones(3)
    for seed in range(5):
        x = maps(seed=seed)
        layer(x, training=True)
        mean = 0.9 * mean + 0.1 * x.mean((0, 1, 2))
        variance = 0.9 * variance + 0.1 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), variance, rtol=1e-12
    )
    before = layer.get_weights()
    layer(maps(seed=9), training=False)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scale_is_a_product_with_the_output(dtype, affine, training):
    layer, _ = pair(dtype, affine)
    x = tf.constant(maps(dtype))
    scale = tf.constant([0.3, 0.0, -1.2], dtype)
    weights = layer.get_weights()

    def run(call):
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch([x, scale])
            loss = tf.reduce_sum(tf.sin(call()))
        variables = [v.value for v in layer.trainable_variables]
        return [loss, *tape.gradient(loss, [x, scale, *variables])]

    ours = run(lambda: layer(x, scale, training=training))
    oracle = run(lambda: layer(x, training=training) * scale)
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    for a, b in zip(ours, oracle, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_channels():
    layer, _ = pair("float32", True)
    values = layer.get_channels(slice(1, 3))
    assert set(values) == {"gamma", "beta", "moving_mean", "moving_variance"}
    other = BatchNorm(True)
    other.build((None, None, None, 4))
    other.set_channels(slice(0, 2), values)
    for name, value in other.get_channels(slice(0, 2)).items():
        np.testing.assert_array_equal(value, values[name])
    np.testing.assert_array_equal(other.gamma.numpy()[2:], 1)
    other.set_channels(slice(2, 3), {"gamma": 7.0})
    np.testing.assert_array_equal(other.gamma.numpy()[2:], [7, 1])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_half_precision_keeps_exact_statistics(policy):
    x = maps("float32") + 30
    layer = BatchNorm(affine=True, dtype=policy)
    exact = BatchNorm(affine=True)
    for _ in range(40):
        y = layer(x, training=True)
        expected = exact(
            tf.cast(tf.cast(x, "bfloat16"), "float32"), training=True
        )
    assert y.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(y, "float32"), expected, atol=0.03)
    for a, b in zip(layer.weights, exact.weights, strict=True):
        assert a.dtype == "float32"
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3)
    y = layer(x, training=False)
    expected = exact(x, training=False)
    np.testing.assert_allclose(tf.cast(y, "float32"), expected, atol=0.15)


def test_replicas_share_statistics():
    x = np.random.default_rng(0).normal(size=(12, 5, 4, 2)).astype("float32")
    x *= np.arange(1, 13, dtype="float32")[:, None, None, None]
    y = np.random.default_rng(1).normal(size=(12, 1)).astype("float32")

    def build():
        model = keras.Sequential(
            [
                keras.Input((5, 4, 2)),
                keras.layers.Conv2D(3, 1),
                BatchNorm(affine=True),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(1),
            ]
        )
        model.compile("sgd", "mse")
        return model

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    one, _ = check_replicas(build, dataset, steps=3)
    assert np.abs(one.layers[1].moving_mean.numpy()).max() > 0.01
