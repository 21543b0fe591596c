"""Factorised reduction: halves the resolution of feature maps."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.batch_norm import spread
from ser_keras.layers.masking import FrameLayer


@serializable
class FactorizedReduce(FrameLayer):
    """ReLU, two 1x1 convolutions of stride 2 side by side, and batch norm.

    The second convolution reads the input shifted by one position in time and
    frequency, so that no position is lost; each yields half of the channels.
    Odd sizes are rounded up.

    Args:
        filters: Output channels of each edge.
        num_edges: Number of edges that read the same input; their outputs are
            stacked along the channels.
        affine: Whether the batch norm learns a scale and an offset.

    Call arguments:
        inputs: `(batch, time, frequency, channels)`.
        weights: Mixing weights `(num_edges,)`, or `None`.
        mask: `(batch, ceil(time / 2))`, true on real frames of the output, or
            `None`.
        training: Whether the batch norm uses the statistics of the batch.

    Output shape: `(batch, ceil(time / 2), ceil(frequency / 2),
        num_edges * filters)`

    Example:
    >>> FactorizedReduce(6)(np.zeros((2, 5, 8, 3), "float32")).shape
    TensorShape([2, 3, 4, 6])

    References:
        - Zoph et al., arXiv 1707.07012; as in the code of DARTS.
    """

    def __init__(
        self,
        filters: int,
        num_edges: int = 1,
        affine: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.num_edges = num_edges
        self.affine = affine

    def build(self, input_shape: Sequence[Any]) -> None:
        first = self.filters // 2
        bound = (3 / input_shape[-1]) ** 0.5
        initializer = keras.initializers.RandomUniform(-bound, bound)
        self.kernels = [
            self.add_weight(
                name=f"kernel_{i}",
                shape=(input_shape[-1], self.num_edges, filters),
                initializer=initializer,
            )
            for i, filters in enumerate((first, self.filters - first))
        ]
        self.norm = BatchNorm(self.affine, dtype=self.dtype_policy, name="norm")
        self.norm.build((None, None, None, self.num_edges * self.filters))

    def call(
        self,
        inputs: tf.Tensor,
        weights: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        # Both convolutions as one of 2x2 that uses two of its positions: this
        # needs neither a shifted copy of the input nor a concatenation.
        first, second = (tf.convert_to_tensor(k) for k in self.kernels)
        kernel = tf.stack(
            [
                tf.concat([first, tf.zeros_like(second)], -1),
                tf.zeros((*first.shape[:-1], self.filters), first.dtype),
                tf.zeros((*first.shape[:-1], self.filters), first.dtype),
                tf.concat([tf.zeros_like(first), second], -1),
            ]
        )
        kernel = tf.reshape(
            kernel, (2, 2, first.shape[0], self.num_edges * self.filters)
        )
        x = self._pad_to_even(tf.nn.relu(inputs))
        x = tf.nn.conv2d(x, kernel, 2, "VALID")
        scale = None if weights is None else spread(weights, self.filters)
        x = self.norm(x, scale, training=training)
        return (
            x if mask is None else x * tf.cast(mask, x.dtype)[..., None, None]
        )

    def _pad_to_even(self, x):
        batch, *sizes, channels = x.shape
        odd = [
            tf.shape(x)[axis] % 2 if size is None else size % 2
            for axis, size in enumerate(sizes, 1)
        ]
        if None not in sizes and not any(odd):
            return x
        x = tf.pad(x, [[0, 0], [0, odd[0]], [0, odd[1]], [0, 0]])
        # Where one size is unknown, TensorFlow loses the other one as well.
        even = [None if n is None else n + n % 2 for n in sizes]
        return tf.ensure_shape(x, (batch, *even, channels))

    def get_edge(self, edge: int) -> dict:
        """The weights of one edge, by name."""
        values = {
            f"kernel_{i}": kernel.numpy()[:, edge]
            for i, kernel in enumerate(self.kernels)
        }
        return values | self.norm.get_channels(self._channels(edge))

    def set_edge(self, edge: int, values: dict) -> None:
        """Inverse of `get_edge`; batch norm weights may be missing."""
        for i, kernel in enumerate(self.kernels):
            whole = kernel.numpy()
            whole[:, edge] = values[f"kernel_{i}"]
            kernel.assign(whole)
        self.norm.set_channels(self._channels(edge), values)

    def _channels(self, edge):
        return slice(edge * self.filters, (edge + 1) * self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_edges": self.num_edges,
            "affine": self.affine,
        }
