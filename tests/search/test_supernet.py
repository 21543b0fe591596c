"""The bilevel search step as `fit` runs it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.search.schedules import DelayedStart
from ser_keras.training.runtime import strategy

# Few candidates: what takes time here is tracing. Each of them has tests of its
# own in tests/layers.
CNN = ("max_pool_3x3", "sep_conv_3x3", "none")
RECURRENT = ("lstm_1", "skip_connect", "none")


def make_supernet(cnn=CNN, recurrent=RECURRENT, **arguments):
    space = ser.SearchSpace(cnn, recurrent, num_nodes=1)
    return ser.SuperNet(
        space,
        (16, 8, 1),
        3,
        seed=1,
        filters=2,
        num_cells=3 if cnn else 0,
        num_recurrent_cells=1 if recurrent else 0,
        recurrent_filters=4,
        **arguments,
    )


def halves(steps=3, batch=4):
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(2):
        x = rng.normal(size=(steps * batch, 16, 8, 1)).astype("float32")
        x[::3, 11:] = 0
        y = rng.integers(0, 3, steps * batch).astype("int32")
        parts.append(
            tf.data.Dataset.from_tensor_slices((x, y)).batch(
                batch, drop_remainder=True
            )
        )
    return ser.bilevel(*parts)


def state(supernet):
    variables = [
        *supernet.variables,
        *supernet.optimizer.variables,
        *supernet.architecture_optimizer.variables,
    ]
    # Keras does not save the seeds of random layers (`fit_resumable` does).
    return [v.numpy() for v in variables if "seed_generator" not in v.path]


def assert_same(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


def test_alphas_are_no_trainable_variables():
    supernet = make_supernet()
    alphas = {id(a) for a in supernet.architecture.alphas.values()}
    assert len(alphas) == 3
    assert not alphas & {id(v) for v in supernet.trainable_variables}
    assert alphas < {id(v) for v in supernet.variables}
    trained = [v.path for v in supernet.trainable_variables]
    assert trained == [v.path for v in supernet.network.trainable_variables]


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_moves_both(order):
    supernet = make_supernet(("sep_conv_3x3", "none"))
    supernet.compile(order=order)
    alphas = [a.numpy() for a in supernet.architecture.alphas.values()]
    weights = [v.numpy() for v in supernet.trainable_variables]
    history = supernet.fit(halves(1), verbose=0).history
    assert set(history) == {"loss", "architecture_loss"}
    for before, after in zip(
        alphas, supernet.architecture.alphas.values(), strict=True
    ):
        # Adam's first step is its learning rate, whatever the gradient.
        moved = np.abs(after.numpy() - before)
        assert 2e-4 < moved.max() < 4e-4
    moved = [
        np.abs(after.numpy() - before).max() > 0
        for before, after in zip(
            weights, supernet.trainable_variables, strict=True
        )
    ]
    assert all(moved)


def test_first_step_of_weights_is_clipped_sgd():
    supernet = make_supernet()
    supernet.compile(
        keras.optimizers.SGD(0.5),
        architecture_optimizer=keras.optimizers.SGD(0.0),
        clip_norm=0.01,
        weight_decay=0.1,
    )
    (x, y), _ = next(iter(halves(1)))
    twin = make_supernet()
    twin.set_weights(supernet.get_weights())
    with tf.GradientTape() as tape:
        value = keras.losses.sparse_categorical_crossentropy(
            y, twin(x, training=True), from_logits=True
        )
        value = tf.reduce_mean(value)
    weights = [v.value for v in twin.trainable_variables]
    gradients = [
        g + 0.1 * w
        for g, w in zip(tape.gradient(value, weights), weights, strict=True)
    ]
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients))
    assert norm > 0.01
    expected = [
        w - 0.5 * 0.01 / norm * g
        for w, g in zip(weights, gradients, strict=True)
    ]
    history = supernet.fit(halves(1), verbose=0).history
    np.testing.assert_allclose(history["loss"], [value], rtol=1e-5)
    assert_same(
        [v.numpy() for v in supernet.trainable_variables],
        expected,
        rtol=1e-4,
        atol=1e-6,
    )


def test_alphas_are_constant_during_warm_up(eager_training):
    supernet = make_supernet(cnn=())
    supernet.compile(
        architecture_optimizer=keras.optimizers.Adam(DelayedStart(0.1, 3)),
    )
    before = supernet.alphas()
    supernet.fit(halves(3), verbose=0)
    assert supernet.alphas() == before
    supernet.fit(halves(1), verbose=0)
    assert supernet.alphas() != before


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((4, 16, 8, 1), "float32"),
        tf.data.Dataset.from_tensors((np.zeros((4, 16, 8, 1)), [0] * 4)),
    ],
)
def test_fit_explains_what_data_it_needs(data):
    supernet = make_supernet(cnn=())
    supernet.compile()
    with pytest.raises(ValueError, match="bilevel"):
        supernet.fit(data)


def test_wrong_order_and_float16_are_refused():
    supernet = make_supernet(cnn=())
    with pytest.raises(ValueError, match="`order` must be 1 or 2"):
        supernet.compile(order=3)
    supernet = make_supernet(cnn=(), dtype="mixed_float16")
    with pytest.raises(ValueError, match="mixed_bfloat16"):
        supernet.compile()


def test_search_in_mixed_precision(eager_training):
    """By the argument alone; the alphas stay in float32."""
    supernet = make_supernet(cnn=(), recurrent=("rnn_1", "none"))
    half = make_supernet(
        cnn=(), recurrent=("rnn_1", "none"), dtype="mixed_bfloat16"
    )
    assert half.network.recurrent_cells[0].compute_dtype == "bfloat16"
    assert half.architecture.alphas["recurrent"].dtype == "float32"
    assert half.alphas() == supernet.alphas()
    half.set_weights(supernet.get_weights())
    before = np.array(supernet.alphas()["recurrent"])
    steps = []
    for model in (supernet, half):
        model.compile(architecture_optimizer=keras.optimizers.SGD(1.0))
        model.fit(halves(1), verbose=0)
        steps.append(model.alphas()["recurrent"] - before)
    error = np.linalg.norm(steps[1] - steps[0]) / np.linalg.norm(steps[0])
    assert 0 < error < 0.1
    again = ser.SuperNet.from_config(half.get_config())
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.network.dtype_policy.name == "mixed_bfloat16"
    network = ser.search.derive_network(half)
    assert network.recurrent_cells[0].compute_dtype == "bfloat16"


def test_search_that_was_not_compiled_is_saved(tmp_path):
    supernet = make_supernet(cnn=(), recurrent=("rnn_1", "none"))
    supernet.save(tmp_path / "search.keras")
    loaded = keras.saving.load_model(tmp_path / "search.keras")
    assert not loaded.compiled
    x = next(iter(halves(1)))[0][0]
    np.testing.assert_array_equal(loaded(x), supernet(x))


def test_metrics_are_of_the_weight_half(eager_training):
    supernet = make_supernet(cnn=())
    supernet.compile(metrics=[ser.UnweightedAverageRecall(3)])
    dataset = halves(2)
    logs = supernet.fit(dataset, verbose=0).history
    assert set(logs) == {"loss", "architecture_loss", "uar"}
    data = dataset.map(lambda weights, architecture: weights)
    logs = supernet.evaluate(data, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "uar"}
    y = np.concatenate([y for _, y in data])
    predicted = supernet.predict(data, verbose=0).argmax(-1)
    recalls = [np.mean(predicted[y == c] == c) for c in range(3)]
    np.testing.assert_allclose(logs["uar"], np.mean(recalls), rtol=1e-6)


@pytest.mark.filterwarnings("default")
def test_saved_and_loaded_search_goes_on_identically(tmp_path):
    supernet = make_supernet((), ("rnn_1", "none"))
    supernet.compile(
        keras.optimizers.SGD(DelayedStart(0.1, 1), momentum=0.9),
        order=2,
        clip_norm=1.0,
        weight_decay=0.01,
        architecture_decay=0.1,
    )
    supernet.fit(halves(2), verbose=0)
    supernet.save(tmp_path / "search.keras")
    loaded = keras.saving.load_model(tmp_path / "search.keras")
    x = next(iter(halves(1)))[0][0]
    np.testing.assert_array_equal(loaded(x), supernet(x))
    assert loaded.order == 2
    assert loaded.clip_norm == 1.0
    assert loaded.weight_decay == 0.01
    assert loaded.architecture_decay == 0.1
    assert loaded.derive() == supernet.derive()
    supernet.reset_metrics()
    loaded.reset_metrics()
    assert_same(state(loaded), state(supernet), rtol=0)
    assert loaded.optimizer.iterations.numpy() == 2
    assert loaded.architecture_optimizer.iterations.numpy() == 2
    for model in (supernet, loaded):
        model.fit(halves(2), verbose=0)
    assert_same(state(loaded), state(supernet), rtol=1e-6, atol=1e-7)


def search(
    scope,
    order,
    arguments=None,
    metrics=True,
    batch=4,
    rate=0.5,
    validation_data=None,
    **compile_arguments,
):
    keras.utils.set_random_seed(0)
    with scope:
        supernet = make_supernet(**(arguments or {}))
        supernet.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            keras.optimizers.SGD(rate),
            order=order,
            clip_norm=1.0,
            metrics=[ser.UnweightedAverageRecall(3)] if metrics else None,
            **compile_arguments,
        )
    start = state(supernet)
    history = supernet.fit(
        halves(3, batch), verbose=0, validation_data=validation_data
    ).history
    return supernet, start, history


def validation(clips=13):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(clips, 16, 8, 1)).astype("float32")
    y = rng.integers(0, 3, clips)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


REPLICAS = {
    # Tracing for two replicas takes minutes in a larger space. After the
    # alphas' gradient, which they differ in, both orders are one step.
    "first order, uneven": (
        1,
        {"cnn": (), "recurrent": ("rnn_1", "skip_connect")},
        5,
        0.5,
    ),
    "second order, CNN": (
        2,
        {"cnn": ("avg_pool_3x3", "none"), "recurrent": ()},
        4,
        # Its finite difference divides what rounding adds by epsilon.
        0.02,
    ),
    "second order, recurrent, uneven": (
        2,
        {"cnn": (), "recurrent": ("rnn_1", "none")},
        5,
        2.0,
    ),
}


@pytest.mark.parametrize(
    ("order", "arguments", "batch", "rate"), REPLICAS.values(), ids=REPLICAS
)
def test_two_replicas_search_like_one(
    order, arguments, batch, rate, monkeypatch
):
    """Batches of 5 are 3 and 2, and the 13 validated clips 8, then 3 and 2.

    Without the kinks of ReLU, on whose other side rounding may push a unit.
    One device needs no graph, which takes longer than its three steps.
    """
    monkeypatch.setattr(tf.nn, "relu", tf.nn.softplus)
    options = {"batch": batch, "rate": rate, "validation_data": validation()}
    one, start, logs = search(
        strategy("none").scope(), order, arguments, run_eagerly=True, **options
    )
    two, same, other_logs = search(
        strategy("mirrored").scope(), order, arguments, **options
    )
    assert strategy("mirrored").num_replicas_in_sync == 2
    assert_same(start, same, rtol=0)
    before = make_supernet(**arguments).alphas()  # Of the same seed.
    for kind, alphas in one.alphas().items():
        assert np.abs(np.subtract(alphas, before[kind])).max() > 1e-3
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(
            np.array(a.value), np.array(b.value), atol=1e-5, err_msg=a.path
        )
        copies = getattr(b.value, "values", [b.value])
        for copy in copies:
            np.testing.assert_array_equal(copies[0], copy, err_msg=b.path)
    assert set(logs) == set(other_logs)
    assert {"loss", "uar", "architecture_loss", "val_loss", "val_uar"} == set(
        logs
    )
    for name in logs:
        np.testing.assert_allclose(
            logs[name], other_logs[name], rtol=1e-5, err_msg=name
        )


def test_two_replicas_without_metrics():
    arguments = {"cnn": (), "recurrent": ("rnn_1", "none")}
    for name in ("none", "mirrored"):
        _, _, logs = search(
            strategy(name).scope(),
            1,
            arguments,
            metrics=False,
            run_eagerly=name == "none",
        )
        assert set(logs) == {"loss", "architecture_loss"}


def test_validated_metrics_are_of_all_clips():
    """Not the mean of what each replica's clips give."""
    with strategy("mirrored").scope():
        supernet = make_supernet(cnn=(), recurrent=("rnn_1", "none"))
        supernet.compile(metrics=[ser.UnweightedAverageRecall(3), "accuracy"])
    (x, _), _ = next(iter(halves(1, 13)))
    predicted = (
        supernet.network(x, supernet.architecture.mixing_weights())
        .numpy()
        .argmax(-1)
    )
    # Two right, both in the second replica's six: (0/7 + 2/6) / 2 is wrong.
    y = (predicted + 1) % 3
    y[-2:] = predicted[-2:]
    data = tf.data.Dataset.from_tensors((x, y))
    logs = supernet.evaluate(data, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "uar", "accuracy"}
    np.testing.assert_allclose(logs["accuracy"], 2 / 13, rtol=1e-6)
    recalls = [
        np.mean(predicted[y == c] == c) for c in range(3) if (y == c).any()
    ]
    np.testing.assert_allclose(logs["uar"], np.mean(recalls), rtol=1e-6)
    listed = supernet.evaluate(data, verbose=0)
    np.testing.assert_allclose(sorted(listed), sorted(logs.values()), rtol=1e-6)


def test_class_weights_belong_to_the_loss():
    supernet = make_supernet(cnn=())
    supernet.compile()
    with pytest.raises(ValueError, match="class_weights="):
        supernet.fit(halves(1), class_weight={0: 2.0}, verbose=0)


def test_exported_after_a_search(tmp_path, eager_training):
    supernet = make_supernet(cnn=(), recurrent=("rnn_1", "none"))
    supernet.compile()
    supernet.fit(halves(1), verbose=0)
    supernet.export(tmp_path / "search", verbose=False)
    served = tf.saved_model.load(tmp_path / "search")
    x = next(iter(halves(1)))[0][0]
    np.testing.assert_allclose(
        served.serve(x), supernet(x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "arguments",
    [{"cnn": ("avg_pool_3x3", "none"), "recurrent": ()}, {"cnn": ()}],
    ids=["cnn", "recurrent"],
)
def test_compiled_by_xla(arguments):
    scope = strategy("none").scope
    plain, _, _ = search(scope(), 1, arguments, run_eagerly=True)
    compiled, _, _ = search(scope(), 1, arguments, jit_compile=True)
    for a, b in zip(plain.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(
            a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5, err_msg=a.path
        )
