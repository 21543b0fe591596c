"""Depthwise-separable convolutions of several edges at once."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.batch_norm import spread
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import zero_padding


@serializable
class SeparableConvs(FrameLayer):
    """The same separable convolution for several edges that share an input.

    Each stage is ReLU, depthwise convolution, 1x1 convolution, batch norm.
    With two stages this is DARTS' `sep_conv`, with one stage and dilation 2
    its `dil_conv`; strides apply to the first stage.

    The channels of the edges are stacked, so each stage is one depthwise
    convolution (with channel multiplier 1, for which CPU libraries have fast
    kernels) and one 1x1 convolution with a block-diagonal kernel: computing
    the zero blocks takes less time than one convolution for each edge.

    Args:
        num_edges: Number of edges.
        filters: Channels of the input and of each output.
        kernel_size: 3 or 5.
        strides: 1 or 2.
        dilation: 1 or 2.
        stages: 1 or 2.
        affine: Whether batch norms learn a scale and an offset.

    Call arguments:
        inputs: `(batch, time, frequency, num_edges * filters)`, the input
            that the edges share, repeated for each.
        weights: Mixing weights `(num_edges,)`, or `None`.
        mask: `(batch, ceil(time / strides))`, true on real frames of the
            output, or its `mask_factor`, or `None`.
        training: Whether batch norms use the statistics of the batch.

    Output shape: `(batch, ceil(time / strides), ceil(frequency / strides),
        num_edges * filters)`, edge by edge.

    Example:
    >>> x = np.zeros((2, 5, 8, 6), "float32")
    >>> SeparableConvs(2, 3, kernel_size=5, strides=2)(x).shape
    TensorShape([2, 3, 4, 6])

    References:
        - DARTS, arXiv 1806.09055, section 3.1.1.
    """

    def __init__(
        self,
        num_edges: int,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        dilation: int = 1,
        stages: int = 1,
        affine: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_edges = num_edges
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.dilation = dilation
        self.stages = stages
        self.affine = affine

    def build(self, input_shape: Sequence[Any]) -> None:
        size, edges, filters = self.kernel_size, self.num_edges, self.filters
        # Fan-in and fan-out of one edge's convolutions, not of the stack's.
        depthwise = keras.initializers.RandomUniform(-1 / size, 1 / size)
        bound = (3 / filters) ** 0.5
        pointwise = keras.initializers.RandomUniform(-bound, bound)
        self.depthwise, self.pointwise, self.norms = [], [], []
        for stage in range(self.stages):
            self.depthwise.append(
                self.add_weight(
                    name=f"depthwise_{stage}",
                    shape=(size, size, edges * filters, 1),
                    initializer=depthwise,
                )
            )
            self.pointwise.append(
                self.add_weight(
                    name=f"pointwise_{stage}",
                    shape=(edges, filters, filters),
                    initializer=pointwise,
                )
            )
            norm = BatchNorm(
                self.affine, dtype=self.dtype_policy, name=f"norm_{stage}"
            )
            norm.build((None, None, None, edges * filters))
            self.norms.append(norm)

    def call(
        self,
        inputs: tf.Tensor,
        weights: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        scale = None if weights is None else spread(weights, self.filters)
        x = inputs
        for stage in range(self.stages):
            x = self._convolve(stage, tf.nn.relu(x))
            last = stage == self.stages - 1
            x = self.norms[stage](x, scale if last else None, training=training)
            # The next stage must see the zeros that surround a shorter clip.
            x = zero_padding(x, mask)
        return x

    def _convolve(self, stage, x):
        strides = self.strides if stage == 0 else 1
        dilation, size = self.dilation, self.kernel_size
        if strides == 2 and dilation == 2:
            # Only even positions are read; after subsampling they are adjacent.
            # By pooling, whose gradient is eight times as fast as a slice's.
            x = tf.nn.avg_pool2d(x, 1, 2, "VALID")
            strides, dilation = 1, 1
        kernel = tf.convert_to_tensor(self.depthwise[stage])
        if dilation == 2:
            x = dilated_depthwise_conv(x, kernel)
            return self._pointwise(stage, x)
        pad = (size - 1) // 2
        explicit = [0, 0, pad, pad, pad, pad, 0, 0] if strides == 2 else []
        x = tf.raw_ops.DepthwiseConv2dNative(
            input=x,
            filter=kernel,
            strides=(1, strides, strides, 1),
            padding="EXPLICIT" if explicit else "SAME",
            explicit_paddings=explicit,
        )
        return self._pointwise(stage, x)

    def _pointwise(self, stage, x):
        pointwise = tf.convert_to_tensor(self.pointwise[stage])
        edges, filters = self.num_edges, self.filters
        if edges > 1:
            # A product with a constant instead of slices: a supernet has
            # hundreds of these kernels, and the time to trace it grows with
            # the number of operations.
            diagonal = np.eye(edges)[:, None, :, None]
            pointwise = tf.reshape(
                pointwise, (edges, filters, 1, filters)
            ) * tf.constant(diagonal, pointwise.dtype)
        kernel = tf.reshape(pointwise, (1, 1, edges * filters, edges * filters))
        return tf.nn.conv2d(x, kernel, 1, "VALID")

    def get_edge(self, edge: int) -> dict:
        """The weights of one edge, by name."""
        channels, values = self._channels(edge), {}
        for stage in range(self.stages):
            depthwise = self.depthwise[stage].numpy()
            values[f"depthwise_{stage}"] = depthwise[:, :, channels]
            values[f"pointwise_{stage}"] = self.pointwise[stage].numpy()[edge]
            norm = self.norms[stage].get_channels(channels)
            values |= {f"{k}_{stage}": v for k, v in norm.items()}
        return values

    def set_edge(self, edge: int, values: dict) -> None:
        """Inverse of `get_edge`; batch norm weights may be missing."""
        channels = self._channels(edge)
        for stage in range(self.stages):
            whole = self.depthwise[stage].numpy()
            whole[:, :, channels] = values[f"depthwise_{stage}"]
            self.depthwise[stage].assign(whole)
            whole = self.pointwise[stage].numpy()
            whole[edge] = values[f"pointwise_{stage}"]
            self.pointwise[stage].assign(whole)
            norm = {
                key.removesuffix(f"_{stage}"): value
                for key, value in values.items()
                if key.endswith(f"_{stage}")
            }
            self.norms[stage].set_channels(channels, norm)

    def _channels(self, edge):
        return slice(edge * self.filters, (edge + 1) * self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_edges": self.num_edges,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation": self.dilation,
            "stages": self.stages,
            "affine": self.affine,
        }


def dilated_depthwise_conv(x, kernel):
    """Depthwise convolution with stride 1, dilation 2 and "SAME" padding.

    TensorFlow's own kernel is not called with a dilation: with oneDNN its
    gradients are those of a convolution without dilation. Dilation 2 never
    combines even and odd positions. Here they are separated: rows along the
    batch, columns along the channels, which takes no copy. What remains is a
    convolution without dilation, whose gradients are right.
    (`tf.nn.depthwise_conv2d` separates both along the batch, which takes a
    third longer.)

    Args:
        x: `(batch, time, frequency, channels)`.
        kernel: `(height, width, channels, 1)`, odd sizes.

    Returns:
        A tensor like `x`.

    Example:
    >>> x = tf.reshape(tf.range(5.0), (1, 1, 5, 1))
    >>> dilated_depthwise_conv(x, tf.ones((1, 3, 1, 1)))[0, 0, :, 0].numpy()
    array([2., 4., 6., 4., 6.], dtype=float32)
    """
    shape, dynamic = x.shape, tf.shape(x)
    time, bands = (
        dynamic[axis] if shape[axis] is None else shape[axis] for axis in (1, 2)
    )
    rows, columns = (time + 1) // 2, (bands + 1) // 2
    odd = [[0, 2 * rows - time], [0, 2 * columns - bands]]
    if None in shape[1:3] or odd != [[0, 0], [0, 0]]:
        x = tf.pad(x, [[0, 0], *odd, [0, 0]])
    channels = shape[3]
    row = 2 * columns * channels
    x = tf.transpose(tf.reshape(x, (-1, rows, 2, row)), (0, 2, 1, 3))
    x = tf.reshape(x, (-1, rows, columns, 2 * channels))
    x = tf.raw_ops.DepthwiseConv2dNative(
        input=x,
        filter=tf.concat([kernel, kernel], 2),
        strides=(1, 1, 1, 1),
        padding="SAME",
    )
    x = tf.transpose(tf.reshape(x, (-1, 2, rows, row)), (0, 2, 1, 3))
    x = tf.reshape(x, (-1, 2 * rows, 2 * columns, channels))
    if None in shape[1:3] or odd != [[0, 0], [0, 0]]:
        x = tf.slice(x, (0, 0, 0, 0), (-1, time, bands, -1))
    return tf.ensure_shape(x, shape)
