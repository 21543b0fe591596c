import numpy as np
import pytest
import sklearn.preprocessing

from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.testing import check_layer
from ser_keras.testing import check_tf_data


def features(*shape):
    rng = np.random.default_rng(0)
    return rng.normal(-40, 9, size=shape).astype("float32")


@pytest.mark.parametrize("over", ["time", "all"])
@pytest.mark.parametrize("scale", [True, False])
def test_equals_sklearn_and_zeroes_the_padding(over, scale):
    x, lengths = features(3, 50, 4), [50, 20, 1]
    x[1, 20:], x[2, 1:] = np.inf, np.nan
    layer = UtteranceNormalization(over=over, scale=scale)
    y = layer(x, lengths=np.array(lengths)).numpy()
    for clip, normal, n in zip(x, y, lengths, strict=True):
        values = clip[:n].astype("float64")
        flat = values if over == "time" else values.reshape(-1, 1)
        expected = sklearn.preprocessing.scale(flat, with_std=scale)
        expected = expected.reshape(values.shape)
        np.testing.assert_allclose(normal[:n], expected, atol=2e-5)
        assert (normal[n:] == 0).all()


def test_one_deviation_for_all_features():
    x = features(2, 50, 4) * np.float32([1, 2, 3, 4])
    y = UtteranceNormalization(scale="all")(x, lengths=np.array([50, 20]))
    for clip, normal, n in zip(x, y.numpy(), [50, 20], strict=True):
        centred = clip[:n] - clip[:n].mean(axis=0)
        np.testing.assert_allclose(
            normal[:n], centred / centred.std(), atol=2e-5
        )
        assert (normal[n:] == 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -417.3, 1e6])
def test_constant_feature_becomes_zero(value):
    x = features(2, 301, 3)
    x[..., 1] = value
    y = UtteranceNormalization()(x).numpy()
    assert (y[..., 1] == 0).all()
    assert np.abs(y).max() < 10


def test_layer_contract():
    x = features(2, 20, 3)
    check_layer(UtteranceNormalization, {"over": "all", "scale": False}, x)
    check_tf_data(UtteranceNormalization(), x)


@pytest.mark.parametrize(
    "config", [{"over": "batch"}, {"epsilon": -1.0}, {"scale": 2}]
)
def test_wrong_arguments(config):
    with pytest.raises(ValueError, match="Received"):
        UtteranceNormalization(**config)
