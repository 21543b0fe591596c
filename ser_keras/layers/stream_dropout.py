"""Stream dropout: which of two streams each clip has."""

from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.masking import FrameLayer


@serializable
class StreamDropout(FrameLayer):
    """Presence of two streams in each clip, with dropout in training.

    A stream is missing from a clip if it is zero throughout. In training one
    stream of a clip is dropped with probability `rate`, each with half of it,
    so that the network learns to work with a single stream. A clip's only
    stream is never dropped.

    Args:
        rate: Probability that a stream of a clip is dropped, in [0, 1).
        seed: Optional seed.

    Call arguments:
        streams: Pair of `(batch, ...)`.
        training: Whether to drop.

    Output shape: a pair of `(batch,)`, 1 where a clip has (and keeps) the
        stream, else 0.

    Raises:
        ValueError: `rate` is out of range.

    Example:
    >>> deep = np.float32([[[1.0]], [[0.0]]])
    >>> [x.numpy().tolist() for x in StreamDropout(0.5)((deep + 1, deep))]
    [[1.0, 1.0], [1.0, 0.0]]

    References:
        - Neverova et al., "ModDrop", arXiv 1501.00102 (there each stream is
          dropped by itself, and so sometimes all).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(
        self, streams: tuple[tf.Tensor, tf.Tensor], training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        first, second = [self._present(x) for x in streams]
        if not training or not self.rate:
            return first, second
        drawn = keras.random.uniform(tf.shape(first), seed=self.seed_generator)
        drawn = tf.cast(drawn, first.dtype)
        dropped = [drawn < self.rate / 2, drawn >= 1 - self.rate / 2]
        dropped = [tf.cast(x, first.dtype) for x in dropped]
        # Only where the clip has the other stream.
        return (
            first * (1 - dropped[0] * second),
            second * (1 - dropped[1] * first),
        )

    def _present(self, x):
        axes = list(range(1, x.shape.rank))
        return tf.cast(tf.reduce_max(tf.abs(x), axes) > 0, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple((shape[0],) for shape in input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
