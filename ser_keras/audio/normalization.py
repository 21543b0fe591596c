"""UtteranceNormalization: zero mean and unit variance of every clip."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable


@serializable
class UtteranceNormalization(keras.layers.Layer):
    """Utterance normalisation: zero mean and unit variance of each clip.

    Frames after a clip's end become exactly 0; networks of this library infer
    the lengths of clips from that. A constant feature becomes 0.

    Args:
        over: `"time"`: mean and variance of each feature over time; `"all"`:
            one mean and one variance of all features of a clip.
        scale: Whether to divide by the standard deviation. With `"all"`, the
            mean is subtracted as `over` says, but one standard deviation of all
            features of the clip divides them, so that they keep their relative
            ranges.
        epsilon: Added to the variance.

    Call arguments:
        features: Float tensor.
        lengths: Frames of each clip, `(batch,)`; None means all. The front
            end's `num_frames` computes them from lengths in samples.

    Input shape:
        `(batch, time, features)` or `(time, features)`.

    Output shape:
        That of the input.

    Raises:
        ValueError: An argument is invalid, or `features` has another rank.

    >>> x = tf.constant([[[1.0], [3.0], [7.0]]])
    >>> UtteranceNormalization(epsilon=0.0)(x, lengths=[2]).numpy().tolist()
    [[[-1.0], [1.0], [0.0]]]
    """

    def __init__(
        self,
        over: str = "time",
        scale: bool = True,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if over not in ("time", "all"):
            raise ValueError(
                f"`over` must be 'time' or 'all'. Received: over={over!r}"
            )
        if scale not in (True, False, "all"):
            raise ValueError(
                "`scale` must be True, False or 'all'. Received: "
                f"scale={scale!r}"
            )
        if epsilon < 0:
            raise ValueError(
                f"`epsilon` must not be negative. Received: epsilon={epsilon}"
            )
        self.over = over
        self.scale = scale
        self.epsilon = epsilon
        self.built = True

    def call(
        self, features: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        if features.shape.rank not in (2, 3):
            raise ValueError(
                "`features` must have shape (batch, time, features) or "
                f"(time, features). Received: {tuple(features.shape)}"
            )
        unbatched = features.shape.rank == 2
        x = features[None] if unbatched else features
        time = tf.shape(x)[1]
        if lengths is None:
            lengths = tf.fill([tf.shape(x)[0]], time)
        lengths = tf.reshape(tf.cast(lengths, tf.int32), [-1])
        mask = tf.sequence_mask(lengths, time)[:, :, None]
        count = tf.cast(tf.maximum(lengths, 1), x.dtype)[:, None, None]
        axes = [1]
        if self.over == "all":
            axes, count = [1, 2], count * x.shape[2]
        # `where` and not a product with a mask: values after a clip's end may
        # be infinite. Subtracting the first value first makes a constant
        # feature exactly 0, which subtracting a rounded mean would not.
        first = x[:, :1] if self.over == "time" else x[:, :1, :1]
        x = tf.where(mask, x - first, 0.0)
        mean = _sum(x, axes) / count
        x = tf.where(mask, x - mean, 0.0)
        if self.scale:
            offset = tf.abs(first) + tf.abs(mean)
            if self.scale == "all" and self.over == "time":
                axes, count = [1, 2], count * x.shape[2]
                offset = tf.reduce_max(offset, axis=2, keepdims=True)
            variance = _sum(tf.square(x), axes) / count
            noise = tf.square(_ROUNDING * offset)
            x = tf.where(variance <= noise, 0.0, x)
            # x is 0 there, so that any finite factor will do.
            variance = tf.where(variance <= noise, 1.0, variance)
            x *= tf.math.rsqrt(variance + self.epsilon)
        return x[0] if unbatched else x

    def compute_output_shape(
        self,
        features_shape: Sequence[Any],
        lengths_shape: Sequence[Any] | None = None,
    ) -> Any:
        return features_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "over": self.over,
            "scale": self.scale,
            "epsilon": self.epsilon,
        }


# A standard deviation below this proportion of the mean is rounding of float32.
_ROUNDING = 1e-6


def _sum(x, axes):
    return tf.reduce_sum(x, axis=axes, keepdims=True)
