"""UtteranceNormalization: zero mean and unit variance of every clip."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable


@serializable
class UtteranceNormalization(keras.layers.Layer):
    """Normalises each clip by its own mean and variance over time.

    Frames beyond a clip's end are exactly 0 afterwards. Networks of this
    library infer a clip's length from that. A constant feature becomes 0.

    Args:
        over: `"time"`: each feature by itself; `"all"`: one mean and one
            variance for all features of a clip.
        scale: If false, only the mean is removed.
        epsilon: Added to the variance.

    Call arguments:
        features: Float tensor.
        lengths: Frames of each clip, `(batch,)`; None means all. The front
            end's `num_frames` computes them from samples.

    Input shape:
        `(batch, time, features)` or `(time, features)`.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is invalid.

    >>> x = tf.constant([[[1.0], [3.0], [7.0]]])
    >>> UtteranceNormalization(epsilon=0.0)(x, lengths=[2]).numpy().tolist()
    [[[-1.0], [1.0], [0.0]]]
    """

    def __init__(self, over="time", scale=True, epsilon=1e-8, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if over not in ("time", "all"):
            raise ValueError(
                f"`over` must be 'time' or 'all'. Received: over={over!r}"
            )
        if epsilon < 0:
            raise ValueError(
                f"`epsilon` must not be negative. Received: epsilon={epsilon}"
            )
        self.over = over
        self.scale = scale
        self.epsilon = epsilon
        self.built = True

    def call(self, features, lengths=None):
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
        # `where` and not a product: what lies beyond the end may be anything,
        # infinity included.
        mean = _sum(tf.where(mask, x, 0.0), axes) / count
        x = tf.where(mask, x - mean, 0.0)
        if self.scale:
            # Two passes: of a constant, one pass leaves rounding errors that
            # the division would blow up.
            variance = _sum(tf.square(x), axes) / count
            noise = tf.square(_RELATIVE_ERROR * mean)
            constant = variance <= noise
            x = tf.where(constant, 0.0, x)
            variance = tf.where(constant, 1.0, variance)
            x *= tf.math.rsqrt(variance + self.epsilon)
        return x[0] if unbatched else x

    def compute_output_shape(self, features_shape, lengths_shape=None):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "over": self.over,
            "scale": self.scale,
            "epsilon": self.epsilon,
        }


# A spread below this part of the mean is float32 rounding, not signal.
_RELATIVE_ERROR = 1e-6


def _sum(x, axes):
    return tf.reduce_sum(x, axis=axes, keepdims=True)
