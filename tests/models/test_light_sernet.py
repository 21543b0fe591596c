"""Light-SERNet against a plain Keras build of the paper's figure."""

import importlib.util
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras import LightSERNet
from ser_keras.models import count_macs
from ser_keras.testing import check_model_saving


@pytest.fixture(scope="module")
def reference_network(repository):
    path = repository / "benchmarks" / "light_sernet.py"
    spec = importlib.util.spec_from_file_location("light_sernet_bench", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reference_network


@pytest.fixture
def float64():
    # In float32 a ReLU here and there decides otherwise.
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)


def clips(frames=50, batch=3, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, frames, 40, 1)).astype(dtype)


def scrambled(network, seed=1):
    """Weights as training might leave them, statistics included."""
    rng = np.random.default_rng(seed)
    network.set_weights(
        [
            w + 0.1 * rng.normal(size=w.shape)
            if w.ndim > 1
            else rng.uniform(0.5, 1.5, w.shape)
            for w in network.get_weights()
        ]
    )
    return network


def copy_weights(ours, theirs):
    """From a LightSERNet to the reference, layer by layer."""
    blocks = [*ours.paths, *ours.blocks]
    convolutions, norms, (dense,) = (
        [layer for layer in theirs.layers if isinstance(layer, kind)]
        for kind in (
            keras.layers.Conv2D,
            keras.layers.BatchNormalization,
            keras.layers.Dense,
        )
    )
    for block, convolution, norm in zip(
        blocks, convolutions, norms, strict=True
    ):
        weights = [block.kernel, block.bias]
        convolution.set_weights([w.numpy() for w in weights if w is not None])
        norm.set_weights(
            [
                getattr(block.norm, name).numpy()
                for name in ("gamma", "beta", "moving_mean", "moving_variance")
            ]
        )
    dense.set_weights(ours.classifier.get_weights())


@pytest.mark.parametrize(
    ("classes", "parameters"), [(4, 462_468), (7, 463_431)]
)
@pytest.mark.parametrize("time", [184, 434, None])
def test_published_sizes(classes, parameters, time):
    network = LightSERNet.published(classes, (time, 40, 1))
    assert network.count_params() == parameters
    trainable = sum(v.shape.num_elements() for v in network.trainable_weights)
    assert trainable == parameters - 2 * (3 * 32 + 64 + 96 + 128 + 160 + 320)


# (frames, millions), of the paper's network.
@pytest.mark.parametrize(("frames", "macs"), [(184, 159.3), (434, 376.2)])
def test_macs(reference_network, frames, macs):
    shape = (frames, 40, 1)
    counted = count_macs(LightSERNet.published(4), shape)
    assert round(counted / 1e6, 1) == macs
    assert counted == count_macs(reference_network(shape, 4), shape)


def test_macs_of_variants():
    shape = (184, 40, 1)
    whole, half, separable = (
        count_macs(LightSERNet(shape, 4, **options), shape)
        for options in ({}, {"width": 0.5}, {"separable": True})
    )
    # The paths' own cost is linear in the width, that of the rest square.
    paths = 184 * 40 * 32 * (11 + 9 + 9)
    assert half == paths // 2 + (whole - paths - 320 * 4) // 4 + 160 * 4
    maps = [(92 * 20, 96, 64), (46 * 10, 64, 96), (23 * 5, 96, 128)]
    maps += [(12 * 5, 128, 160)]
    saved = sum(n * (9 * a * b - 9 * a - a * b) for n, a, b in maps)
    assert separable == whole - saved


def test_macs_need_known_sizes_and_no_loop():
    with pytest.raises(ValueError, match="input_shape"):
        count_macs(LightSERNet.published(4, (None, 40, 1)), (None, 40, 1))
    inputs = keras.Input((None, 3))
    recurrent = keras.Model(inputs, keras.layers.LSTM(2)(inputs))
    with pytest.raises(ValueError, match="loop"):
        count_macs(recurrent, (7, 3))


@pytest.mark.parametrize("frames", [1, 2, 50, 97])
@pytest.mark.parametrize("training", [False, True])
def test_equals_plain_keras(float64, reference_network, frames, training):
    options = {"dropout": 0.0, "masking": False}
    ours = scrambled(LightSERNet((None, 40, 1), 7, **options))
    theirs = reference_network((None, 40, 1), 7, dropout=0.0)
    copy_weights(ours, theirs)
    x = clips(frames, dtype="float64")
    results = []
    for network in (ours, theirs):
        with tf.GradientTape() as tape:
            y = tf.cast(network(x, training=training), "float64")
            loss = tf.reduce_sum(tf.sin(y)) + sum(network.losses)
        kernels = [w for w in network.trainable_weights if len(w.shape) == 4]
        gradients = tape.gradient(loss, [kernel.value for kernel in kernels])
        results.append([y, sum(network.losses), *gradients])
    for a, b in zip(*results, strict=True):
        # The last layer is float32 under every policy.
        atol = 1e-5 * float(tf.reduce_max(tf.abs(b)))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("frames", [1, 2, 3, 17, 48])
def test_masked_clip_does_not_depend_on_its_padding(frames):
    network = scrambled(LightSERNet((None, 40, 1), 4))
    x = clips(frames)
    expected = network(x)
    unmasked = LightSERNet((None, 40, 1), 4, masking=False)
    unmasked.set_weights(network.get_weights())
    np.testing.assert_allclose(unmasked(x), expected, atol=1e-5)
    for padding in (1, 2, 31):
        padded = np.pad(x, [(0, 0), (0, padding), (0, 0), (0, 0)])
        np.testing.assert_allclose(network(padded), expected, atol=1e-5)
        assert np.abs(unmasked(padded) - expected).max() > 1e-3


def test_saving(tmp_path):
    network = scrambled(
        LightSERNet((None, 24, 1), 3, width=0.5, separable=True, l2=1e-4)
    )
    x = np.random.default_rng(0).normal(size=(2, 33, 24, 1))
    loaded = check_model_saving(
        network, x.astype("float32"), tmp_path / "network.keras"
    )
    assert loaded.get_config() == network.get_config()
    assert loaded.blocks[0].l2 == 1e-4


def test_width_rounds_channels_to_multiples_of_8():
    network = LightSERNet((None, 40, 1), 4, width=0.3)
    assert [path.filters for path in network.paths] == [8, 8, 8]
    filters = [block.filters for block in network.blocks]
    assert filters == [16, 32, 40, 48, 96]


def test_every_weight_learns():
    network = LightSERNet((None, 40, 1), 4, separable=True)
    network.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = [w.numpy() for w in network.trainable_weights]
    network.fit(clips(16, batch=8), np.arange(8) % 4, verbose=0)
    for old, new in zip(before, network.trainable_weights, strict=True):
        # Batch normalisation takes away what a bias before it adds.
        if new.path.split("/")[-1] != "bias" or "classifier" in new.path:
            assert np.abs(new.numpy() - old).max() > 0, new.path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (184, None, 1)}, "input_shape"),
        ({"input_shape": (0, 40, 1)}, "input_shape"),
        ({"input_shape": (184, 40)}, "input_shape"),
        ({"input_shape": (184.5, 40, 1)}, "input_shape"),
        ({"input_shape": 5}, "input_shape=5"),
        ({"input_shape": "abc"}, "input_shape='abc'"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
        ({"width": 0}, "width=0"),
        ({"width": -1.0}, "width=-1.0"),
        ({"width": math.inf}, "width=inf"),
        ({"width": "1"}, "width='1'"),
        ({"dropout": None}, "dropout=None"),
        ({"epsilon": -1.0}, "epsilon=-1.0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"momentum": 1.5}, "momentum=1.5"),
        ({"l2": -1e-6}, "l2=-1e-06"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LightSERNet(
            **({"input_shape": (184, 40, 1), "num_classes": 4} | arguments)
        )


def test_clip_without_a_frame():
    network = LightSERNet((None, 40, 1), 4)
    with pytest.raises(ValueError, match="at least one frame"):
        network(np.zeros((2, 0, 40, 1), "float32"))
