"""CNN candidates against standard Keras operations, in double precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.layers import ConvMixedOp
from ser_keras.layers import FactorizedReduce
from ser_keras.layers import PoolNorm
from ser_keras.layers import SeparableConvs

FILTERS = 4
SIZES = [(7, 6), (8, 9), (6, 8), (9, 5)]


def inputs(size=(7, 6), batch=3, dtype="float64"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *size, FILTERS)).astype(dtype)
    return tf.constant(x)


def make(candidates, dtype="float64", **arguments):
    """A mixed operation all of whose weights are random."""
    mixed = ConvMixedOp(candidates, FILTERS, dtype=dtype, **arguments)
    mixed.build((None, None, None, FILTERS))
    rng = np.random.default_rng(1)
    for variable in mixed.weights:
        variable.assign(rng.uniform(0.3, 1.0, variable.shape))
    return mixed


def oracle(op, w, x, strides, training=True):
    """One candidate, as DARTS writes it."""
    ops = keras.ops

    def norm(y, suffix=""):
        mean = ops.mean(y, (0, 1, 2))
        variance = ops.mean((y - mean) ** 2, (0, 1, 2))
        if not training:
            mean = w[f"moving_mean{suffix}"]
            variance = w[f"moving_variance{suffix}"]
        y = (y - mean) / ops.sqrt(variance + 1e-5)
        return y * w.get(f"gamma{suffix}", 1.0) + w.get(f"beta{suffix}", 0.0)

    def pad(y, n, value=0.0):
        return tf.pad(
            y, [[0, 0], [n, n], [n, n], [0, 0]], constant_values=value
        )

    if op == "max_pool_3x3":
        return norm(ops.max_pool(pad(x, 1, -1e30), 3, strides, "valid"))
    if op == "avg_pool_3x3":
        total = ops.average_pool(pad(x, 1), 3, strides, "valid")
        inside = pad(tf.ones_like(x), 1)
        return norm(total / ops.average_pool(inside, 3, strides, "valid"))
    if op == "skip_connect":
        if strides == 1:
            return x
        y = pad(ops.relu(x), 1)[:, 1:, 1:]
        height, width = x.shape[1:3]
        first = ops.matmul(y[:, :height:2, :width:2], w["kernel_0"])
        second = ops.matmul(
            y[:, 1 : height + 1 : 2, 1 : width + 1 : 2], w["kernel_1"]
        )
        return norm(ops.concatenate([first, second], -1))
    size, dilation = int(op[-1]), 2 if op.startswith("dil") else 1
    y = x
    for stage in range(3 - dilation):
        y = pad(ops.relu(y), dilation * (size - 1) // 2)
        y = ops.depthwise_conv(
            y, w[f"depthwise_{stage}"], 1, "valid", dilation_rate=dilation
        )
        # A convolution with strides is one without, read at every second.
        if stage == 0:
            y = y[:, ::strides, ::strides]
        kernel = w[f"pointwise_{stage}"][None, None]
        y = norm(ops.conv(y, kernel, 1, "valid"), f"_{stage}")
    return y


def weights_of(mixed, edge, op):
    values = mixed.get_candidate(edge, op)
    return {k: tf.constant(v) for k, v in values.items()}


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("op", CNN_OPERATIONS[:-1])
def test_candidates_and_gradients_equal_keras(op, strides, affine):
    for size in SIZES:
        x = inputs(size)
        mixed = make([[op]], strides=strides, affine=affine)
        w = weights_of(mixed, 0, op)
        trained = [k for k in w if not k.startswith("moving")]
        with tf.GradientTape() as tape:
            tape.watch([x, *w.values()])
            expected = oracle(op, w, x, strides)
            loss = tf.reduce_sum(tf.sin(expected))
        dx, *dw = tape.gradient(loss, [x] + [w[k] for k in trained])
        with tf.GradientTape() as tape:
            tape.watch(x)
            (output,) = mixed(x, training=True)
            loss = tf.reduce_sum(tf.sin(output))
        variables = mixed.trainable_variables
        got, *gradients = tape.gradient(
            loss, [x] + [v.value for v in variables]
        )
        assert output.shape == (
            3,
            -(-size[0] // strides),
            -(-size[1] // strides),
            4,
        )
        np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(got, dx, rtol=1e-9, atol=1e-9)
        # Read the gradients by the names of the weights they belong to.
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign(gradient)
        named = mixed.get_candidate(0, op)
        for key, value in zip(trained, dw, strict=True):
            np.testing.assert_allclose(
                named[key], value, rtol=1e-9, atol=1e-9, err_msg=key
            )


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_candidates_in_inference(strides, affine):
    for size in SIZES:
        x = inputs(size)
        for op in CNN_OPERATIONS[:-1]:
            mixed = make([[op]], strides=strides, affine=affine)
            w = weights_of(mixed, 0, op)
            expected = oracle(op, w, x, strides, training=False)
            (output,) = mixed(x)
            np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_no_kernel_is_asked_to_dilate(training):
    """oneDNN's has other gradients; others refuse."""
    layer = SeparableConvs(2, 3, 3, dilation=2)
    layer.build((None, None, None, 6))
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 6)).astype("float32")

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
        return tape.gradient(y, [x, *[v.value for v in layer.depthwise]])

    graph = tf.function(gradients).get_concrete_function(tf.constant(x)).graph
    dilations = [
        list(op.get_attr("dilations"))
        for op in graph.get_operations()
        if op.type.startswith("DepthwiseConv2dNative")
    ]
    assert dilations == [[1, 1, 1, 1]] * 3  # Forward, and both gradients.


EDGES = {
    "every edge has every candidate": [list(CNN_OPERATIONS)] * 3,
    "edges differ": [
        ["sep_conv_3x3", "max_pool_3x3"],
        ["max_pool_3x3", "none", "skip_connect", "dil_conv_5x5"],
        ["dil_conv_5x5", "sep_conv_3x3"],
        ["none", "avg_pool_3x3"],
    ],
    "one edge": [["avg_pool_3x3", "dil_conv_3x3", "none"]],
    "orders differ": [
        ["sep_conv_3x3", "skip_connect", "avg_pool_3x3"],
        ["avg_pool_3x3", "sep_conv_3x3", "skip_connect"],
    ],
}


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("candidates", EDGES.values(), ids=EDGES)
def test_mixture_is_the_weighted_sum(candidates, strides, affine):
    x = inputs((7, 8))
    mixed = make(candidates, strides=strides, affine=affine)
    rng = np.random.default_rng(2)
    weights = [tf.constant(rng.uniform(size=len(n))) for n in candidates]
    with tf.GradientTape() as tape:
        tape.watch([x, *weights])
        outputs = mixed(x, weights=weights, training=True)
        loss = sum(tf.reduce_sum(tf.sin(y)) for y in outputs)
    ours = tape.gradient(loss, [x, *weights])
    with tf.GradientTape() as tape:
        tape.watch([x, *weights])
        expected = []
        for edge, names in enumerate(candidates):
            expected.append(0.0)
            for position, op in enumerate(names):
                if op != "none":
                    w = weights_of(mixed, edge, op)
                    term = oracle(op, w, x, strides)
                    expected[edge] += weights[edge][position] * term
        loss = sum(tf.reduce_sum(tf.sin(y)) for y in expected)
    theirs = tape.gradient(loss, [x, *weights])
    for a, b in zip([*outputs, *ours], [*expected, *theirs], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_derived_edges_need_no_weights():
    x = inputs()
    names = [["sep_conv_3x3"], ["none"], ["skip_connect"], ["sep_conv_3x3"]]
    mixed = make(names, affine=True)
    outputs = mixed(x, training=True)
    assert outputs[1] is None
    for edge in (0, 2, 3):
        (op,) = names[edge]
        expected = oracle(op, weights_of(mixed, edge, op), x, 1)
        np.testing.assert_allclose(
            outputs[edge], expected, rtol=1e-9, atol=1e-9
        )
    assert make([["none"]])(x) == [None]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_candidates_can_be_copied(strides, affine):
    candidates = EDGES["edges differ"]
    source = make(candidates, strides=strides, affine=affine)
    target = make(candidates, strides=strides, affine=affine)
    for weight in target.weights:
        weight.assign(weight * 2)
    for edge, names in enumerate(candidates):
        for op in names:
            target.set_candidate(edge, op, source.get_candidate(edge, op))
            again = target.get_candidate(edge, op)
            for key, value in source.get_candidate(edge, op).items():
                np.testing.assert_array_equal(again[key], value)
    for a, b in zip(source.weights, target.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert source.get_candidate(1, "none") == {}
    with pytest.raises(ValueError, match="op='dil_conv_3x3'"):
        source.get_candidate(0, "dil_conv_3x3")
    with pytest.raises(ValueError, match="edge 3"):
        source.set_candidate(3, "skip_connect", {})


def test_a_search_candidate_moves_into_a_derived_edge():
    """Non-affine statistics go along; learned scale starts at one."""
    x = inputs()
    search = make([list(CNN_OPERATIONS)] * 2)
    for op in CNN_OPERATIONS[:-1]:
        derived = ConvMixedOp([[op]], FILTERS, affine=True, dtype="float64")
        derived.build((None, None, None, FILTERS))
        derived.set_candidate(0, op, search.get_candidate(1, op))
        one_hot = np.eye(8)[CNN_OPERATIONS.index(op)]
        _, expected = search(x, weights=[tf.constant(one_hot)] * 2)
        np.testing.assert_allclose(derived(x)[0], expected, atol=1e-9)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("length", [1, 4, 5])
@pytest.mark.parametrize("op", CNN_OPERATIONS[:-1])
def test_padding_is_as_if_it_were_not_there(op, length, strides):
    """Longer padding leaves real frames alone; so do other clips."""
    rng = np.random.default_rng(3)
    mixed = make([[op, "none"]], strides=strides)
    weights = [tf.constant([0.7, 0.3], "float64")]
    clip = rng.normal(size=(1, length, 6, FILTERS))
    (expected,) = mixed(tf.constant(clip), weights=weights)
    for padding in (0, 1, 4, 7):
        total = length + padding
        x = np.zeros((3, total, 6, FILTERS))
        x[0] = rng.normal(size=x[0].shape)
        x[1, :length] = clip
        x[2, 0] = 1.0
        mask = np.arange(total) < np.array([[total], [length], [1]])
        (output,) = mixed(x, weights=weights, mask=tf.constant(mask))
        real = -(-length // strides)
        np.testing.assert_allclose(
            output[1, :real], expected[0], rtol=1e-9, atol=1e-9
        )
        np.testing.assert_array_equal(output[1, real:], 0)
        np.testing.assert_array_equal(output[2, 1:], 0)


@pytest.mark.parametrize("strides", [1, 2])
def test_unknown_length_and_graph(strides):
    mixed = make([list(CNN_OPERATIONS)] * 2, "float32", strides=strides)
    x = inputs((9, 7), dtype="float32")
    weights = [tf.fill([8], 1 / 8)] * 2
    spec = tf.TensorSpec((None, None, 7, FILTERS))
    function = tf.function(
        lambda x: mixed(x, weights=weights), input_signature=[spec]
    )
    for length in (5, 8, 9):
        part = x[:, :length]
        expected = mixed(part, weights=weights)
        for a, b in zip(function(part), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="mode='min'"):
        PoolNorm("min")


def test_odd_numbers_of_filters():
    """The two halves of a factorised reduction differ then."""
    layer = FactorizedReduce(5, dtype="float64")
    x = inputs((5, 4))
    y = layer(x, training=True)
    assert y.shape == (3, 3, 2, 5)
    w = {k: tf.constant(v) for k, v in layer.get_edge(0).items()}
    expected = oracle("skip_connect", w, x, 2)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


def test_a_reduction_keeps_the_size_it_knows():
    """The next cell needs the number of bands to know its own."""
    layer = FactorizedReduce(6)
    spec = tf.TensorSpec((None, None, 7, 4), "float32")
    traced = tf.function(layer).get_concrete_function(spec)
    assert traced.output_shapes.as_list() == [None, None, 4, 6]
    x = inputs((5, 7), dtype="float32")
    np.testing.assert_allclose(traced(x), layer(x), rtol=1e-6, atol=1e-6)


def test_mixed_precision():
    weights = [tf.fill([8], 1 / 8)] * 2
    candidates = [list(CNN_OPERATIONS)] * 2
    x = inputs((8, 7), dtype="float32")
    for training in (False, True):
        keras.utils.set_random_seed(0)
        half = ConvMixedOp(candidates, FILTERS, dtype="mixed_bfloat16")
        half.build(x.shape)
        exact = ConvMixedOp(candidates, FILTERS)
        exact.build(x.shape)
        exact.set_weights(half.get_weights())
        outputs = half(x, weights=weights, training=training)
        expected = exact(x, weights=weights, training=training)
        for a, b in zip(outputs, expected, strict=True):
            assert a.dtype == tf.bfloat16
            np.testing.assert_allclose(tf.cast(a, "float32"), b, atol=0.06)
