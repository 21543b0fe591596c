"""Transformer layers of speech encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ser_keras._registry import serializable


@serializable
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention over frames.

    `softmax(q k^T / sqrt(d) + bias) v` for each head of `d` channels, then a
    linear layer. With a gated position bias `r` (WavLM), frame `i` adds to its
    scores `g_i r_ij`, where `g_i = a_i (b_i c - 1) + 2` and `a_i, b_i` are the
    sigmoids of a linear function of the head's channels of frame `i`.

    Args:
        num_heads: Number of heads.
        key_bias: Whether keys have a bias. It has no effect on the output, but
            published weights have one.
        gated: Whether calls get a `position_bias`.

    Call arguments:
        inputs: `(batch, time, channels)`.
        bias: Added to the scores, `(batch, 1, 1, time)`: 0 for frames that are
            real, a large negative number for padding. None: all are real.
        position_bias: `(num_heads, time, time)`, if `gated`.

    Output shape: that of `inputs`.

    Raises:
        ValueError: The channels cannot be divided by the heads.

    Example:
    >>> SelfAttention(2)(np.ones((1, 5, 4), "float32")).shape
    TensorShape([1, 5, 4])

    References:
        - Vaswani et al., "Attention is all you need", arXiv 1706.03762,
          equation 1.
        - Chen et al., "WavLM", arXiv 2110.13900, section III-B. In published
          weights, the linear function has 8 outputs that are summed by fours;
          here it has the 2 sums.
    """

    def __init__(
        self,
        num_heads: int,
        key_bias: bool = True,
        gated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_bias = key_bias
        self.gated = gated

    def build(self, input_shape: Sequence[Any], **_: Any) -> None:
        units = input_shape[-1]
        if units % self.num_heads:
            raise ValueError(
                "The channels must be a multiple of `num_heads`. Received: "
                f"{units} channels, num_heads={self.num_heads}"
            )
        for name in ("query", "key", "value", "output"):
            dense = keras.layers.Dense(
                units,
                use_bias=self.key_bias or name != "key",
                dtype=self.dtype_policy,
                name=name,
            )
            dense.build((None, None, units))
            # `output` is a property of layers.
            setattr(self, f"{name}_dense", dense)
        if self.gated:
            size = units // self.num_heads
            self.gate = keras.layers.Dense(
                2, "sigmoid", dtype=self.dtype_policy, name="gate"
            )
            self.gate.build((None, None, self.num_heads, size))
            self.gate_scale = self.add_weight(
                name="gate_scale", shape=(self.num_heads,), initializer="ones"
            )

    def call(
        self, inputs: Any, bias: Any = None, position_bias: Any = None
    ) -> Any:
        frames, units = ops.shape(inputs)[1], inputs.shape[-1]
        size = units // self.num_heads
        heads = (-1, frames, self.num_heads, size)
        x = ops.reshape(inputs, (-1, units))
        # The scale before the product of the frames with each other.
        query = self.query_dense(x) * size**-0.5
        query = ops.transpose(ops.reshape(query, heads), (0, 2, 1, 3))
        key = ops.reshape(self.key_dense(x), heads)
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))
        if bias is not None:
            scores = scores + bias
        if position_bias is not None:
            gate = self.gate(ops.reshape(inputs, heads))
            scale = ops.cast(self.gate_scale, gate.dtype)
            gate = gate[..., 0] * (gate[..., 1] * scale - 1.0) + 2.0
            gate = ops.transpose(gate, (0, 2, 1))[..., None]
            scores = scores + gate * position_bias
        weights = softmax(scores)
        value = ops.reshape(self.value_dense(x), heads)
        value = ops.transpose(value, (0, 2, 1, 3))
        outputs = ops.matmul(ops.cast(weights, value.dtype), value)
        outputs = ops.transpose(outputs, (0, 2, 1, 3))
        outputs = self.output_dense(ops.reshape(outputs, (-1, units)))
        return ops.reshape(outputs, (-1, frames, units))

    def compute_output_shape(self, input_shape: Sequence[Any], **_: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_bias": self.key_bias,
            "gated": self.gated,
        }


@serializable
class TransformerLayer(keras.layers.Layer):
    """One layer of a transformer: self-attention, then two linear layers.

    With `norm_first`, `x = x + f(norm(x))` for each of the two parts `f`;
    otherwise `x = norm(x + f(x))`.

    Args:
        num_heads: Number of heads of `SelfAttention`.
        feed_forward_units: Width between the two linear layers.
        norm_first: Where the layer normalisations are.
        key_bias: Argument of `SelfAttention`.
        gated: Argument of `SelfAttention`.
        dropout: Dropout rate of what is added to `x`.
        epsilon: Added to the variance by the layer normalisations.

    Call arguments:
        inputs: `(batch, time, channels)`.
        bias, position_bias: See `SelfAttention`.
        training: Whether to apply dropout.

    Output shape: that of `inputs`.

    Example:
    >>> TransformerLayer(2, 8)(np.ones((1, 5, 4), "float32")).shape
    TensorShape([1, 5, 4])

    References:
        - Vaswani et al., "Attention is all you need", arXiv 1706.03762,
          section 3.
        - Xiong et al., "On layer normalization in the transformer
          architecture", arXiv 2002.04745, table 1.
    """

    def __init__(
        self,
        num_heads: int,
        feed_forward_units: int,
        norm_first: bool = True,
        key_bias: bool = True,
        gated: bool = False,
        dropout: float = 0.0,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.feed_forward_units = feed_forward_units
        self.norm_first = norm_first
        self.key_bias = key_bias
        self.gated = gated
        self.dropout = dropout
        self.epsilon = epsilon

    def build(self, input_shape: Sequence[Any], **_: Any) -> None:
        options = {"dtype": self.dtype_policy}
        units = input_shape[-1]
        self.attention = SelfAttention(
            self.num_heads,
            self.key_bias,
            self.gated,
            name="attention",
            **options,
        )
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon, name="attention_norm", **options
        )
        self.intermediate = keras.layers.Dense(
            self.feed_forward_units, "gelu", name="intermediate", **options
        )
        self.feed_forward = keras.layers.Dense(
            units, name="feed_forward", **options
        )
        self.feed_forward_norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon, name="feed_forward_norm", **options
        )
        self.residual_dropout = keras.layers.Dropout(self.dropout, **options)
        for layer in (
            self.attention,
            self.attention_norm,
            self.intermediate,
            self.feed_forward_norm,
        ):
            layer.build((None, None, units))
        self.feed_forward.build((None, None, self.feed_forward_units))

    def call(
        self,
        inputs: Any,
        bias: Any = None,
        position_bias: Any = None,
        training: bool | None = None,
    ) -> Any:
        def attend(x):
            x = self.attention(x, bias=bias, position_bias=position_bias)
            return self.residual_dropout(x, training=training)

        def feed(x):
            # One matrix of all frames: TensorFlow adds bias and activation
            # within a product of two matrices, not of three axes.
            shape = (-1, ops.shape(x)[1], x.shape[-1])
            x = self.intermediate(ops.reshape(x, (-1, shape[-1])))
            x = ops.reshape(self.feed_forward(x), shape)
            return self.residual_dropout(x, training=training)

        if self.norm_first:
            x = inputs + attend(self.attention_norm(inputs))
            return x + feed(self.feed_forward_norm(x))
        x = self.attention_norm(inputs + attend(inputs))
        return self.feed_forward_norm(x + feed(x))

    def compute_output_shape(self, input_shape: Sequence[Any], **_: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "feed_forward_units": self.feed_forward_units,
            "norm_first": self.norm_first,
            "key_bias": self.key_bias,
            "gated": self.gated,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
        }


@serializable
class RelativePositionBias(keras.layers.Layer):
    """Learned bias of attention scores for each distance of two frames.

    Distances share a bias by buckets: one for each up to a quarter of
    `num_buckets`, then wider ones, logarithmically, up to `max_distance`; half
    of the buckets is for frames before, half for frames after.

    Args:
        num_buckets: Number of buckets.
        num_heads: Number of heads.
        max_distance: Frames from which on all distances are in one bucket.

    Call arguments:
        inputs: `(batch, time, channels)`, of which only the time counts.

    Output shape: `(num_heads, time, time)`.

    Example:
    >>> RelativePositionBias(320, 12)(np.zeros((1, 50, 4), "float32")).shape
    TensorShape([12, 50, 50])

    References:
        - Chen et al., "WavLM", arXiv 2110.13900, equations 4 and 5.
    """

    def __init__(
        self,
        num_buckets: int,
        num_heads: int,
        max_distance: int = 800,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_buckets = num_buckets
        self.num_heads = num_heads
        self.max_distance = max_distance
        self.embedding = keras.layers.Embedding(
            num_buckets, num_heads, dtype=self.dtype_policy, name="embedding"
        )
        # A table: on some backends and devices a logarithm is not exact enough
        # to be rounded down.
        self._buckets = distance_buckets(num_buckets, max_distance)

    def build(self, *_: Any) -> None:
        self.embedding.build(())

    def call(self, inputs: Any) -> Any:
        positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        distances = positions[None, :] - positions[:, None]
        most = self.max_distance
        rows = ops.clip(distances, -most, most) + most
        buckets = ops.take(ops.convert_to_tensor(self._buckets), rows)
        return ops.transpose(self.embedding(buckets), (2, 0, 1))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_buckets": self.num_buckets,
            "num_heads": self.num_heads,
            "max_distance": self.max_distance,
        }


def softmax(scores: Any) -> Any:
    """Softmax over the last axis, float32."""
    # Half precision has too few digits for a sum over many frames.
    scores = ops.cast(scores, "float32")
    if scores.shape[-1] == 1:  # Of which Keras warns.
        return ops.ones_like(scores)
    return ops.softmax(scores)


def distance_buckets(num_buckets, max_distance):
    """Bucket of each distance from `-max_distance` to `max_distance`, int32.

    >>> distance_buckets(8, 4).tolist()
    [3, 3, 2, 1, 0, 5, 6, 7, 7]
    """
    half = num_buckets // 2
    exact = half // 2
    distance = np.arange(-max_distance, max_distance + 1)
    size = np.abs(distance)
    # In float32, as the published code.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / exact)
    ratio = ratio / np.float32(np.log(max_distance / exact))
    wide = (exact + ratio * (half - exact)).astype(np.int32)
    bucket = np.where(size < exact, size, np.minimum(wide, half - 1))
    return (bucket + half * (distance > 0)).astype(np.int32)
