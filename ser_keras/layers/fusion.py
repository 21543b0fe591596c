"""Fusion of two streams: one method, or a mixture of several in a search."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import check_fusion
from ser_keras.layers.attention_pooling import AttentionPooling
from ser_keras.layers.information_supplement import InformationSupplement
from ser_keras.layers.information_supplement import zero_missing
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import zero_padding


@serializable
class Fusion(FrameLayer):
    """Fusion of two streams to logits, by one candidate or by a mixture.

    Each candidate is a classifier of both sequences, and the output is
    `sum_k w_k logits_k`. A derived network has a single candidate, and nothing
    is mixed.

    | candidate         | computes                                           |
    |-------------------|----------------------------------------------------|
    | `concatenation`   | both streams pooled over time, then concatenated   |
    | `gating`          | gated sum of both pooled streams                   |
    | `cross_attention` | attention to the other stream, then concatenation  |
    | `late`            | a classifier for each; mean of their probabilities |
    | `supplement`      | `InformationSupplement`, then concatenation        |

    In all of them a stream that a clip lacks has no influence on its logits.
    Logits are computed in float32 under every dtype policy, as a softmax of
    them is.

    Args:
        candidates: List of names from the table.
        num_classes: Number of classes.
        units: Width of the gate, and of the attention's queries.
        dropout: Dropout rate before the last layers.

    Call arguments:
        sequences: Pair of `(batch, frames, channels)`, zero on padding.
        masks: Pair of `(batch, frames)`, true on real frames, or `None`.
        present: Pair of `(batch,)`, 1 where a clip has the stream, else 0;
            `None`: all have both.
        weights: Mixing weights `(candidates,)`; `None`: equal weights.
        training: Whether to apply dropout.

    Output shape: logits, `(batch, num_classes)`.

    Raises:
        ValueError: There is no such candidate, or the list is empty.

    Example:
    >>> pair = np.ones((2, 8, 4), "float32"), np.ones((2, 3, 6), "float32")
    >>> Fusion(["late", "supplement"], num_classes=3)(pair).shape
    TensorShape([2, 3])

    References:
        - DARTS, arXiv 1806.09055, equation 2 (the mixture).
    """

    def __init__(
        self,
        candidates: Sequence[str],
        num_classes: int,
        units: int = 32,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not candidates:
            raise ValueError(
                "`candidates` must be a list of one or more names. Received: "
                f"candidates={candidates}"
            )
        for name in candidates:
            check_fusion(name)
        self.candidates = list(candidates)
        self.num_classes = num_classes
        self.units = units
        self.dropout = dropout

    def build(self, input_shape: Any) -> None:
        self.heads = []
        for name in self.candidates:
            head = _HEADS[name](
                self.num_classes,
                self.units,
                self.dropout,
                dtype=self.dtype_policy,
                name=name,
            )
            head.build(input_shape)
            self.heads.append(head)

    def call(
        self,
        sequences: tuple[tf.Tensor, tf.Tensor],
        masks: tuple[tf.Tensor, tf.Tensor] | None = None,
        present: tuple[tf.Tensor, tf.Tensor] | None = None,
        weights: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        masks = masks or (None, None)
        if present is None:
            ones = tf.ones_like(sequences[0][:, 0, 0])
            present = (ones, ones)
        logits = [
            head(sequences, masks=masks, present=present, training=training)
            for head in self.heads
        ]
        if len(logits) == 1:
            return logits[0]
        if weights is None:
            return tf.add_n(logits) / len(logits)
        weights = tf.unstack(tf.cast(weights, logits[0].dtype))
        return tf.add_n([w * x for w, x in zip(weights, logits, strict=True)])

    def head(self, name: str) -> keras.layers.Layer:
        """The layer of the candidate `name`."""
        return self.heads[self.candidates.index(name)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0][0], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "candidates": self.candidates,
            "num_classes": self.num_classes,
            "units": self.units,
            "dropout": self.dropout,
        }


@serializable
class ConcatenationFusion(FrameLayer):
    """Fusion by concatenation of the pooled streams, a candidate of `Fusion`.

    `logits = W [pi_a pool(A) ; pi_b pool(B)] + d`, with `AttentionPooling` and
    `pi` 1 for a clip that has the stream, else 0. The base class of the other
    candidates, whose arguments and shapes are the same.

    Args:
        num_classes: Number of classes.
        units: Width of hidden layers, in candidates that have some.
        dropout: Dropout rate before the last layer.

    Call arguments:
        sequences: Pair of `(batch, frames, channels)`, zero on padding.
        masks: Pair of `(batch, frames)`, true on real frames, or of `None`.
        present: Pair of `(batch,)`, 1 where a clip has the stream, else 0.
        training: Whether to apply dropout.

    Output shape: logits, `(batch, num_classes)`.
    """

    def __init__(self, num_classes, units=32, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.units = units
        self.dropout = dropout

    def build(self, input_shape):
        # Pooling yields a mean and a deviation for each channel.
        widths = [2 * shape[-1] for shape in input_shape]
        self.pool_0 = AttentionPooling(dtype=self.dtype_policy, name="pool_0")
        self.pool_1 = AttentionPooling(dtype=self.dtype_policy, name="pool_1")
        self.pool_0.build(input_shape[0])
        self.pool_1.build(input_shape[1])
        self.head_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy
        )
        self.build_head(widths)

    def build_head(self, widths):
        """Creates the layers that follow pooling.

        Args:
            widths: Channels of the two pooled streams.
        """
        self.classifier = self.dense("classifier", sum(widths))

    def dense(self, name, width):
        """A classifier of vectors of `width` channels, in float32."""
        layer = keras.layers.Dense(self.num_classes, dtype="float32", name=name)
        layer.build((None, width))
        return layer

    def exchange(self, sequences, masks, present):
        """Exchange between the sequences before pooling; here there is none."""
        return sequences

    def join(self, pooled, present, training):
        """Logits of two vectors for each clip, zero where one is missing."""
        joined = self.head_dropout(tf.concat(pooled, -1), training=training)
        return self.classifier(joined)

    def call(self, sequences, masks, present, training=None):
        first, second = self.exchange(sequences, masks, present)
        pooled = [
            zero_missing(pool(x, mask=mask), has_stream)
            for pool, x, mask, has_stream in zip(
                (self.pool_0, self.pool_1),
                (first, second),
                masks,
                present,
                strict=True,
            )
        ]
        return self.join(pooled, present, training)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.num_classes)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "units": self.units,
            "dropout": self.dropout,
        }


@serializable
class SupplementFusion(ConcatenationFusion):
    """`InformationSupplement`, then concatenation, a candidate of `Fusion`."""

    def build(self, input_shape):
        super().build(input_shape)
        self.supplement = InformationSupplement(
            dtype=self.dtype_policy, name="supplement"
        )
        self.supplement.build(input_shape)

    def exchange(self, sequences, masks, present):
        return self.supplement(sequences, masks=masks, present=present)


@serializable
class CrossAttentionFusion(ConcatenationFusion):
    """Cross-attention, then concatenation, a candidate of `Fusion`.

    `a'_t = a_t + pi_b sum_j softmax_j(q_t . k_j / sqrt(units)) v_j` over the
    real frames `j` of the other stream, with `q = W_q a`, `k = W_k b`,
    `v = W_v b`; one head. The other direction has weights of its own.

    References:
        - Vaswani et al., arXiv 1706.03762, equation 1; between two streams:
          Tsai et al., arXiv 1906.00295, on crossmodal attention.
    """

    def build(self, input_shape):
        super().build(input_shape)
        widths = [shape[-1] for shape in input_shape]

        def dense(name, width, units):
            layer = keras.layers.Dense(
                units, use_bias=False, dtype=self.dtype_policy, name=name
            )
            layer.build((None, None, width))
            return layer

        # Numbered by the stream that attends to the other.
        self.query_0 = dense("query_0", widths[0], self.units)
        self.query_1 = dense("query_1", widths[1], self.units)
        self.key_0 = dense("key_0", widths[1], self.units)
        self.key_1 = dense("key_1", widths[0], self.units)
        self.value_0 = dense("value_0", widths[1], widths[0])
        self.value_1 = dense("value_1", widths[0], widths[1])

    def exchange(self, sequences, masks, present):
        first, second = sequences
        return (
            self._attend(
                first,
                second,
                masks,
                present[1],
                (self.query_0, self.key_0, self.value_0),
            ),
            self._attend(
                second,
                first,
                masks[::-1],
                present[0],
                (self.query_1, self.key_1, self.value_1),
            ),
        )

    def _attend(self, own, other, masks, present, layers):
        query, key, value = layers
        scores = tf.matmul(query(own), key(other), transpose_b=True)
        scores = scores / self.units**0.5
        if masks[1] is not None:
            lowest = scores.dtype.min / 2
            scores = tf.where(masks[1][:, None], scores, lowest)
        context = tf.matmul(tf.nn.softmax(scores), value(other))
        return own + zero_padding(zero_missing(context, present), masks[0])


@serializable
class GatedFusion(ConcatenationFusion):
    """Gated sum of both pooled streams, a candidate of `Fusion`.

    `z = g * tanh(W_a a + d_a) + (1 - g) * tanh(W_b b + d_b)` with
    `g = sigmoid(W_g [a ; b] + d_g)`, which is 1 if only `a` is present and 0
    if only `b` is; `logits = W z + d`.

    References:
        - Arevalo et al., "Gated Multimodal Units for Information Fusion",
          arXiv 1702.01992.
    """

    def build_head(self, widths):
        def dense(name, width, activation=None):
            layer = keras.layers.Dense(
                self.units, activation, dtype=self.dtype_policy, name=name
            )
            layer.build((None, width))
            return layer

        self.hidden_0 = dense("hidden_0", widths[0], "tanh")
        self.hidden_1 = dense("hidden_1", widths[1], "tanh")
        self.gate = dense("gate", sum(widths))
        self.classifier = self.dense("classifier", self.units)

    def join(self, pooled, present, training):
        gate = self.gate(tf.concat(pooled, -1))
        # The sigmoid as a softmax of two, so that a missing stream is masked.
        scores = tf.stack([gate, tf.zeros_like(gate)])
        present = tf.stack(present)[..., None] > 0
        scores = tf.where(present, scores, scores.dtype.min / 2)
        weights = tf.nn.softmax(scores, axis=0)
        hidden = tf.stack([self.hidden_0(pooled[0]), self.hidden_1(pooled[1])])
        hidden *= tf.cast(present, hidden.dtype)
        joined = tf.reduce_sum(weights * hidden, 0)
        return self.classifier(self.head_dropout(joined, training=training))


@serializable
class LateFusion(ConcatenationFusion):
    """Mean of the probabilities of two classifiers, a candidate of `Fusion`.

    `logits = log(sum_s pi_s softmax(W_s pool_s + d_s) / sum_s pi_s)`; all zero
    where both streams are missing.
    """

    def build_head(self, widths):
        self.classifier_0 = self.dense("classifier_0", widths[0])
        self.classifier_1 = self.dense("classifier_1", widths[1])

    def join(self, pooled, present, training):
        logits = tf.stack(
            [
                classifier(self.head_dropout(x, training=training))
                for classifier, x in zip(
                    (self.classifier_0, self.classifier_1), pooled, strict=True
                )
            ]
        )
        present = tf.stack(present)[..., None] > 0
        scores = tf.nn.log_softmax(logits)
        scores = tf.where(present, scores, scores.dtype.min / 2)
        count = tf.reduce_sum(tf.cast(present, scores.dtype), 0)
        mean = tf.reduce_logsumexp(scores, 0) - tf.math.log(
            tf.maximum(count, 1)
        )
        return tf.where(count > 0, mean, 0.0)


_HEADS = {
    "concatenation": ConcatenationFusion,
    "gating": GatedFusion,
    "cross_attention": CrossAttentionFusion,
    "late": LateFusion,
    "supplement": SupplementFusion,
}
