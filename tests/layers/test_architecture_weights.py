"""Architecture parameters: initial values, softmax, precision."""

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.layers import ArchitectureWeights


def test_alphas_are_small_and_not_trainable():
    weights = ArchitectureWeights({"normal": [5, 8]}, seed=3)
    assert not weights.trainable_variables
    (alpha,) = weights.alphas.values()
    assert 0 < np.abs(alpha.numpy()).max() < 6e-3
    exponentials = np.exp(alpha.numpy())
    expected = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(
        weights.mixing_weights()["normal"], expected, rtol=1e-6
    )
    again = ArchitectureWeights.from_config(weights.get_config())
    assert again.get_config() == weights.get_config()
    np.testing.assert_array_equal(again.alphas["normal"], alpha)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float64"])
def test_alphas_and_softmax_are_in_full_precision(policy):
    weights = ArchitectureWeights({"normal": [5, 8]}, dtype=policy)
    expected = "float64" if policy == "float64" else "float32"
    assert weights.alphas["normal"].dtype == expected
    assert weights.mixing_weights()["normal"].dtype == tf.as_dtype(expected)
