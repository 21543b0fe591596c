import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras import load_model
from ser_keras.optimizers.fused import FusedAdamW
from ser_keras.optimizers.fused import FusedSGD
from ser_keras.training import strategy


def schedule():
    return keras.optimizers.schedules.CosineDecay(0.05, 6)


PAIRS = {
    "sgd": (FusedSGD(0.1), keras.optimizers.SGD(0.1)),
    "momentum": (
        FusedSGD(schedule(), momentum=0.9),
        keras.optimizers.SGD(schedule(), momentum=0.9),
    ),
    "nesterov": (
        FusedSGD(0.1, momentum=0.8, nesterov=True),
        keras.optimizers.SGD(0.1, momentum=0.8, nesterov=True),
    ),
    "adam": (
        FusedAdamW(1e-2, beta_1=0.5, epsilon=1e-4),
        keras.optimizers.Adam(1e-2, beta_1=0.5, epsilon=1e-4),
    ),
    "adamw": (
        FusedAdamW(schedule(), decay=0.2, global_clipnorm=1.0),
        keras.optimizers.AdamW(
            schedule(), weight_decay=0.2, global_clipnorm=1.0
        ),
    ),
    "averaged": (
        FusedAdamW(1e-2, decay=0.2, use_ema=True, ema_momentum=0.7),
        keras.optimizers.AdamW(
            1e-2, weight_decay=0.2, use_ema=True, ema_momentum=0.7
        ),
    ),
    "accumulated": (
        FusedAdamW(1e-2, gradient_accumulation_steps=2),
        keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2),
    ),
}


def halved(variable):
    """Of a variable with this path, the optimiser of half the rate."""
    rate = 0.5e-2 if "dense/" in variable.path else 1e-2
    return keras.optimizers.AdamW(rate, weight_decay=0.2)


def test_a_rate_for_each_part_is_an_optimizer_for_each():
    ours = FusedAdamW(1e-2, decay=0.2, rates={"dense/": 0.5, "dense": 1.0})
    network, _ = trained(ours)
    expected, _ = trained(keras.optimizers.MultiOptimizer(halved), copy=False)
    alike, _ = trained(FusedAdamW(1e-2, decay=0.2))
    for a, b in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    kernels = (model.weights[0] for model in (network, alike))
    assert np.abs(np.subtract(*kernels)).max() > 1e-3


def trained(optimizer, jit_compile=False, steps=6, copy=True):
    """Variables of a network and of its optimiser after some steps."""
    if copy:
        optimizer = type(optimizer).from_config(optimizer.get_config())
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "tanh", name="dense"),
            keras.layers.Dense(1, name="last"),
        ]
    )
    model.compile(optimizer, "mse", jit_compile=jit_compile)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * steps, 3)).astype("float32")
    model.fit(x, x[:, :1] ** 2, batch_size=4, shuffle=False, verbose=0)
    return model, [v.numpy() for v in optimizer.variables]


@functools.cache
def trained_by_keras(name):
    return trained(PAIRS[name][1])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_keras(name, jit_compile):
    network, state = trained(PAIRS[name][0], jit_compile)
    expected, expected_state = trained_by_keras(name)
    for a, b in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(state) == len(expected_state)
    for a, b in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_two_replicas_are_one(name):
    ours, _ = PAIRS[name]
    expected, _ = trained(ours)
    with strategy("mirrored").scope():
        network, _ = trained(ours)
    assert network.distribute_strategy.num_replicas_in_sync == 2
    for a, b in zip(network.weights, expected.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_goes_on_from_a_file(tmp_path):
    network, _ = trained(PAIRS["adamw"][0])
    network.save(tmp_path / "network.keras")
    again = load_model(tmp_path / "network.keras")
    assert isinstance(again.optimizer, FusedAdamW)
    assert again.optimizer.decay == 0.2
    x = np.ones((4, 3), "float32")
    for model in (network, again):
        model.fit(x, x[:, :1], verbose=0)
    for a, b in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_update_is_an_operation():
    network, _ = trained(PAIRS["adamw"][0])
    gradients = [tf.ones(v.shape) for v in network.trainable_variables]
    graph = (
        tf.function(lambda: network.optimizer.apply(gradients))
        .get_concrete_function()
        .graph
    )
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("ResourceApplyAdam") == len(gradients)
    assert "Sqrt" not in kinds[kinds.index("ResourceApplyAdam") :]


@pytest.mark.parametrize("options", [{"amsgrad": True}, {"weight_decay": 0.1}])
def test_what_the_kernel_lacks_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FusedAdamW(**options)
