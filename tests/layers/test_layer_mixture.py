import numpy as np
import pytest

from ser_keras.layers.layer_mixture import LayerMixture


def test_weighted_sum_against_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 12, 1)).astype("float32")
    x[1, 3:] = 0
    layer = LayerMixture(3)
    layer.build(x.shape)
    scores = np.float32([0.5, -1.0, 2.0])
    layer.mixture.assign(scores)
    weights = np.exp(scores) / np.exp(scores).sum()
    expected = np.einsum("l,btlc->btc", weights, x[..., 0].reshape(2, 5, 3, 4))
    got = layer(x).numpy()
    np.testing.assert_allclose(got[..., 0], expected, atol=1e-6)
    assert not got[1, 3:].any()
    np.testing.assert_allclose(layer(x[..., 0]), expected, atol=1e-6)


def test_features_must_divide():
    with pytest.raises(ValueError, match="multiple of 5"):
        LayerMixture(5)(np.ones((1, 2, 12, 1), "float32"))
    with pytest.raises(ValueError, match="num_layers=0"):
        LayerMixture(0)
