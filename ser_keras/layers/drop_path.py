"""Stochastic depth for the edges of derived cells."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable


@serializable
class DropPath(keras.layers.Layer):
    """Zeroes whole examples of a branch, and scales up the others.

    Args:
        rate: Probability that an example loses this branch, in [0, 1).
        seed: Optional seed.

    Input shape: `(batch, ...)`

    Output shape: as the input; changed in training only.

    Example:
    >>> y = DropPath(0.5, seed=0)(np.ones((100, 3), "float32"), training=True)
    >>> sorted(set(np.asarray(y).ravel().tolist()))
    [0.0, 2.0]

    References:
        - Larsson et al., "FractalNet", arXiv 1605.07648, section 3.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # The rate in force, which schedules may ramp up during training.
        self.current_rate = self.add_weight(
            name="current_rate",
            shape=(),
            initializer=keras.initializers.Constant(rate),
            trainable=False,
            autocast=False,
        )
        self.built = True

    def call(self, inputs, training=None):
        if not training or self.rate == 0:
            return inputs
        shape = (tf.shape(inputs)[0],) + (1,) * (inputs.shape.rank - 1)
        keep = 1.0 - tf.convert_to_tensor(self.current_rate)
        kept = keras.random.uniform(shape, seed=self.seed_generator) < keep
        return inputs * tf.cast(tf.cast(kept, keep.dtype) / keep, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
