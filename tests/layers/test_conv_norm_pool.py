import keras
import numpy as np
import pytest
import scipy.signal

from ser_keras.layers import ConvNormPool
from ser_keras.testing import check_layer


def maps(frames=7):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, frames, 6, 3)).astype("float32")


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("pool_size", [(1, 1), (2, 2), (2, 1)])
def test_contract(separable, pool_size):
    config = {
        "filters": 8,
        "kernel_size": [3, 5],
        "pool_size": list(pool_size),
        "separable": separable,
        "l2": 1e-3,
    }
    outputs = check_layer(ConvNormPool, config, maps())
    assert outputs.shape == (
        2,
        -(-7 // pool_size[0]),
        -(-6 // pool_size[1]),
        8,
    )


def test_equals_scipy():
    layer = ConvNormPool(4, (3, 1), (2, 2), use_bias=True, epsilon=0.1)
    x = maps(frames=5)
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 2.0, weight.shape))
    kernel = layer.kernel.numpy()
    conv = (
        np.array(
            [
                [
                    sum(
                        scipy.signal.correlate2d(
                            clip[..., i], kernel[..., i, o], mode="same"
                        )
                        for i in range(3)
                    )
                    for o in range(4)
                ]
                for clip in x
            ]
        ).transpose(0, 2, 3, 1)
        + layer.bias.numpy()
    )
    norm = layer.norm
    conv = (conv - norm.moving_mean.numpy()) / np.sqrt(
        norm.moving_variance.numpy() + 0.1
    )
    conv = np.maximum(conv * norm.gamma.numpy() + norm.beta.numpy(), 0)
    rows = [conv[:, 0:2].mean(1), conv[:, 2:4].mean(1), conv[:, 4]]
    expected = np.stack(rows, 1).reshape(2, 3, 3, 2, 4).mean(3)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_separable_equals_keras():
    ours = ConvNormPool(8, (3, 3), (1, 1), separable=True)
    theirs = keras.layers.SeparableConv2D(8, 3, padding="same", use_bias=False)
    x = maps()
    ours.build(x.shape)
    theirs.build(x.shape)
    ours.depthwise_kernel.assign(theirs.depthwise_kernel)
    ours.kernel.assign(theirs.pointwise_kernel)
    # What normalisation starts with: 0 and 1.
    expected = np.maximum(theirs(x).numpy() / np.sqrt(1 + 1e-3), 0)
    np.testing.assert_allclose(ours(x), expected, rtol=1e-4, atol=1e-5)
