"""Drop path (stochastic depth) for the edges of derived cells."""

from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.precision import full_precision


@serializable
class DropPath(keras.layers.Layer):
    """Dropout of whole examples of a branch; the others are scaled up.

    `DropPathSchedule` raises the rate during training by assigning to
    `current_rate`.

    Args:
        rate: Probability that the branch is zero for an example, in [0, 1).
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

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # The rate in force. In full precision, as is what it is compared to.
        self.current_rate = self.add_weight(
            name="current_rate",
            shape=(),
            initializer=keras.initializers.Constant(rate),
            trainable=False,
            autocast=False,
            dtype=full_precision(self),
        )
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        shape = (tf.shape(inputs)[0],) + (1,) * (inputs.shape.rank - 1)
        keep = 1.0 - tf.convert_to_tensor(self.current_rate)
        drawn = keras.random.uniform(
            shape, dtype=self.current_rate.dtype, seed=self.seed_generator
        )
        kept = drawn < keep
        return inputs * tf.cast(tf.cast(kept, keep.dtype) / keep, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
