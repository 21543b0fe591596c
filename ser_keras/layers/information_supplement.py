"""Information supplement: gated exchange between two streams over time."""

from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import zero_padding


@serializable
class InformationSupplement(FrameLayer):
    """Gated exchange of information between two streams.

    This is our design of the idea of EmotionNAS' information supplement
    module, whose details are not published; it is not a reproduction.

    Let `a_t` be the frames of one stream, `b_j` those of the other, and `pi_a`
    and `pi_b` 1 for a clip that has the stream and 0 for one that lacks it.
    The same equations with weights of their own serve the other direction.

        c_t  = sum_j max(0, 1 - |p_t - j|) b_j    the other stream, aligned
        s_t  = W_s c_t + d_s                      the supplement
        g_t  = sigmoid(W_g [a_t ; s_t] + d_g)     the gate
        a'_t = pi_a (a_t + pi_b g_t * tanh(s_t))

    `p_t = (t + 1/2) N_b / N_a - 1/2`, clipped to `[0, N_b - 1]`, is the
    position of frame `t` of `N_a` real frames among the other's `N_b`: both
    streams span the same seconds, at frame rates of their own. Padding
    (`t >= N_a`) stays zero and is never read, so that a clip's output depends
    neither on other clips nor on the amount of padding. A missing stream
    supplies nothing and stays zero.

    Call arguments:
        sequences: Pair of `(batch, frames, channels)`; frames and channels of
            the two may differ. Zero on padding.
        masks: Pair of `(batch, frames)`, true on real frames, or `None`.
        present: Pair of `(batch,)`, 1 where a clip has the stream, else 0;
            `None`: all have both.

    Output shape: a pair like `sequences`.

    Example:
    >>> mel, deep = np.ones((2, 8, 4), "float32"), np.ones((2, 3, 6), "float32")
    >>> [x.shape for x in InformationSupplement()((mel, deep))]
    [TensorShape([2, 8, 4]), TensorShape([2, 3, 6])]

    References:
        - EmotionNAS, arXiv 2203.13617, abstract (the idea). The equations are
          ours.
    """

    def build(self, input_shape: Any) -> None:
        widths = [shape[-1] for shape in input_shape]

        def dense(name, units, activation=None):
            return keras.layers.Dense(
                units, activation, dtype=self.dtype_policy, name=name
            )

        # Numbered by the stream that receives. Attributes, not a list: saved
        # files name their groups after them.
        self.supply_0 = dense("supply_0", widths[0])
        self.supply_1 = dense("supply_1", widths[1])
        self.gate_0 = dense("gate_0", widths[0], "sigmoid")
        self.gate_1 = dense("gate_1", widths[1], "sigmoid")
        self.supply_0.build((None, None, widths[1]))
        self.supply_1.build((None, None, widths[0]))
        self.gate_0.build((None, None, 2 * widths[0]))
        self.gate_1.build((None, None, 2 * widths[1]))

    def call(
        self,
        sequences: tuple[tf.Tensor, tf.Tensor],
        masks: tuple[tf.Tensor, tf.Tensor] | None = None,
        present: tuple[tf.Tensor, tf.Tensor] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        masks = masks or (None, None)
        first, second = sequences
        return (
            self._supplement(
                first, second, masks, present, self.supply_0, self.gate_0
            ),
            self._supplement(
                second,
                first,
                masks[::-1],
                present and present[::-1],
                self.supply_1,
                self.gate_1,
            ),
        )

    def _supplement(self, own, other, masks, present, supply, gate):
        supplied = supply(align_in_time(other, masks[1], own, masks[0]))
        gated = gate(tf.concat([own, supplied], -1)) * tf.tanh(supplied)
        if present is not None:
            gated = zero_missing(gated, present[1])
        output = own + zero_padding(gated, masks[0])
        return output if present is None else zero_missing(output, present[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(tuple(shape) for shape in input_shape)


def align_in_time(x, mask, target, target_mask):
    """Resamples a sequence to the frames of another one, linearly.

    Both span the same seconds: frame `i` of `n` real ones covers the clip from
    `i / n` to `(i + 1) / n` of its duration. Values are interpolated linearly
    between the centres of frames, and constant before the first and after the
    last centre.

    Args:
        x: `(batch, frames, channels)`.
        mask: `(batch, frames)`, true on its real frames, which come first;
            `None`: all.
        target: `(batch, target frames, target channels)`, to whose frames `x`
            is resampled.
        target_mask: `(batch, target frames)`, true on its real frames;
            `None`: all.

    Returns:
        `(batch, target frames, channels)`; frames beyond the target's real
        ones repeat the last of them.

    Example:
    >>> x = np.float32([[[0], [2], [4], [6]]])
    >>> align_in_time(x, None, np.zeros((1, 2, 1)), None)[0, :, 0].numpy()
    array([1., 5.], dtype=float32)
    """
    x = tf.convert_to_tensor(x)
    # Half precision does not represent the numbers of all frames.
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    frames = _real_frames(x, mask, dtype)
    target_frames = _real_frames(target, target_mask, dtype)
    steps = tf.range(tf.shape(target)[1])
    rate = (frames / target_frames)[:, None]
    positions = (tf.cast(steps, dtype) + 0.5) * rate - 0.5
    positions = tf.clip_by_value(positions, 0.0, frames[:, None] - 1)
    numbers = tf.cast(tf.range(tf.shape(x)[1]), dtype)
    weights = 1 - tf.abs(positions[:, :, None] - numbers)
    return tf.matmul(tf.cast(tf.nn.relu(weights), x.dtype), x)


def _real_frames(x, mask, dtype):
    if mask is None:
        shape = tf.shape(x)
        return tf.fill((shape[0],), tf.cast(shape[1], dtype))
    return tf.reduce_sum(tf.cast(mask, dtype), 1)


def zero_missing(x, present):
    """Sets the values of clips that lack a stream to zero.

    Args:
        x: `(batch, ...)`.
        present: `(batch,)`, 1 for a clip that has the stream, else 0.
    """
    shape = (-1, *[1] * (x.shape.rank - 1))
    return x * tf.reshape(tf.cast(present, x.dtype), shape)
