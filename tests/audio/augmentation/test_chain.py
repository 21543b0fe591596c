import pickle

import numpy as np
import tensorflow as tf

from ser_keras.audio.augmentation.chain import AugmentationChain
from ser_keras.audio.augmentation.layers import FeatureNoise
from ser_keras.audio.augmentation.layers import SpecAugment

LAYERS = (FeatureNoise(low=0.1, high=0.2), SpecAugment(max_time_width=5))


def test_each_augments_the_result_of_the_one_before():
    x = tf.ones((3, 40, 20))
    expected = x
    for layer in LAYERS:
        expected = layer.augment(expected, (1, 2))
    y = AugmentationChain(*LAYERS).augment(x, (1, 2))
    np.testing.assert_array_equal(y, expected)
    # Noise first: what is masked after it is 0 and not noise.
    assert np.mean(y == 0) > 0.05
    other_order = AugmentationChain(*LAYERS[::-1]).augment(x, (1, 2))
    assert np.abs(other_order - y).max() > 0.1
    np.testing.assert_array_equal(AugmentationChain().augment(x, (1, 2)), x)


def test_survives_pickling():
    chain = AugmentationChain(*LAYERS)
    again = pickle.loads(pickle.dumps(chain))
    x = tf.ones((40, 20))
    np.testing.assert_array_equal(
        again.augment(x, (3, 4)), chain.augment(x, (3, 4))
    )
