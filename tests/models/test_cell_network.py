"""The network of cells: independence of clips, saving, precision, errors."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.layers import ArchitectureWeights
from ser_keras.models.cell_network import CellNetwork
from ser_keras.search_space import SearchSpace
from ser_keras.testing import check_model_saving

SMALL = {"filters": 2, "recurrent_filters": 4, "num_classes": 3}
SPACE = SearchSpace(
    recurrent=("lstm_1", "rnn_att_1", "skip_connect", "none"), num_nodes=2
)
OPTIONS = {
    "published": {},
    "projection": {"frequency_pooling": "projection", "stem_strides": 2},
    "three cells": {"num_cells": 3, "pooling": "mean"},
    "no recurrence": {"num_recurrent_cells": 0, "stem_strides": 2},
    "no CNN": {"num_cells": 0, "num_recurrent_cells": 2},
    "three recurrent cells": {"num_recurrent_cells": 3, "num_cells": 3},
    "auxiliary": {"auxiliary_weight": 0.4, "drop_path_rate": 0.2},
    "projection, three cells": {
        "num_cells": 3,
        "frequency_pooling": "projection",
    },
}
options = pytest.mark.parametrize("arguments", OPTIONS.values(), ids=OPTIONS)


def space_of(arguments):
    config = SPACE.get_config()
    if arguments.get("num_cells") == 0:
        config["cnn"] = ()
    if arguments.get("num_recurrent_cells") == 0:
        config["recurrent"] = ()
    return SearchSpace(**config)


def make(searching=False, shape=(None, 9, 1), seed=5, **arguments):
    space = space_of(arguments)
    architecture = space if searching else space.sample(seed)
    network = CellNetwork(architecture, shape, **{**SMALL, **arguments})
    rng = np.random.default_rng(0)
    for variable in network.weights:
        # Statistics and biases as after training.
        if "float" in variable.dtype and len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return network


def clips(lengths=(21, 13, 6, 1), total=21, features=9):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(len(lengths), total, features, 1))
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    return x.astype("float32")


def mixing(network):
    space = network.architecture
    shapes = {
        k: [space.num_edges(k), len(space.candidates(k))] for k in space.kinds
    }
    weights = ArchitectureWeights(shapes, seed=0)
    for alpha in weights.alphas.values():
        alpha.assign(alpha * 1000)
    return weights.mixing_weights()


def predict(network, x, **arguments):
    if isinstance(network.architecture, SearchSpace):
        arguments["mixing_weights"] = mixing(network)
    return np.asarray(network(tf.constant(x), **arguments))


@pytest.mark.parametrize(
    ("name", "searching"),
    [
        *[(name, False) for name in OPTIONS],
        ("published", True),
        ("projection, three cells", True),
        ("no CNN", True),
    ],
)
def test_prediction_depends_on_its_clip_only(name, searching):
    """In float64 up to the logits, so that rounding is no excuse."""
    network = make(searching, dtype="float64", **OPTIONS[name])
    x = clips().astype("float64")
    together = predict(network, x)
    assert np.ptp(together, 0).max() > 1e-3
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(
        predict(network, x[order]), together[order], atol=1e-6
    )
    for i, length in ((1, 13), (2, 6)):
        for total in (length, 24):
            alone = np.zeros((1, total, 9, 1), "float64")
            alone[0, :length] = x[i, :length]
            np.testing.assert_allclose(
                predict(network, alone)[0], together[i], atol=1e-6
            )


@options
def test_saving(arguments, tmp_path):
    network = make(**arguments)
    x = clips()
    copy = check_model_saving(network, x, tmp_path / "network.keras")
    assert copy.architecture == network.architecture
    config = json.loads(json.dumps(network.get_config()))
    assert CellNetwork.from_config(config).get_config() == network.get_config()


def test_saving_a_supernet(tmp_path):
    arguments = {"num_cells": 3, "frequency_pooling": "projection"}
    supernet, x = make(True, **arguments), clips((9, 5), 9)
    supernet.save(tmp_path / "space.keras")
    copy = keras.saving.load_model(tmp_path / "space.keras")
    assert copy.architecture == supernet.architecture
    np.testing.assert_allclose(
        predict(copy, x), predict(supernet, x), atol=1e-6
    )


def test_few_features_are_reduced_in_time():
    for features, strides in ((1, 1), (2, 1), (4, 2)):
        network = make(shape=(None, features, 1), stem_strides=strides)
        assert predict(network, clips(features=features)).shape == (4, 3)


def test_reductions_halve_time_and_frequency():
    network = make(shape=(40, 16, 1), num_cells=6)
    assert network.reductions == (2, 4)
    kinds = [cell.kind for cell in network.cells]
    assert [i for i, k in enumerate(kinds) if k == "reduce"] == [2, 4]
    assert [cell.filters for cell in network.cells] == [2, 2, 4, 4, 8, 8]
    sequence, mask, auxiliary = network.encode(
        clips((40, 9), 40, 16), training=False
    )
    assert sequence.shape == (2, 10, 8)
    assert np.sum(mask, 1).tolist() == [10, 3]
    assert auxiliary is None


def test_masking_can_be_switched_off():
    x = clips((21, 21))
    on = make()
    off = make(masking=False)
    off.set_weights(on.get_weights())
    np.testing.assert_allclose(predict(on, x), predict(off, x), atol=5e-5)
    x[1, 10:] = 0
    difference = np.abs(predict(on, x) - predict(off, x))
    assert difference[0].max() < 5e-5 < 1e-3 < difference[1].max()


def test_auxiliary_loss(eager_training):
    network = make(auxiliary_weight=0.4)
    network.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x, y = clips(), np.array([0, 1, 2, 1])
    outputs = network(x, training=True)
    assert set(outputs) == {"logits", "auxiliary"}

    def crossentropy(logits, weights=1.0):
        probabilities = tf.nn.softmax(logits).numpy()
        return np.mean(-np.log(probabilities[range(4), y]) * weights)

    logits, auxiliary = outputs["logits"], outputs["auxiliary"]
    expected = crossentropy(logits) + 0.4 * crossentropy(auxiliary)
    loss = network.compute_loss(x, y, outputs)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    w = np.float32([1, 0, 3, 0.5])
    expected = crossentropy(logits, w) + 0.4 * crossentropy(auxiliary, w)
    loss = network.compute_loss(x, y, outputs, w)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert network(x).shape == (4, 3)
    evaluated = network.evaluate(x, y, verbose=0, return_dict=True)
    expected = crossentropy(network(x))
    np.testing.assert_allclose(evaluated["loss"], expected, rtol=1e-5)
    before = network.auxiliary.kernel.numpy()
    history = network.fit(x, y, batch_size=4, epochs=1, verbose=0).history
    assert set(history) == {"loss", "accuracy"}
    assert np.abs(network.auxiliary.kernel.numpy() - before).max() > 1e-5


def test_mixed_precision(tmp_path, eager_training):
    """By the argument alone; that it reaches every layer is tested for all."""
    exact = make()
    x = clips()
    config = {**exact.get_config(), "dtype": "mixed_bfloat16"}
    half = CellNetwork.from_config(config)
    half.set_weights(exact.get_weights())
    outputs = half(x)
    loaded = check_model_saving(half, x, tmp_path / "half.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    half.compile("sgd", "mse")
    half.fit(x, np.zeros((4, 3)), verbose=0)
    assert half.cells[0].compute_dtype == "bfloat16"
    assert outputs.dtype == tf.float32
    # Layer norms over four channels magnify the rounding of a few outputs.
    difference = np.abs(outputs - predict(exact, x))
    assert difference.mean() < 0.06
    assert difference.max() < 0.3
    assert all(w.dtype != "bfloat16" for w in half.weights)


def test_frozen_network_is_frozen_when_it_is_loaded(tmp_path):
    network = make()
    assert network.trainable_variables
    network.trainable = False
    network.save(tmp_path / "frozen.keras")
    loaded = keras.saving.load_model(tmp_path / "frozen.keras")
    assert not loaded.trainable
    assert not loaded.trainable_variables


def test_dropout_between_stacked_layers_is_an_argument():
    space = SearchSpace((), ("lstm_att_2",), num_nodes=1)
    x = clips((21,))

    def outputs(**arguments):
        keras.utils.set_random_seed(0)
        network = CellNetwork(
            space.sample(0), (None, 9, 1), num_cells=0, **SMALL, **arguments
        )
        return np.stack([network(x, training=True) for _ in range(2)])

    without = outputs(stack_dropout=0.0)
    np.testing.assert_array_equal(without[0], without[1])
    published = outputs()
    assert np.abs(published[0] - published[1]).max() > 1e-4
    np.testing.assert_array_equal(published, outputs(stack_dropout=0.3))


def test_training_callbacks_are_the_network_s_own():
    assert make().training_callbacks(3) == []
    network = make(drop_path_rate=0.4, num_cells=3)
    (schedule,) = network.training_callbacks(epochs=3)
    schedule.set_model(network)
    schedule.on_epoch_begin(1)
    rates = [
        float(cell.drop_path.current_rate.value)
        for cell in [*network.cells, *network.recurrent_cells]
    ]
    np.testing.assert_allclose(rates, 0.2)


def test_input_shape_has_a_batch_axis_as_in_keras():
    network = make(num_cells=3)
    assert network.input_shape == (None, None, 9, 1)
    model = keras.Sequential([network, keras.layers.Softmax()])
    assert model.output_shape == (None, 3)


def test_compiled_by_xla():
    space = SearchSpace(("sep_conv_3x3", "max_pool_3x3"), ("lstm_1",), 1)
    network = CellNetwork(space.sample(0), (8, 9, 1), num_cells=3, **SMALL)
    x = clips((8, 5), 8)
    y = np.array([0, 2])
    weights = network.get_weights()
    results = []
    for jit in (False, True):
        network.set_weights(weights)
        network.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit,
            run_eagerly=not jit,
        )
        loss = network.fit(x, y, verbose=0).history["loss"][0]
        answers = network.predict(x, verbose=0)
        results.append((loss, answers, network.get_weights()))
    (loss, answers, trained), compiled = results
    np.testing.assert_allclose(loss, compiled[0], rtol=1e-4)
    np.testing.assert_allclose(answers, compiled[1], atol=1e-3)
    for a, b in zip(trained, compiled[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert np.abs(trained[0] - weights[0]).max() > 1e-3


GENOTYPE = SPACE.sample(0)
SHAPE = (20, 9, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "normal"}, "`architecture` must be"),
        ({"architecture": {"version": 9, "cells": {}}}, "version"),
        ({"input_shape": (20, 9)}, "`input_shape` must be"),
        ({"input_shape": (20, None, 1)}, "`input_shape` must be"),
        ({"num_classes": 0}, "`num_classes` must be"),
        ({"filters": 2.5}, "`filters` must be"),
        ({"recurrent_filters": -1}, "`recurrent_filters` must be"),
        ({"stem_strides": 3}, "`stem_strides` must be"),
        ({"frequency_pooling": "max"}, "`frequency_pooling` must be"),
        ({"pooling": "last"}, "`pooling` must be"),
        ({"num_cells": 2}, "`num_cells` must be"),
        ({"num_cells": -3}, "`num_cells` must be"),
        ({"num_recurrent_cells": -1}, "`num_recurrent_cells` must be"),
        ({"num_cells": 0}, "has a 'normal' cell"),
        ({"num_recurrent_cells": 0}, "has a 'recurrent' cell"),
        ({"dropout": 1.5}, "dropout` must be"),
        ({"cell_dropout": -0.5}, "dropout` must be"),
        ({"stack_dropout": 1.0}, "`stack_dropout` must be"),
        ({"drop_path_rate": 1.0}, "`drop_path_rate` must be"),
        ({"auxiliary_weight": -1.0}, "`auxiliary_weight` must be"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    config = {
        "architecture": GENOTYPE,
        "input_shape": SHAPE,
        **SMALL,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        CellNetwork(**config)


def test_network_without_a_cell_of_its_genotype_raises():
    pure = SearchSpace(recurrent=(), num_nodes=2).sample(0)
    with pytest.raises(ValueError, match="has no 'recurrent' cell"):
        CellNetwork(pure, SHAPE, **SMALL)


def test_the_published_size():
    """Of the LSTM subset: 14 edges of 1 + 2 + 3 + 4 layers in each of 4 cells.

    The papers count 74.0 M, with the second bias of PyTorch.
    """
    network = CellNetwork(
        SearchSpace.emodarts("lstm"),
        (128, 128, 1),
        num_classes=4,
        filters=8,
        num_cells=4,
        num_recurrent_cells=4,
        recurrent_filters=128,
    )
    layer = 4 * 128 * (128 + 128 + 1)
    counts = [cell.count_params() for cell in network.recurrent_cells]
    assert counts == [14 * 10 * layer] * 4
    assert [cell.filters for cell in network.cells] == [8, 16, 32, 32]
