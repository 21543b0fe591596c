"""Attention over time for several bidirectional stacks at once."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.recurrent_stacks import glorot_uniform


@serializable
class TemporalAttention(FrameLayer):
    """Attention over the frames of bidirectional recurrent stacks.

    With the outputs `O` of a bidirectional stack and its final states `s`:
    scores `S = Dense([s, O])` for each channel, weights `A = softmax(S)` over
    the real frames, context `c = sum_t A_t O_t`, output
    `Dense(Dense([O, c]))`. The published code of emoDARTS takes the softmax
    over the channels instead, and works for a single batch size.

    Args:
        heads: Number of stacks, each with weights of its own.
        filters: Channels of the output.

    Call arguments:
        outputs: Outputs of the stacks, `(heads, time, batch, 2 * filters)`.
        last: Their final states, `(heads, batch, 2 * filters)`.
        mask: `(batch, time)`, true on real frames, or `None`.

    Output shape: `(heads, time, batch, filters)`.

    Example:
    >>> attention = TemporalAttention(heads=3, filters=4)
    >>> attention(np.zeros((3, 7, 2, 8), "float32"), np.zeros((3, 2, 8))).shape
    TensorShape([3, 7, 2, 4])

    References:
        - emoDARTS, arXiv 2403.14083, `lstm_att_1` ... `rnn_att_2`.
    """

    def __init__(self, heads: int, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads = heads
        self.filters = filters

    def build(
        self,
        outputs_shape: Sequence[Any] | None = None,
        last_shape: Sequence[Any] | None = None,
    ) -> None:
        wide = 2 * self.filters
        self.parameters = {}
        for name, rows, columns in (
            ("score", 2 * wide, wide),
            ("combine", 2 * wide, wide),
            ("output", wide, self.filters),
        ):
            self.parameters[f"{name}/kernel"] = self.add_weight(
                name=f"{name}_kernel",
                shape=(self.heads, rows, columns),
                initializer=glorot_uniform(rows, columns),
            )
            self.parameters[f"{name}/bias"] = self.add_weight(
                name=f"{name}_bias",
                shape=(self.heads, columns),
                initializer="zeros",
            )

    def call(
        self, outputs: tf.Tensor, last: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        values = {
            name: tf.convert_to_tensor(variable)
            for name, variable in self.parameters.items()
        }
        wide = 2 * self.filters
        shape = tf.shape(outputs)
        time, batch = shape[1], shape[2]
        # (heads, time * batch, channels): one product for each head.
        frames = tf.reshape(outputs, [self.heads, -1, wide])

        def dense(name, clip):
            # `Dense([clip, frames])` ("score") or `Dense([frames, clip])`
            # ("combine"), without repeating the clip's vector in each frame.
            kernel = values[f"{name}/kernel"]
            rows = tf.split(kernel, 2, 1)
            clip_rows, frame_rows = rows if name == "score" else rows[::-1]
            y = tf.matmul(frames, frame_rows)
            y = tf.reshape(y, [self.heads, time, batch, wide])
            clip = tf.matmul(clip, clip_rows) + values[f"{name}/bias"][:, None]
            return y + clip[:, None]

        scores = dense("score", last)
        if mask is not None:
            real = tf.transpose(mask)[None, :, :, None]
            scores = tf.where(real, scores, tf.cast(-1e9, scores.dtype))
        scores = scores - tf.stop_gradient(
            tf.reduce_max(scores, 1, keepdims=True)
        )
        weights = tf.exp(scores)
        total = tf.reduce_sum(weights, 1)
        context = tf.reduce_sum(weights * outputs, 1) / total
        y = tf.reshape(dense("combine", context), [self.heads, -1, wide])
        y = tf.matmul(y, values["output/kernel"])
        y = y + values["output/bias"][:, None]
        return tf.reshape(y, [self.heads, time, batch, self.filters])

    def head_weights(self, head: int) -> Any:
        """Where the weights of one head are.

        Returns:
            Dict from names such as `"score/kernel"` to `(variable, index)`.
        """
        return {name: (v, head) for name, v in self.parameters.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "heads": self.heads,
            "filters": self.filters,
        }
