"""Recurrent mixed operations against standard Keras layers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.layers import RecurrentMixedOp
from ser_keras.layers import register_primitive

STACKS = [f"{cell}_{n}" for cell in ("lstm", "rnn") for n in (1, 2, 3, 4)]
ATTENTION = [f"{cell}_att_{n}" for cell in ("lstm", "rnn") for n in (1, 2)]
ALL = [*STACKS, *ATTENTION, "skip_connect", "none"]
FILTERS = 3
LENGTHS = np.array([6, 4, 1])
MASK = np.arange(6) < LENGTHS[:, None]


def inputs(dtype="float64"):
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 6, FILTERS)).astype(dtype)


def make(candidates, **arguments):
    """A mixed operation whose every weight is random, biases as well."""
    arguments = {"dtype": "float64", "filters": FILTERS, **arguments}
    mixed = RecurrentMixedOp(candidates, **arguments)
    mixed.build((None, None, mixed.filters))
    rng = np.random.default_rng(1)
    for variable in mixed.weights:
        if variable.dtype.startswith("float"):
            variable.assign(rng.normal(scale=0.5, size=variable.shape))
    return mixed


def recurrent_layer(op, weights, prefix, backwards=False):
    kind = keras.layers.LSTM if "lstm" in op else keras.layers.SimpleRNN
    layer = kind(
        FILTERS,
        return_sequences=True,
        return_state=True,
        go_backwards=backwards,
        dtype="float64",
    )
    kernel = weights[prefix + "kernel"]
    layer.build((None, None, len(kernel)))
    names = ("kernel", "recurrent_kernel", "bias")
    layer.set_weights([weights[prefix + name] for name in names])
    return layer


def oracle(op, weights, x):
    """Clips without padding, `(clips, time, filters)`, by Keras' own layers.

    Returns:
        The output and the Keras layers whose weights were used, in order.
    """
    y = x
    layers = []
    if op in STACKS:
        for n in range(1, int(op[-1]) + 1):
            layer = recurrent_layer(op, weights, f"layer_{n}/")
            layers.append((f"layer_{n}/", layer))
            y = layer(y)[0]
        return y, layers
    for n in range(1, int(op[-1]) + 1):
        ends, ways = [], []
        for way in ("forward", "backward"):
            prefix = f"layer_{n}/{way}/"
            layer = recurrent_layer(op, weights, prefix, way == "backward")
            layers.append((prefix, layer))
            sequence, end, *_ = layer(y)
            ways.append(sequence if way == "forward" else sequence[:, ::-1])
            ends.append(end)
        y = tf.concat(ways, -1)
    steps = y.shape[1]
    last = tf.tile(tf.concat(ends, -1)[:, None], [1, steps, 1])

    def dense(name, z):
        layer = keras.layers.Dense(
            weights[f"{name}/bias"].shape[0], dtype="float64"
        )
        layer.build(z.shape)
        layer.set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
        layers.append((f"{name}/", layer))
        return layer(z)

    scores = dense("score", tf.concat([last, y], -1))
    context = tf.reduce_sum(tf.nn.softmax(scores, axis=1) * y, 1)
    context = tf.tile(context[:, None], [1, steps, 1])
    y = dense("combine", tf.concat([y, context], -1))
    return dense("output", y), layers


@pytest.mark.parametrize("op", STACKS + ATTENTION)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_candidate_and_its_gradients_equal_keras_layers(op, mask):
    # Two edges, so that a unit in the wrong place shows.
    mixed = make([["rnn_1"], [op]])
    weights = mixed.get_candidate(1, op)
    x = tf.constant(inputs())
    # Clips of one length, together.
    parts = [(slice(0, 3), 6)]
    if mask is not None:
        parts = [(slice(i, i + 1), n) for i, n in enumerate(LENGTHS)]
    upstream = np.random.default_rng(2).normal(size=x.shape)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = mixed(x, mask=mask)[1]
        loss = tf.reduce_sum(ours * upstream)
        theirs_loss, expected, made = 0.0, np.zeros(x.shape), []
        for clips, length in parts:
            y, layers = oracle(op, weights, x[clips, :length])
            made.append(layers)
            expected[clips, :length] = y
            theirs_loss += tf.reduce_sum(y * upstream[clips, :length])
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    dx, *gradients = tape.gradient(loss, [x, *mixed.trainable_variables])
    # All at once: each call goes back through all that was recorded.
    names, variables = [], []
    for prefix, layer in itertools.chain(*made):
        parts = ("kernel", "recurrent_kernel", "bias")
        if isinstance(layer, keras.layers.Dense):
            parts = ("kernel", "bias")
        names += [prefix + part for part in parts]
        variables += layer.trainable_variables
    their_dx, *theirs = tape.gradient(theirs_loss, [x, *variables])
    np.testing.assert_allclose(dx, their_dx, atol=1e-9)
    # The gradients of the weights, in the layout of `get_candidate`.
    for variable, gradient in zip(
        mixed.trainable_variables, gradients, strict=True
    ):
        variable.assign(
            tf.zeros_like(variable) if gradient is None else gradient
        )
    ours = mixed.get_candidate(1, op)
    summed = {name: 0.0 for name in ours}
    for name, gradient in zip(names, theirs, strict=True):
        summed[name] += gradient
    for name in ours:
        np.testing.assert_allclose(ours[name], summed[name], atol=1e-9)


@pytest.mark.parametrize("shared", [False, True])
def test_mixing_is_the_weighted_sum_of_single_candidates(shared):
    edges = [ALL, ALL[::-1], ["skip_connect", "lstm_3"], ["none"]]
    mixed = make(edges, shared_stacks=shared)
    rng = np.random.default_rng(3)
    weights = [rng.dirichlet(np.ones(len(names))) for names in edges]
    x = inputs()
    outputs = mixed(x, weights=weights, mask=MASK)
    assert outputs[3] is None
    for edge, names in enumerate(edges[:3]):
        expected = 0.0
        for weight, op in zip(weights[edge], names, strict=True):
            if op == "none":
                continue
            single = make([[op]])
            single.set_candidate(0, op, mixed.get_candidate(edge, op))
            expected += weight * single(x, mask=MASK)[0]
        np.testing.assert_allclose(outputs[edge], expected, atol=1e-12)


def test_gradient_of_the_mixing_weights():
    mixed = make([ALL])
    x, weights = inputs(), tf.fill([len(ALL)], tf.constant(0.1, tf.float64))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(mixed(x, weights=[weights], mask=MASK)[0] ** 2)
    gradient = tape.gradient(loss, weights)
    for k in range(len(ALL)):
        step = 1e-6 * np.eye(len(ALL))[k]
        high, low = (
            np.sum(mixed(x, weights=[weights + s], mask=MASK)[0].numpy() ** 2)
            for s in (step, -step)
        )
        np.testing.assert_allclose(
            gradient[k], (high - low) / 2e-6, rtol=1e-6, atol=1e-7
        )


def test_clips_do_not_touch_each_other():
    mixed = make([ALL], dtype="float32")
    x, weights = inputs("float32"), [np.full(len(ALL), 0.1, "float32")]
    together = mixed(x, weights=weights, mask=MASK)[0].numpy()
    for clip in range(3):
        part = slice(clip, clip + 1)
        alone = mixed(x[part], weights=weights, mask=MASK[part])[0]
        np.testing.assert_allclose(alone, together[part], atol=1e-5)
    order = [2, 0, 1]
    permuted = mixed(x[order], weights=weights, mask=MASK[order])[0]
    np.testing.assert_allclose(permuted, together[order], atol=1e-5)


def test_longer_padding_changes_nothing():
    mixed = make([ALL])
    x, weights = inputs() * MASK[..., None], [np.full(len(ALL), 0.1)]
    short = mixed(x, weights=weights, mask=MASK)[0]
    longer = mixed(
        np.pad(x, [(0, 0), (0, 5), (0, 0)]),
        weights=weights,
        mask=np.pad(MASK, [(0, 0), (0, 5)]),
    )[0]
    np.testing.assert_allclose(longer[:, :6], short, atol=1e-12)
    np.testing.assert_array_equal(longer[:, 6:], 0)
    np.testing.assert_array_equal(short.numpy()[~MASK], 0)


def test_a_clip_without_frames_gives_zeros_and_finite_gradients():
    mixed = make([ALL])
    x = tf.constant(inputs())
    mask = np.zeros((3, 6), bool)
    mask[0] = True
    with tf.GradientTape() as tape:
        y = mixed(x, weights=[np.full(len(ALL), 0.1)], mask=mask)[0]
        loss = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y[1:], 0)
    for gradient in tape.gradient(loss, mixed.trainable_variables):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_equal_eager(jit_compile):
    # tests/as_shipped.py compiles more of them.
    first = ["lstm_att_1", "rnn_2", "none"] if jit_compile else ALL
    mixed = make([first, ["lstm_2", "none"]], dtype="float32")
    x = inputs("float32")
    weights = [np.full(len(first), 0.1, "float32"), np.float32([0.7, 0.3])]

    def gradients(x, mask):
        with tf.GradientTape() as tape:
            outputs = mixed(x, weights=weights, mask=mask, training=True)
            loss = tf.add_n([tf.reduce_sum(y**2) for y in outputs])
        return outputs, tape.gradient(loss, mixed.trainable_variables)

    signature = None
    if not jit_compile:
        signature = [
            tf.TensorSpec((None, None, FILTERS)),
            tf.TensorSpec((None, None), tf.bool),
        ]
    graph = tf.function(
        gradients, signature, autograph=False, jit_compile=jit_compile
    )
    got, expected = graph(x, tf.constant(MASK)), gradients(x, MASK)
    for a, b in zip(
        tf.nest.flatten(got), tf.nest.flatten(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_stateless_call_takes_other_weights():
    mixed = make([["lstm_att_2"]])
    x = inputs()
    doubled = [2 * tf.constant(v) for v in mixed.trainable_variables]
    others = list(mixed.non_trainable_variables)
    [y], _ = mixed.stateless_call(doubled, others, x)
    before = mixed(x)[0].numpy()
    for variable in mixed.trainable_variables:
        variable.assign(2 * variable)
    np.testing.assert_allclose(y, mixed(x)[0], atol=1e-12)
    assert np.abs(y - before).max() > 1e-3


def test_replicas_share_the_weights():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        mixed = RecurrentMixedOp([["lstm_att_1"], ["rnn_2"]], FILTERS)
        mixed.build((None, None, FILTERS))
    x = inputs("float32")

    @tf.function
    def run(x):
        return strategy.run(
            lambda x: tf.stack(mixed(x, training=True)), args=(x,)
        )

    for value in strategy.experimental_local_results(run(x)):
        np.testing.assert_allclose(value, tf.stack(mixed(x)), atol=1e-6)


def test_layer_contract(tmp_path):
    inputs_ = keras.Input((None, FILTERS))
    outputs = RecurrentMixedOp(
        [["lstm_att_2"], ["rnn_3"], ["skip_connect"]],
        FILTERS,
        shared_stacks=True,
        dropout=0.3,
    )(inputs_)
    model = keras.Model(inputs_, outputs)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.layers[1].get_config() == model.layers[1].get_config()
    x = inputs("float32")
    for a, b in zip(model(x), again(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shared_stacks_have_common_first_layers():
    mixed = make([STACKS + ATTENTION], shared_stacks=True)
    layers = mixed.get_candidate(0, "lstm_4")
    for name, value in mixed.get_candidate(0, "lstm_2").items():
        np.testing.assert_array_equal(value, layers[name])
    for cell in ("lstm", "rnn"):
        one, two = (mixed.get_candidate(0, f"{cell}_att_{n}") for n in (1, 2))
        for name, value in one.items():
            # Attention is each candidate's own.
            same = np.array_equal(value, two[name])
            assert same == name.startswith("layer_1/")
    apart = make([STACKS])
    assert not np.array_equal(
        apart.get_candidate(0, "lstm_1")["layer_1/kernel"],
        apart.get_candidate(0, "lstm_2")["layer_1/kernel"],
    )


def test_dropout_only_between_bidirectional_layers_in_training():
    x = inputs()
    for op, drops in [
        ("lstm_att_1", False),
        ("lstm_att_2", True),
        ("lstm_2", False),
    ]:
        mixed = make([[op]], dropout=0.5)
        still, moved = mixed(x)[0], mixed(x, training=True)[0]
        assert np.allclose(still, moved) != drops


def test_user_registered_candidate():
    @register_primitive("masked_mean_test", "recurrent")
    class MaskedMean(keras.layers.Layer):
        def __init__(self, filters):
            super().__init__(dtype="float64")
            self.dense = keras.layers.Dense(filters, dtype="float64")
            self.supports_masking = True

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x, mask=None):
            valid = tf.cast(mask, x.dtype)[..., None]
            mean = tf.reduce_sum(x * valid, 1) / tf.reduce_sum(valid, 1)
            return self.dense(x + mean[:, None])

    mixed = make([["masked_mean_test", "skip_connect"]])
    x = inputs()
    got = mixed(x, weights=[np.array([0.25, 0.5])], mask=MASK)[0]
    mean = np.stack([c[:n].mean(0) for c, n in zip(x, LENGTHS, strict=True)])
    weights = mixed.get_candidate(0, "masked_mean_test")
    expected = 0.5 * x + 0.25 * (
        (x + mean[:, None]) @ weights["0"] + weights["1"]
    )
    np.testing.assert_allclose(got, expected * MASK[..., None], atol=1e-12)


def test_initial_weights_are_those_of_keras_layers():
    mixed = RecurrentMixedOp([["lstm_1", "rnn_att_2"]], 16)
    mixed.build((None, None, 16))
    weights = mixed.get_candidate(0, "lstm_1")
    np.testing.assert_array_equal(
        weights["layer_1/bias"], np.repeat([0, 1, 0, 0], 16)
    )
    recurrent = weights["layer_1/recurrent_kernel"]
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(16), atol=1e-5)
    limit = np.sqrt(6 / (16 + 64))
    kernel = weights["layer_1/kernel"]
    assert 0.9 * limit < np.abs(kernel).max() <= limit


def test_bad_arguments_are_refused():
    mixed = make([["lstm_1", "rnn_1"]])
    with pytest.raises(ValueError, match="`weights` must be given"):
        mixed(inputs())
    with pytest.raises(ValueError, match="`op` must be one of"):
        mixed.get_candidate(0, "lstm_2")
    with pytest.raises(ValueError, match="`values` must have names"):
        mixed.set_candidate(0, "lstm_1", {"kernel": 0.0})
