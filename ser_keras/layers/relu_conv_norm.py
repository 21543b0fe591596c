"""Preprocessing of a CNN cell's input: to the cell's number of channels."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import zero_padding


@serializable
class ReLUConvNorm(FrameLayer):
    """ReLU, 1x1 convolution, batch norm.

    Args:
        filters: Output channels.
        affine: Whether the batch norm learns a scale and an offset.

    Call arguments:
        inputs: `(batch, time, frequency, channels)`.
        mask: `(batch, time)`, true on real frames, or `None`.
        training: Whether the batch norm uses the statistics of the batch.

    Output shape: `(batch, time, frequency, filters)`, zero on padding.

    Example:
    >>> ReLUConvNorm(6)(np.zeros((2, 5, 8, 3), "float32")).shape
    TensorShape([2, 5, 8, 6])
    """

    def __init__(self, filters, affine=False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.affine = affine

    def build(self, input_shape):
        self.convolution = keras.layers.Conv2D(
            self.filters,
            1,
            use_bias=False,
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.convolution.build(input_shape)
        self.norm = BatchNorm(self.affine, dtype=self.dtype_policy, name="norm")
        self.norm.build((*input_shape[:-1], self.filters))

    def call(self, inputs, mask=None, training=None):
        x = self.convolution(tf.nn.relu(inputs))
        return zero_padding(self.norm(x, training=training), mask)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "affine": self.affine,
        }
