"""Recurrent layers of one size side by side, with hand-written gradients.

All functions take `(units, time, batch, channels)`; a unit is one recurrent
layer. A step multiplies the states of all units by their recurrent weights in
one batched product. The gradient of the weights is one batched product after
the backward loop, on which nothing else depends: where only other gradients
are requested (those of the architecture parameters in a search), TensorFlow
prunes it from the graph.
"""

import functools

import tensorflow as tf

# Units in one compiled loop. At 128 channels the recurrent weights of four
# LSTM layers fill a core's cache, and several loops run on several cores.
_GROUP = 4


def reverse(x, lengths=None):
    """Reverses the real frames in time; padding stays at the end.

    Args:
        x: `(units, time, batch, channels)`.
        lengths: Real frames of each clip, `(batch,)`, or `None` for all.

    Returns:
        A tensor like `x`.
    """
    if lengths is None:
        return tf.reverse(x, [1])
    return tf.reverse_sequence(x, lengths, seq_axis=1, batch_axis=2)


def last_frame(x, lengths=None):
    """The last real frame of each clip.

    Args:
        x: `(units, time, batch, channels)`.
        lengths: Real frames of each clip, `(batch,)`, or `None` for all.

    Returns:
        `(units, batch, channels)`.
    """
    if lengths is None:
        return x[:, -1]
    last = tf.maximum(tf.convert_to_tensor(lengths) - 1, 0)
    # A product with a one-hot vector, whose gradient is dense and fast.
    chosen = tf.one_hot(last, tf.shape(x)[1], axis=0, dtype=x.dtype)
    return tf.reduce_sum(x * chosen[..., None], 1)


def lstm(inputs, recurrent, mode="inline"):
    """LSTM, from projected inputs to hidden states.

    Args:
        inputs: Inputs of the gates with bias, in Keras' order (input, forget,
            candidate, output): `(units, time, batch, 4 * channels)`.
        recurrent: `(units, channels, 4 * channels)`.
        mode: How the loops are placed in a graph. `"inline"`: each by itself.
            `"shared"`: as calls of one function for each shape, which makes
            the graph of a search several times smaller and faster to trace.
            `"compiled"`: as calls of functions compiled by XLA, which needs
            static shapes and takes about a second for each; it is then three
            times faster for one clip, and no faster for sixteen.

    Returns:
        Hidden states, `(units, time, batch, channels)`, from a zero state.

    Raises:
        ValueError: There is no such mode.

    Example:
    >>> lstm(tf.zeros((2, 3, 1, 16)), tf.zeros((2, 4, 16))).shape
    TensorShape([2, 3, 1, 4])
    """
    return _differentiable(
        inputs, recurrent, _lstm_forward, _lstm_backward, mode
    )


def simple_rnn(inputs, recurrent, mode="inline"):
    """Elman network with tanh, from projected inputs to hidden states.

    Args:
        inputs: `(units, time, batch, channels)`, with bias.
        recurrent: `(units, channels, channels)`.
        mode: As in `lstm`.

    Returns:
        Hidden states, `(units, time, batch, channels)`, from a zero state.

    Raises:
        ValueError: There is no such mode.

    Example:
    >>> simple_rnn(tf.zeros((2, 3, 1, 4)), tf.zeros((2, 4, 4))).shape
    TensorShape([2, 3, 1, 4])
    """
    return _differentiable(inputs, recurrent, _rnn_forward, _rnn_backward, mode)


def _differentiable(inputs, recurrent, forward, backward, mode):
    if mode not in ("inline", "shared", "compiled"):
        raise ValueError(
            "`mode` must be 'inline', 'shared' or 'compiled'. "
            f"Received: mode={mode!r}"
        )
    units = inputs.shape[0]
    sizes = [units]
    if mode == "compiled":
        sizes = [_GROUP] * (units // _GROUP) + [units % _GROUP]
        sizes = [size for size in sizes if size]
    if mode != "inline":
        forward = functools.partial(_call, forward, mode)
        backward = functools.partial(_call, backward, mode)

    # Else AutoGraph would convert the undecorated function.
    @tf.autograph.experimental.do_not_convert
    @tf.custom_gradient
    def run(inputs, recurrent):
        recurrents = tf.split(recurrent, sizes)
        groups = [
            forward(*group)
            for group in zip(tf.split(inputs, sizes), recurrents, strict=True)
        ]
        h = tf.concat([group[0] for group in groups], 0)

        def gradient(upstream):
            parts = zip(
                tf.split(upstream, sizes), recurrents, groups, strict=True
            )
            da = [backward(u, r, *saved)[0] for u, r, saved in parts]
            da = tf.concat(da, 0)
            return da, _weight_gradient(h, da)

        return h, gradient

    return run(inputs, recurrent)


def _lstm_forward(inputs, recurrent):
    def step(state, z):
        h, c = state
        a = z + tf.matmul(h, recurrent)
        i, f, g, o = tf.split(a, 4, -1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return (h, c), (h, a, c)

    zero = tf.zeros_like(inputs[:, 0, :, : recurrent.shape[1]])
    return _scan(step, (inputs,), (zero, zero), (1, 4, 1))


def _lstm_backward(upstream, recurrent, h, a, c):
    # What does not depend on the loop is computed for all frames at once.
    i, f, g, o = tf.split(a, 4, -1)
    i, f, o = tf.sigmoid(i), tf.sigmoid(f), tf.sigmoid(o)
    g, squashed = tf.tanh(g), tf.tanh(c)
    # Derivatives of the cell state (input, forget and candidate gate) and of
    # the hidden state (output gate) by the gates' inputs.
    by_gates = tf.concat(
        [
            g * i * (1 - i),
            _delay(c) * f * (1 - f),
            i * (1 - g * g),
            squashed * o * (1 - o),
        ],
        -1,
    )
    by_cell_state = o * (1 - squashed * squashed)  # Of the hidden state.
    # One transposition is faster than a product with a transposed matrix in
    # every frame.
    transposed = tf.transpose(recurrent, [0, 2, 1])

    def step(state, upstream, by_gates, by_cell_state, f):
        da, dc = state
        dh = upstream + tf.matmul(da, transposed)
        dc = dc + dh * by_cell_state
        da = tf.concat([dc, dc, dc, dh], -1) * by_gates
        return (da, dc * f), (da,)

    zeros = tf.zeros_like(a[:, 0]), tf.zeros_like(c[:, 0])
    frames = (upstream, by_gates, by_cell_state, f)
    return _scan(step, frames, zeros, (4,), backward=True)


def _rnn_forward(inputs, recurrent):
    def step(state, z):
        h = tf.tanh(z + tf.matmul(state[0], recurrent))
        return (h,), (h,)

    return _scan(step, (inputs,), (tf.zeros_like(inputs[:, 0]),), (1,))


def _rnn_backward(upstream, recurrent, h):
    transposed = tf.transpose(recurrent, [0, 2, 1])

    def step(state, upstream, derivative):
        da = (upstream + tf.matmul(state[0], transposed)) * derivative
        return (da,), (da,)

    zero = tf.zeros_like(h[:, 0])
    return _scan(step, (upstream, 1 - h * h), (zero,), (1,), backward=True)


_functions = {}


def _call(function, mode, *tensors):
    """Calls a function that is traced once per process and shape."""
    key = (function, mode, *[(x.dtype, *x.shape) for x in tensors])
    if key not in _functions:
        options = {"experimental_attributes": {"_noinline": True}}
        if mode == "compiled":
            options = {"jit_compile": True}
        with tf.init_scope():
            graph = tf.function(function, autograph=False, **options)
            _functions[key] = graph.get_concrete_function(
                *[tf.TensorSpec(x.shape, x.dtype) for x in tensors]
            )
    return _functions[key](*tensors)


def _delay(x):
    """The sequence delayed by one frame, beginning with zeros."""
    return tf.concat([tf.zeros_like(x[:, :1]), x[:, :-1]], 1)


def _weight_gradient(h, da):
    units, channels = h.shape[0], h.shape[3]
    return tf.matmul(
        tf.reshape(_delay(h), [units, -1, channels]),
        tf.reshape(da, [units, -1, da.shape[3]]),
        transpose_a=True,
    )


def _scan(step, frames, state, widths, backward=False):
    """Loops over time and stacks the outputs of all steps.

    Args:
        step: Maps `(state, *frame)` to `(state, outputs)`.
        frames: Tensors to iterate over along axis 1.
        state: Tensors before the first frame.
        widths: Size of each output's last axis, in multiples of `channels`.
        backward: Whether to go from the last frame to the first.

    Returns:
        List of tensors, time on axis 1.
    """
    static_time = frames[0].shape[1]
    time = tf.shape(frames[0])[1] if static_time is None else static_time
    units, batch, channels = state[-1].shape
    sources = [
        tf.TensorArray(
            x.dtype,
            time,
            element_shape=(units, batch, x.shape[3]),
            clear_after_read=False,
        ).unstack(tf.transpose(x, [1, 0, 2, 3]))
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
        state, outputs = step(state, *[s.read(t) for s in sources])
        targets = [
            target.write(t, x)
            for target, x in zip(targets, outputs, strict=True)
        ]
        return count + 1, state, targets

    _, _, targets = tf.while_loop(
        lambda count, state, targets: count < time,
        body,
        (0, tuple(state), targets),
        maximum_iterations=time,
    )
    stacked = [tf.transpose(x.stack(), [1, 0, 2, 3]) for x in targets]
    for x, n in zip(stacked, widths, strict=True):
        x.set_shape((units, static_time, batch, n * channels))
    return stacked
