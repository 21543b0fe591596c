"""What one stream lacks, supplied by the other: gated exchange over time."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import zero_padding


@serializable
class InformationSupplement(FrameLayer):
    """Lets each of two streams take from the other what it lacks.

    This is our design of the idea of EmotionNAS' information supplement
    module, whose details are not published; it is no reproduction.

    Let `a_t` be the frames of one stream, `b_j` those of the other, and `pi_a`
    and `pi_b` 1 for a clip that has the stream and 0 for one that lacks it.
    The same equations with weights of their own serve the other direction.

        c_t  = sum_j max(0, 1 - |p_t - j|) b_j    the other stream, in time
        s_t  = W_s c_t + d_s                      what it can supply
        g_t  = sigmoid(W_g [a_t ; s_t] + d_g)     how far it is wanted
        a'_t = pi_a (a_t + pi_b g_t * tanh(s_t))

    `p_t = (t + 1/2) N_b / N_a - 1/2`, held within `[0, N_b - 1]`, is the place
    of frame `t` of `N_a` real frames among the other's `N_b`: both streams
    span the same seconds, at rates of their own. Padding (`t >= N_a`) stays
    zero and none of it is read, so a clip's output depends neither on other
    clips nor on how far it was padded. A missing stream supplies nothing and
    gets nothing.

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

    def build(self, input_shape):
        widths = [shape[-1] for shape in input_shape]
        # Numbered by the stream that takes; flat, as Keras saves them best.
        self.supply_0 = keras.layers.Dense(widths[0], name="supply_0")
        self.supply_1 = keras.layers.Dense(widths[1], name="supply_1")
        self.gate_0 = keras.layers.Dense(widths[0], "sigmoid", name="gate_0")
        self.gate_1 = keras.layers.Dense(widths[1], "sigmoid", name="gate_1")
        self.supply_0.build((None, None, widths[1]))
        self.supply_1.build((None, None, widths[0]))
        self.gate_0.build((None, None, 2 * widths[0]))
        self.gate_1.build((None, None, 2 * widths[1]))

    def call(self, sequences, masks=None, present=None):
        masks = masks or (None, None)
        first, second = sequences
        return (
            self._take(
                first, second, masks, present, self.supply_0, self.gate_0
            ),
            self._take(
                second,
                first,
                masks[::-1],
                present and present[::-1],
                self.supply_1,
                self.gate_1,
            ),
        )

    def _take(self, own, other, masks, present, supply, gate):
        supplied = supply(align_in_time(other, masks[1], own, masks[0]))
        wanted = gate(tf.concat([own, supplied], -1)) * tf.tanh(supplied)
        if present is not None:
            wanted = zero_missing(wanted, present[1])
        taken = own + zero_padding(wanted, masks[0])
        return taken if present is None else zero_missing(taken, present[0])

    def compute_output_shape(self, input_shape):
        return tuple(tuple(shape) for shape in input_shape)


def align_in_time(x, mask, target, target_mask):
    """Reads one sequence at the times of another's frames.

    Both span the same seconds: frame `i` of `n` real ones stands for the part
    from `i / n` to `(i + 1) / n` of the clip. Between two frames the values
    are interpolated linearly, beyond the first and last centre they stay.

    Args:
        x: `(batch, frames, channels)`.
        mask: `(batch, frames)`, its real frames, which come first; `None`: all.
        target: `(batch, other frames, other channels)`, at whose times `x` is
            read.
        target_mask: Its real frames, likewise.

    Returns:
        `(batch, other frames, channels)`; what it has beyond the target's real
        frames repeats the last of them.

    Example:
    >>> x = np.float32([[[0], [2], [4], [6]]])
    >>> align_in_time(x, None, np.zeros((1, 2, 1)), None)[0, :, 0].numpy()
    array([1., 5.], dtype=float32)
    """
    x = tf.convert_to_tensor(x)
    # Half precision cannot count frames.
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    frames = _real_frames(x, mask, dtype)
    others = _real_frames(target, target_mask, dtype)
    steps = tf.range(tf.shape(target)[1])
    place = (tf.cast(steps, dtype) + 0.5) * (frames / others)[:, None] - 0.5
    place = tf.clip_by_value(place, 0.0, frames[:, None] - 1)
    positions = tf.cast(tf.range(tf.shape(x)[1]), dtype)
    weights = 1 - tf.abs(place[:, :, None] - positions)
    return tf.matmul(tf.cast(tf.nn.relu(weights), x.dtype), x)


def _real_frames(x, mask, dtype):
    if mask is None:
        shape = tf.shape(x)
        return tf.fill((shape[0],), tf.cast(shape[1], dtype))
    return tf.reduce_sum(tf.cast(mask, dtype), 1)


def zero_missing(x, present):
    """Sets to zero what belongs to clips that lack a stream.

    Args:
        x: `(batch, ...)`.
        present: `(batch,)`, 1 or 0.
    """
    shape = (-1, *[1] * (x.shape.rank - 1))
    return x * tf.reshape(tf.cast(present, x.dtype), shape)
