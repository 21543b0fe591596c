"""3x3 pooling with batch norm, computed once for all edges of a state."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.masking import FrameLayer


@serializable
class PoolNorm(FrameLayer):
    """Max or average pooling over 3x3 positions, then batch norm.

    Positions outside the clip (beyond the border of the map, or masked) are
    ignored: they are never the maximum and are not counted in an average.
    Without a learned scale the result is the same for every edge that leaves
    a state, so it is computed once.

    Args:
        mode: `"max"` or `"avg"`.
        strides: 1 or 2.
        affine: Whether the batch norm learns a scale and an offset.

    Call arguments:
        inputs: `(batch, time, frequency, channels)`.
        input_mask: `(batch, time)`, true on real frames of the input, or
            `None`.
        mask: `(batch, ceil(time / strides))`, the same of the output.
        training: Whether the batch norm uses the statistics of the batch.

    Output shape: `(batch, ceil(time / strides), ceil(frequency / strides),
        channels)`

    Raises:
        ValueError: `mode` is neither of the two.

    Example:
    >>> x = np.zeros((2, 5, 8, 3), "float32")
    >>> PoolNorm("max", strides=2)(x).shape
    TensorShape([2, 3, 4, 3])

    References:
        - DARTS, arXiv 1806.09055, section 3.1.1.
    """

    def __init__(
        self, mode: str, strides: int = 1, affine: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if mode not in ("max", "avg"):
            raise ValueError(
                f"`mode` must be 'max' or 'avg'. Received: mode={mode!r}"
            )
        self.mode = mode
        self.strides = strides
        self.affine = affine

    def build(self, input_shape: Sequence[Any]) -> None:
        self.norm = BatchNorm(self.affine, dtype=self.dtype_policy, name="norm")
        self.norm.build(input_shape)

    def call(
        self,
        inputs: tf.Tensor,
        input_mask: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        if input_mask is not None:
            input_mask = input_mask[:, :, None, None]
        x = self._pool(inputs, input_mask)
        if mask is not None:
            mask = mask[:, :, None, None]
            x = tf.where(mask, x, 0.0)
        x = self.norm(x, training=training)
        return x if mask is None else x * tf.cast(mask, x.dtype)

    def _pool(self, x, mask):
        if self.mode == "max":
            if mask is not None:
                x = tf.where(mask, x, x.dtype.min)
            if self.strides == 1:
                return tf.nn.max_pool2d(x, 3, 1, "SAME")
            return self._windows(tf.nn.max_pool2d, x, x.dtype.min)
        if self.strides == 1 and mask is None:
            return tf.nn.avg_pool2d(x, 3, 1, "SAME")
        inside = tf.ones_like(x[:1, :, :, :1])
        if mask is not None:
            inside = tf.cast(mask, x.dtype) * inside
        return tf.math.divide_no_nan(
            self._windows(tf.nn.avg_pool2d, x),
            self._windows(tf.nn.avg_pool2d, inside),
        )

    def _windows(self, pool, x, border=0.0):
        # Padded equally on both sides: "SAME" would shift the windows by the
        # parity of the length, so that a clip's result depended on its padding.
        pad = [[0, 0], [1, 1], [1, 1], [0, 0]]
        x = tf.pad(x, pad, constant_values=border)
        return pool(x, 3, self.strides, "VALID")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mode": self.mode,
            "strides": self.strides,
            "affine": self.affine,
        }
