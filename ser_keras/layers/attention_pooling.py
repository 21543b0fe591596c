"""Pooling over time: from a sequence to one vector per clip."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.masking import FrameLayer


@serializable
class AttentionPooling(FrameLayer):
    """Attentive statistics pooling: weighted mean and standard deviation.

    `a_t = softmax_t(v . tanh(W h_t + b))`, `mean = sum_t a_t h_t`,
    `deviation = sqrt(sum_t a_t h_t^2 - mean^2)`, over the real frames.

    Args:
        units: Width of the scoring layer.

    Call arguments:
        inputs: `(batch, time, channels)`.
        mask: `(batch, time)`, true on real frames, or `None` for all.

    Output shape: `(batch, 2 * channels)`, the mean and the deviation.

    Example:
    >>> x = np.ones((2, 7, 3), "float32")
    >>> mask = np.arange(7) < np.array([[7], [4]])
    >>> AttentionPooling(4)(x, mask=mask).shape
    TensorShape([2, 6])

    References:
        - Okabe et al., "Attentive Statistics Pooling for Deep Speaker
          Embedding", arXiv 1803.10963, equations 1 to 5.
    """

    def __init__(self, units: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Sequence[Any]) -> None:
        # Explicit names: `inherit_weights` matches weights by name.
        self.hidden = keras.layers.Dense(
            self.units,
            activation="tanh",
            dtype=self.dtype_policy,
            name="hidden",
        )
        self.hidden.build(input_shape)
        self.score = keras.layers.Dense(
            1, use_bias=False, dtype=self.dtype_policy, name="score"
        )
        self.score.build((*input_shape[:-1], self.units))

    def call(
        self, inputs: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        scores = self.score(self.hidden(inputs))
        if mask is not None:
            scores = tf.where(mask[..., None], scores, scores.dtype.min / 2)
        weights = tf.nn.softmax(scores, axis=1)
        mean = tf.reduce_sum(weights * inputs, 1)
        square = tf.reduce_sum(weights * tf.square(inputs), 1)
        # The floor keeps the root's gradient finite on constant sequences.
        deviation = tf.sqrt(tf.maximum(square - tf.square(mean), 1e-5))
        return tf.concat([mean, deviation], -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@serializable
class MeanPooling(FrameLayer):
    """Mean over the real frames.

    Call arguments:
        inputs: `(batch, time, channels)`.
        mask: `(batch, time)`, true on real frames, or `None` for all.

    Output shape: `(batch, channels)`.

    Example:
    >>> x = np.float32([[[1], [3], [0]]])
    >>> MeanPooling()(x, mask=np.array([[True, True, False]])).numpy()
    array([[2.]], dtype=float32)
    """

    def call(
        self, inputs: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        return mean_over_frames(inputs, mask)


def mean_over_frames(x, mask=None):
    """Mean over the real frames; see `MeanPooling`."""
    if mask is None:
        return tf.reduce_mean(x, 1)
    weights = tf.cast(mask, x.dtype)[..., None]
    return tf.reduce_sum(x * weights, 1) / tf.reduce_sum(weights, 1)
