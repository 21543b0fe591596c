"""The recurrences against a plain unrolled loop under automatic gradients."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.layers import recurrence


def plain(z, recurrent):
    """An LSTM or a tanh RNN, written down as in a textbook."""
    channels = recurrent.shape[1]
    h = c = tf.zeros_like(z[:, 0, :, :channels])
    outputs = []
    for frame in tf.unstack(z, axis=1):
        a = frame + tf.einsum("ubc,ucg->ubg", h, recurrent)
        if recurrent.shape[2] == channels:
            h = tf.tanh(a)
        else:
            i, f, g, o = tf.split(a, 4, -1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        outputs.append(h)
    return tf.stack(outputs, 1)


@pytest.mark.parametrize(
    "run, gates", [(recurrence.lstm, 4), (recurrence.simple_rnn, 1)]
)
@pytest.mark.parametrize("dtype, batch", [("float32", 3), ("float64", 1)])
@pytest.mark.parametrize(
    "mode", ["eager", "graph", "xla", "shared", "compiled"]
)
def test_values_and_gradients(run, gates, dtype, mode, batch):
    rng = np.random.default_rng(0)
    z = tf.constant(rng.normal(size=(6, 5, batch, 4 * gates)), dtype)
    recurrent = tf.constant(rng.normal(size=(6, 4, 4 * gates)), dtype)
    upstream = tf.constant(rng.normal(size=(6, 5, batch, 4)), dtype)

    def value_and_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([z, recurrent])
            h = function(z, recurrent)
            loss = tf.reduce_sum(h * upstream)
        return h, *tape.gradient(loss, [z, recurrent])

    ours = value_and_gradients
    if mode != "eager":
        ours = tf.function(ours, autograph=False, jit_compile=mode == "xla")
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    if mode in ("shared", "compiled"):
        run = functools.partial(run, mode=mode)
    for a, b in zip(ours(run), value_and_gradients(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_only_the_gradients_asked_for_are_computed():
    # The product that yields the gradient of the recurrent weights is the
    # only one whose result has their shape.
    recurrent = tf.ones((2, 4, 16))

    @tf.function
    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = tf.reduce_sum(recurrence.lstm(z, recurrent))
        return tape.gradient(loss, z)

    z = tf.zeros((2, 3, 1, 16))
    graph = gradient.get_concrete_function(z).graph
    reachable = _ancestors(graph.outputs)
    assert not [
        op
        for op in reachable
        if op.type == "BatchMatMulV2" and op.outputs[0].shape[1:] == (4, 16)
    ]


def _ancestors(tensors):
    """Operations that the tensors depend on: what is left after pruning."""
    found, waiting = set(), [t.op for t in tensors]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [t.op for t in op.inputs] + list(op.control_inputs)
    return found


@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
def test_reverse_and_last_frame(lengths):
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4))
    ends = [5, 5, 5] if lengths is None else lengths
    expected = x.copy()
    for clip, n in enumerate(ends):
        expected[:, :n, clip] = x[:, :n, clip][:, ::-1]
    np.testing.assert_array_equal(recurrence.reverse(x, lengths), expected)
    last = recurrence.last_frame(tf.constant(x), lengths)
    for clip, n in enumerate(ends):
        np.testing.assert_allclose(last[:, clip], x[:, max(n - 1, 0), clip])


@pytest.mark.parametrize("mode", ["inline", "shared", "compiled"])
@pytest.mark.parametrize(
    "run, gates", [(recurrence.lstm, 4), (recurrence.simple_rnn, 1)]
)
def test_second_derivatives(run, gates, mode):
    # A nested tape must see through the hand-written gradient, or fail; a
    # wrong number would pass for a search's second-order gradient.
    rng = np.random.default_rng(0)
    z = tf.constant(rng.normal(size=(1, 3, 1, 2 * gates)))
    recurrent = tf.constant(rng.normal(size=(1, 2, 2 * gates)))

    @tf.function(autograph=False)
    def second(function):
        with tf.GradientTape() as outer:
            outer.watch(recurrent)
            with tf.GradientTape() as inner:
                inner.watch(z)
                loss = tf.reduce_sum(function(z, recurrent) ** 2)
            first = inner.gradient(loss, z)
            total = tf.reduce_sum(first**2)
        return outer.gradient(total, recurrent)

    ours = functools.partial(run, mode=mode)
    if mode == "compiled":
        with pytest.raises(tf.errors.OpError, match="XLA"):
            second(ours)
        return
    ours = second(ours)
    np.testing.assert_allclose(ours, second(plain), rtol=1e-9)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="`mode` must be"):
        recurrence.lstm(tf.zeros((1, 2, 1, 8)), tf.zeros((1, 2, 8)), mode=True)
