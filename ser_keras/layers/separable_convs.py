"""Depthwise-separable convolutions of several edges at once."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.batch_norm import spread


@serializable
class SeparableConvs(keras.layers.Layer):
    """The same separable convolution for several edges that share an input.

    Each stage is ReLU, depthwise convolution, 1x1 convolution, batch norm.
    With two stages this is DARTS' `sep_conv`, with one stage and dilation 2
    its `dil_conv`; strides apply to the first stage.

    A depthwise convolution followed by a 1x1 convolution is one dense
    convolution whose kernel is their product. For few channels that dense
    convolution is much the faster way to compute it, on CPU and GPU alike
    (depthwise kernels are bound by memory), so the product is formed on the
    fly; `benchmarks/search_step.py` measures it. The weights, their number
    and the function are those of the separable form.

    Args:
        num_edges: Number of edges.
        filters: Channels of input and of each output.
        kernel_size: 3 or 5.
        strides: 1 or 2.
        dilation: 1 or 2.
        stages: 1 or 2.
        affine: Whether batch norms learn a scale and an offset.

    Input shape: `(batch, time, frequency, filters)`

    Output shape: `(batch, ceil(time / strides), ceil(frequency / strides),
    num_edges * filters)`, edge by edge.
    """

    def __init__(
        self,
        num_edges,
        filters,
        kernel_size,
        strides=1,
        dilation=1,
        stages=1,
        affine=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_edges = num_edges
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.dilation = dilation
        self.stages = stages
        self.affine = affine

    def build(self, input_shape):
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
                    shape=(size, size, filters, edges),
                    initializer=depthwise,
                )
            )
            self.pointwise.append(
                self.add_weight(
                    name=f"pointwise_{stage}",
                    shape=(filters, edges, filters),
                    initializer=pointwise,
                )
            )
            norm = BatchNorm(self.affine, name=f"norm_{stage}")
            norm.build((None, None, None, edges * filters))
            self.norms.append(norm)

    @property
    def folded(self):
        """Whether the dense form is the faster one (measured on CPU)."""
        return self.filters * self.kernel_size <= 100

    def call(self, inputs, weights=None, mask=None, training=None):
        """`weights`: mixing weights `(num_edges,)`; `mask`: `(batch, time)`."""
        x = tf.nn.relu(inputs)
        x = self._convolve_shared(x)
        if mask is not None:
            mask = tf.cast(mask, x.dtype)[:, :, None, None]
        scale = None if weights is None else spread(weights, self.filters)
        last = self.stages - 1
        x = self.norms[0](x, None if last else scale, training=training)
        if last:
            x = tf.nn.relu(x)
            # Padding must look like the zeros that surround a shorter clip.
            x = x if mask is None else x * mask
            x = self._convolve_grouped(x)
            x = self.norms[1](x, scale, training=training)
        return x if mask is None else x * mask

    def _convolve_shared(self, x):
        """First stage: every edge sees the same input."""
        strides, dilation, size = self.strides, self.dilation, self.kernel_size
        if strides == 2 and dilation == 2:
            # Only even positions are read: subsample, then they are adjacent.
            x, strides, dilation = x[:, ::2, ::2], 1, 1
        pad = [(size - 1) // 2 * dilation] * 2
        padding = [[0, 0], pad, pad, [0, 0]] if strides == 2 else "SAME"
        depthwise = tf.convert_to_tensor(self.depthwise[0])
        pointwise = tf.convert_to_tensor(self.pointwise[0])
        if self.folded:
            kernel = tf.reshape(
                depthwise[..., None] * pointwise,
                (size, size, self.filters, self.num_edges * self.filters),
            )
            return tf.nn.conv2d(x, kernel, strides, padding, dilations=dilation)
        x = tf.nn.depthwise_conv2d(
            x,
            depthwise,
            (1, strides, strides, 1),
            padding,
            dilations=(dilation, dilation),
        )
        return self._mix(self._split(x, "channel"), pointwise)

    def _convolve_grouped(self, x):
        """Second stage: every edge has its own input."""
        depthwise = tf.convert_to_tensor(self.depthwise[1])
        pointwise = tf.convert_to_tensor(self.pointwise[1])
        size, filters = self.kernel_size, self.filters
        if not self.folded:
            kernel = tf.transpose(depthwise, (0, 1, 3, 2))
            kernel = tf.reshape(
                kernel, (size, size, self.num_edges * filters, 1)
            )
            x = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")
            return self._mix(self._split(x, "edge"), pointwise)
        # Blocks of about 32 channels: narrower ones starve the kernels,
        # wider ones multiply more zeros than they save.
        block = max(1, min(self.num_edges, 32 // filters))
        widths = [
            min(block, self.num_edges - start)
            for start in range(0, self.num_edges, block)
        ]
        kernels = tf.transpose(
            depthwise[..., None] * pointwise, (0, 1, 3, 2, 4)
        )
        kernels = tf.split(kernels, widths, 2) if len(widths) > 1 else [kernels]
        pieces = [x]
        if len(widths) > 1:
            pieces = tf.split(x, [width * filters for width in widths], -1)
        outputs = []
        for kernel, piece, width in zip(kernels, pieces, widths, strict=True):
            diagonal = tf.reshape(
                tf.eye(width, dtype=x.dtype), (width, 1, width, 1)
            )
            kernel = tf.reshape(
                kernel[..., None, :] * diagonal,
                (size, size, width * filters, width * filters),
            )
            outputs.append(tf.nn.conv2d(piece, kernel, 1, "SAME"))
        return outputs[0] if len(outputs) == 1 else tf.concat(outputs, -1)

    def _split(self, x, first):
        """`(..., edges * filters)` to `(..., filters, edges)` or reverse."""
        shape = tf.shape(x)
        if first == "channel":
            pair = (self.filters, self.num_edges)
            return tf.reshape(x, tf.concat([shape[:-1], pair], 0))
        pair = (self.num_edges, self.filters)
        x = tf.reshape(x, tf.concat([shape[:-1], pair], 0))
        return tf.linalg.matrix_transpose(x)

    def _mix(self, x, pointwise):
        """1x1 convolution of each edge."""
        x = tf.einsum("bhwce,ced->bhwed", x, pointwise)
        shape = tf.concat(
            [tf.shape(x)[:-2], (self.num_edges * self.filters,)], 0
        )
        return tf.reshape(x, shape)

    def get_edge(self, edge: int) -> dict:
        """The weights of one edge, by name."""
        values = {}
        for stage in range(self.stages):
            values[f"depthwise_{stage}"] = self.depthwise[stage].numpy()[
                ..., edge
            ]
            values[f"pointwise_{stage}"] = self.pointwise[stage].numpy()[
                :, edge
            ]
            norm = self.norms[stage].get_channels(self._channels(edge))
            values |= {f"{k}_{stage}": v for k, v in norm.items()}
        return values

    def set_edge(self, edge: int, values: dict) -> None:
        """The inverse of `get_edge`; names which are missing stay as is."""
        for stage in range(self.stages):
            whole = self.depthwise[stage].numpy()
            whole[..., edge] = values[f"depthwise_{stage}"]
            self.depthwise[stage].assign(whole)
            whole = self.pointwise[stage].numpy()
            whole[:, edge] = values[f"pointwise_{stage}"]
            self.pointwise[stage].assign(whole)
            self.norms[stage].set_channels(
                self._channels(edge),
                {
                    key.removesuffix(f"_{stage}"): value
                    for key, value in values.items()
                    if key.endswith(f"_{stage}")
                },
            )

    def _channels(self, edge):
        return slice(edge * self.filters, (edge + 1) * self.filters)

    def get_config(self):
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
