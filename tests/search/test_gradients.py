"""The architecture's gradient, against differentiation through the step."""

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.layers.cell import Cell
from ser_keras.search.gradients import first_order
from ser_keras.search.gradients import unrolled

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.03


def nested(loss, weights, alphas, weight_batch, architecture_batch, velocities):
    """The oracle: nested tapes, exact, without finite differences."""
    with tf.GradientTape() as outer:
        outer.watch(alphas)
        with tf.GradientTape() as inner:
            inner.watch(weights)
            value = loss(weights, alphas, weight_batch)
        gradients = inner.gradient(value, weights)
        virtual = [
            w + MOMENTUM * v - RATE * (g + DECAY * w)
            for w, g, v in zip(weights, gradients, velocities, strict=True)
        ]
        held_out = loss(virtual, alphas, architecture_batch)
    return outer.gradient(held_out, alphas), held_out


def relative_error(actual, desired):
    difference = np.concatenate(
        [np.ravel(actual[k] - desired[k]) for k in desired]
    )
    whole = np.concatenate([np.ravel(desired[k]) for k in desired])
    return np.linalg.norm(difference) / np.linalg.norm(whole)


def smooth_problem():
    """A mixture of two tanh networks, weighted by a softmax; float64."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return tf.constant(rng.normal(size=shape))

    weights = [normal(3, 5), normal(3, 5), normal(5, 2)]
    velocities = [0.05 * normal(*w.shape) for w in weights]
    alphas = {"normal": normal(1, 2)}

    def loss(weights, alphas, batch):
        x, y = batch
        mix = tf.nn.softmax(alphas["normal"])[0]
        hidden = mix[0] * tf.tanh(x @ weights[0])
        hidden += mix[1] * tf.sin(x @ weights[1])
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                y, hidden @ weights[2]
            )
        )

    batches = [(normal(8, 3), tf.constant([0, 1] * 4)) for _ in range(2)]
    return loss, weights, alphas, *batches, velocities


def cell_problem(kind, candidates):
    """A real search cell in float64, whose operations differentiate twice."""
    space = [[0, 2, candidates], [1, 2, candidates]]
    cell = Cell(kind, space, [2], 2, dtype="float64")
    cell.build()
    rng = np.random.default_rng(1)
    shape = (4, 6, 6, 2) if kind == "normal" else (4, 5, 2)
    weights = [tf.convert_to_tensor(v) for v in cell.trainable_variables]
    state = [tf.convert_to_tensor(v) for v in cell.non_trainable_variables]
    velocities = [0.01 * tf.constant(rng.normal(size=w.shape)) for w in weights]
    alphas = {kind: tf.constant(rng.normal(size=(2, len(candidates))))}

    def loss(weights, alphas, batch):
        mixed, _ = cell.stateless_call(
            weights,
            state,
            *batch[:2],
            weights=tf.nn.softmax(alphas[kind], -1),
            training=True,
        )
        return tf.reduce_mean(tf.square(mixed - batch[2]))

    batches = [
        tuple(tf.constant(rng.normal(size=shape)) for _ in range(3))
        for _ in range(2)
    ]
    return loss, weights, alphas, *batches, velocities


def run_unrolled(problem):
    loss, weights, alphas, weight_batch, architecture_batch, velocity = problem
    return unrolled(
        loss,
        weights,
        alphas,
        weight_batch,
        architecture_batch,
        learning_rate=tf.constant(RATE, tf.float64),
        momentum=MOMENTUM,
        velocities=velocity,
        weight_decay=DECAY,
    )


def test_first_order_is_the_partial_derivative():
    loss, weights, alphas, _, batch, _ = smooth_problem()
    gradients, value = first_order(loss, weights, alphas, batch)
    step = 1e-6
    for i in range(2):
        shift = step * np.eye(2)[i][None]
        above = loss(weights, {"normal": alphas["normal"] + shift}, batch)
        below = loss(weights, {"normal": alphas["normal"] - shift}, batch)
        np.testing.assert_allclose(
            gradients["normal"][0, i], (above - below) / (2 * step), rtol=1e-6
        )
    np.testing.assert_allclose(value, loss(weights, alphas, batch))


def test_unrolled_equals_nested_tapes():
    problem = smooth_problem()
    expected, held_out = nested(*problem)
    gradients, value = run_unrolled(problem)
    assert relative_error(gradients, expected) < 1e-3
    np.testing.assert_allclose(value, held_out, rtol=1e-9)


def test_tolerance_is_smaller_than_the_second_order_term():
    # What the first order omits, and the error of emoDARTS' code (no division
    # by two epsilon), are far larger than the tolerance.
    problem = smooth_problem()
    expected, _ = nested(*problem)
    loss, weights, alphas, _, batch, _ = problem
    direct, _ = first_order(loss, weights, alphas, batch)
    assert relative_error(direct, expected) > 0.02
    gradients, _ = run_unrolled(problem)
    halved = {k: (gradients[k] + direct[k]) / 2 for k in gradients}
    assert relative_error(halved, expected) > 1e-2


def test_momentum_and_decay_of_the_virtual_step_matter():
    loss, weights, alphas, first, second, _ = problem = smooth_problem()
    expected, _ = nested(*problem)
    plain, _ = unrolled(
        loss,
        weights,
        alphas,
        first,
        second,
        learning_rate=tf.constant(RATE, tf.float64),
    )
    assert relative_error(plain, expected) > 1e-2


@pytest.mark.parametrize(
    "kind, candidates",
    [
        ("normal", ["avg_pool_3x3", "skip_connect", "dil_conv_3x3", "none"]),
        ("recurrent", ["rnn_1", "lstm_1", "skip_connect", "none"]),
    ],
)
def test_unrolled_of_a_search_cell(kind, candidates):
    loss, weights, alphas, first, second, velocities = cell_problem(
        kind, candidates
    )
    problem = loss, weights, alphas, first, second, velocities
    gradients, _ = run_unrolled(problem)
    # Exact along a direction without a second derivative of any operation:
    # recurrent layers have hand-written gradients that tape does not
    # differentiate, so differentiate the whole by small steps of the alphas.
    step = 1e-5
    rng = np.random.default_rng(2)
    direction = rng.normal(size=alphas[kind].shape)

    def after_step(shift):
        moved = {kind: alphas[kind] + shift * direction}
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = loss(weights, moved, first)
        virtual = [
            w + MOMENTUM * v - RATE * (g + DECAY * w)
            for w, g, v in zip(
                weights,
                tape.gradient(value, weights, unconnected_gradients="zero"),
                velocities,
                strict=True,
            )
        ]
        return float(loss(virtual, moved, second))

    expected = (after_step(step) - after_step(-step)) / (2 * step)
    np.testing.assert_allclose(
        np.sum(gradients[kind] * direction), expected, rtol=1e-3
    )
    direct, _ = first_order(loss, weights, alphas, second)
    first_only = np.sum(direct[kind] * direction)
    assert abs(first_only - expected) > 1e-2 * abs(expected)
