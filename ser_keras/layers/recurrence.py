"""Many recurrent networks of one size at once, with hand-written gradients.

All functions are time-major with a leading unit axis, `(time, units, batch,
channels)`: a unit is one layer of one network. A step multiplies the states
of all units with their recurrent weights in one batched product. The gradient
of the weights is one batched product after the backward loop, and nothing
else depends on it: where only other gradients are asked for (those of a
search's architecture weights), TensorFlow prunes it from the graph.
"""

import tensorflow as tf


def reverse(x, lengths=None):
    """Turns valid frames round in time; padding stays behind them.

    Args:
        x: `(time, units, batch, channels)`.
        lengths: Valid frames of each clip, `(batch,)`, or `None` for all.
    """
    if lengths is None:
        return tf.reverse(x, [0])
    return tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=2)


def last_frame(x, lengths=None):
    """`(units, batch, channels)`: the last valid frame of each clip."""
    if lengths is None:
        return x[-1]
    last = tf.maximum(tf.convert_to_tensor(lengths) - 1, 0)
    # A product with a one-hot vector: its gradient is dense and fast.
    chosen = tf.one_hot(last, tf.shape(x)[0], axis=0, dtype=x.dtype)
    return tf.reduce_sum(x * chosen[:, None, :, None], 0)


# AutoGraph would convert the function below the decorator instead of it.
@tf.autograph.experimental.do_not_convert
@tf.custom_gradient
def lstm(inputs, recurrent):
    """Long short-term memory, from projected inputs to hidden states.

    Args:
        inputs: Gates' inputs with bias, in Keras' order (input, forget,
            candidate, output): `(time, units, batch, 4 * channels)`.
        recurrent: `(units, channels, 4 * channels)`.

    Returns:
        Hidden states, `(time, units, batch, channels)`, from a zero state.

    >>> lstm(tf.zeros((3, 2, 1, 16)), tf.zeros((2, 4, 16))).shape
    TensorShape([3, 2, 1, 4])
    """

    def step(state, z):
        h, c = state
        a = z + tf.matmul(h, recurrent)
        i, f, g, o = tf.split(a, 4, -1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return (h, c), (a, c, h)

    zero = tf.zeros_like(inputs[0, :, :, : recurrent.shape[1]])
    a, c, h = _scan(step, (inputs,), (zero, zero), (4, 1, 1))

    def gradient(upstream):
        # What does not depend on the loop is done for all frames at once.
        i, f, g, o = tf.split(a, 4, -1)
        i, f, o = tf.sigmoid(i), tf.sigmoid(f), tf.sigmoid(o)
        g, squashed = tf.tanh(g), tf.tanh(c)
        slopes = tf.concat(
            [
                g * i * (1 - i),
                _delay(c) * f * (1 - f),
                i * (1 - g * g),
                squashed * o * (1 - o),
            ],
            -1,
        )
        through = o * (1 - squashed * squashed)
        # Not `adjoint_b`: a product with a transposed matrix is slower than
        # one transposition for all frames.
        transposed = tf.transpose(recurrent, [0, 2, 1])

        def back(state, upstream, slopes, through, f):
            da, dc = state
            dh = upstream + tf.matmul(da, transposed)
            dc = dc + dh * through
            da = tf.concat([dc, dc, dc, dh], -1) * slopes
            return (da, dc * f), (da,)

        (da,) = _scan(
            back,
            (upstream, slopes, through, f),
            (tf.zeros_like(inputs[0]), zero),
            (4,),
            backward=True,
        )
        return da, _weight_gradient(h, da)

    return h, gradient


@tf.autograph.experimental.do_not_convert
@tf.custom_gradient
def simple_rnn(inputs, recurrent):
    """Elman's network with tanh, from projected inputs to hidden states.

    Args:
        inputs: `(time, units, batch, channels)`, with bias.
        recurrent: `(units, channels, channels)`.

    Returns:
        Hidden states, `(time, units, batch, channels)`, from a zero state.

    >>> simple_rnn(tf.zeros((3, 2, 1, 4)), tf.zeros((2, 4, 4))).shape
    TensorShape([3, 2, 1, 4])
    """

    def step(state, z):
        h = tf.tanh(z + tf.matmul(state[0], recurrent))
        return (h,), (h,)

    zero = tf.zeros_like(inputs[0])
    (h,) = _scan(step, (inputs,), (zero,), (1,))

    def gradient(upstream):
        slope = 1 - h * h
        transposed = tf.transpose(recurrent, [0, 2, 1])

        def back(state, upstream, slope):
            da = (upstream + tf.matmul(state[0], transposed)) * slope
            return (da,), (da,)

        (da,) = _scan(back, (upstream, slope), (zero,), (1,), backward=True)
        return da, _weight_gradient(h, da)

    return h, gradient


def _delay(x):
    """The previous frame of each; zeros before the first."""
    return tf.concat([tf.zeros_like(x[:1]), x[:-1]], 0)


def _weight_gradient(h, da):
    previous = tf.transpose(_delay(h), [1, 3, 0, 2])
    da = tf.transpose(da, [1, 0, 2, 3])
    units, channels = h.shape[1], h.shape[3]
    return tf.matmul(
        tf.reshape(previous, [units, channels, -1]),
        tf.reshape(da, [units, -1, da.shape[3]]),
    )


def _scan(step, frames, state, widths, backward=False):
    """Loops over time; returns what each step emits, stacked.

    Args:
        step: Maps `(state, *frame)` to `(state, emitted)`.
        frames: Tensors to go through along axis 0.
        state: Tensors before the first frame.
        widths: Size of each emitted tensor's last axis, in channels.
        backward: Whether to go from the last frame to the first.
    """
    time = tf.shape(frames[0])[0]
    static_time = frames[0].shape[0]
    if static_time is not None:
        time = static_time
    units, batch, channels = state[-1].shape
    sources = [
        tf.TensorArray(
            x.dtype, time, element_shape=x.shape[1:], clear_after_read=False
        ).unstack(x)
        for x in frames
    ]
    targets = [
        tf.TensorArray(
            frames[0].dtype, time, element_shape=(units, batch, n * channels)
        )
        for n in widths
    ]

    def body(count, state, targets):
        t = time - 1 - count if backward else count
        state, emitted = step(state, *[s.read(t) for s in sources])
        targets = [
            target.write(t, x)
            for target, x in zip(targets, emitted, strict=True)
        ]
        return count + 1, state, targets

    _, _, targets = tf.while_loop(
        lambda count, *_: count < time,
        body,
        (0, tuple(state), targets),
        maximum_iterations=time,
    )
    stacked = [target.stack() for target in targets]
    for x, n in zip(stacked, widths, strict=True):
        x.set_shape((static_time, units, batch, n * channels))
    return stacked
