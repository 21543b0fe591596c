"""The one SuperNet over two streams: search, derive, inherit, save."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras._files import read_rows
from ser_keras.genotype import FUSIONS
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.search.callbacks import ArchitectureLogger
from ser_keras.search.inherit import derive_network
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace

SHAPES = {"handcrafted": (12, 8, 1), "deep": (4, 6, 1)}
SIZES = {
    "handcrafted": {
        "filters": 2,
        "num_cells": 3,
        "recurrent_filters": 4,
        "stem_strides": 2,
    },
    "deep": {"recurrent_filters": 4},
    "fusion_units": 4,
}


def make_space(fusions=FUSIONS):
    return TwoStreamSearchSpace(
        SearchSpace(
            cnn=("max_pool_3x3", "sep_conv_3x3", "none"),
            recurrent=("rnn_1", "skip_connect"),
            num_nodes=1,
        ),
        SearchSpace(cnn=(), recurrent=("rnn_1", "skip_connect"), num_nodes=1),
        fusions,
    )


def make_supernet(fusions=FUSIONS, **arguments):
    return ser.SuperNet(
        make_space(fusions), SHAPES, 3, seed=1, **{**SIZES, **arguments}
    )


def clips(count, seed=0):
    rng = np.random.default_rng(seed)
    x = {
        stream: rng.normal(size=(count, *shape)).astype("float32")
        for stream, shape in SHAPES.items()
    }
    x["handcrafted"][1::3, 8:] = 0
    x["deep"][1::3, 3:] = 0
    return x


def halves(steps=2, batch=4):
    y = np.arange(steps * batch) % 3
    parts = [
        tf.data.Dataset.from_tensor_slices((clips(steps * batch, seed), y))
        for seed in (0, 1)
    ]
    return ser.bilevel(*(p.batch(batch, drop_remainder=True) for p in parts))


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_moves_weights_and_every_alpha(order, tmp_path):
    supernet = make_supernet(stream_dropout=0.2)
    supernet.compile(
        order=order,
        metrics=[ser.UnweightedAverageRecall(3)],
        run_eagerly=order == 2,  # Tracing takes longer than a step.
    )
    assert set(supernet.alphas()) == set(supernet.search_space.kinds)
    before = {k: a.numpy() for k, a in supernet.architecture.alphas.items()}
    weights = [v.numpy() for v in supernet.trainable_variables]
    file = tmp_path / "architecture.jsonl"
    history = supernet.fit(
        halves(1), verbose=0, callbacks=[ArchitectureLogger(file)]
    ).history
    assert set(history) == {"loss", "architecture_loss", "uar"}
    for kind, alpha in supernet.architecture.alphas.items():
        # Adam's first step is its learning rate, whatever the gradient.
        moved = np.abs(alpha.numpy() - before[kind])
        assert 2e-4 < moved.max() < 4e-4, kind
    moved = [
        np.abs(now.numpy() - then).max() > 0
        for then, now in zip(weights, supernet.trainable_variables, strict=True)
    ]
    assert all(moved)
    (row,) = read_rows(file)
    genotype = TwoStreamGenotype.from_dict(row["genotype"])
    assert genotype == supernet.derive()
    assert set(row["entropy"]) == set(supernet.search_space.kinds)


def test_gradients_of_alphas_are_those_of_a_tape():
    """First order, without dropout: one plain tape over the whole network."""
    supernet = make_supernet()
    # A step of 1 without decay: the alphas move by minus their gradient.
    supernet.compile(
        architecture_optimizer=keras.optimizers.SGD(1.0),
        architecture_decay=0.0,
        run_eagerly=True,
    )
    ((_, (x, y)),) = halves(1)
    alphas = {
        kind: tf.convert_to_tensor(alpha)
        for kind, alpha in supernet.architecture.alphas.items()
    }
    state = [v.numpy() for v in supernet.network.non_trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        mixing = {kind: tf.nn.softmax(alpha) for kind, alpha in alphas.items()}
        logits = supernet.network(x, mixing_weights=mixing, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(
            y, logits, from_logits=True
        )
        loss = tf.reduce_mean(losses)
    expected = tape.gradient(loss, alphas)
    for variable, value in zip(
        supernet.network.non_trainable_variables, state, strict=True
    ):
        variable.assign(value)
    history = supernet.fit(halves(1), verbose=0).history
    np.testing.assert_allclose(history["architecture_loss"], [loss], rtol=1e-5)
    for kind, alpha in supernet.architecture.alphas.items():
        assert np.abs(expected[kind]).max() > 1e-4, kind
        # The difference of float32 numbers of about 1e-3.
        np.testing.assert_allclose(
            alphas[kind] - alpha, expected[kind], rtol=1e-3, atol=1e-7
        )


def test_a_single_fusion_is_not_searched():
    supernet = make_supernet(("supplement",))
    assert "fusion" not in supernet.alphas()
    assert supernet.derive().fusion == "supplement"
    assert [h.name for h in supernet.network.fusion.heads] == ["supplement"]


@pytest.mark.parametrize("fusion", ["gating", "supplement"])
def test_inherited_network_is_the_decided_supernet(fusion):
    supernet = make_supernet()
    rng = np.random.default_rng(3)
    for variable in supernet.network.variables:
        if "seed" not in variable.path:
            value = rng.uniform(0.3, 1.0, variable.shape)
            if not variable.path.endswith("variance"):
                value *= rng.choice([-1, 1], variable.shape)
            variable.assign(value)
    genotype = supernet.search_space.sample(3)
    genotype = type(genotype)(genotype.handcrafted, genotype.deep, fusion)
    for kind, alpha in supernet.architecture.alphas.items():
        value = np.zeros(alpha.shape, "float32")
        if kind == "fusion":
            value[0, FUSIONS.index(fusion)] = 40
        else:
            decided = {
                (e.source, e.target): e.op for e in genotype.cells[kind].edges
            }
            edges = supernet.search_space.edges(kind)
            for i, (source, target, names) in enumerate(edges):
                value[i, names.index(decided[source, target])] = 40
        alpha.assign(value)
    assert supernet.derive() == genotype
    network = derive_network(supernet, stream_dropout=0.3)
    assert isinstance(network, TwoStreamNet)
    assert network.stream_dropout == 0.3
    x = clips(4)
    expected = supernet(x).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)


def test_genotypes_and_sizes_that_do_not_fit_are_refused():
    supernet = make_supernet()
    with pytest.raises(ValueError, match="search space"):
        derive_network(supernet, supernet.search_space.sample(0).deep)
    with pytest.raises(ValueError, match="networks of one size"):
        derive_network(supernet, deep={"recurrent_filters": 6})


@pytest.mark.filterwarnings("default")
def test_saved_and_loaded_search_goes_on_identically(tmp_path):
    supernet = make_supernet()
    supernet.compile(keras.optimizers.SGD(0.1, momentum=0.9), run_eagerly=True)
    supernet.fit(halves(1), verbose=0)
    supernet.save(tmp_path / "search.keras")
    loaded = keras.saving.load_model(tmp_path / "search.keras")
    assert loaded.search_space == supernet.search_space
    assert loaded.get_config() == supernet.get_config()
    for model in (supernet, loaded):
        model.fit(halves(1), verbose=0)
    x = clips(4)
    np.testing.assert_allclose(loaded(x), supernet(x), rtol=1e-5, atol=1e-6)
    assert loaded.derive() == supernet.derive()


def test_drop_path_rises_in_both_streams():
    network = TwoStreamNet(
        make_space().sample(0), SHAPES, 3, drop_path_rate=0.4, **SIZES
    )
    (schedule,) = network.training_callbacks(epochs=3)
    schedule.set_model(network)
    schedule.on_epoch_begin(1)
    rates = [
        cell.drop_path.current_rate.numpy()
        for cell in [*network.cells, *network.recurrent_cells]
    ]
    np.testing.assert_allclose(rates, [0.2] * 5)


@keras.saving.register_keras_serializable("tests")
class OtherNetwork(ser.CellNetwork):
    pass


def test_the_network_class_is_an_option(tmp_path):
    space = SearchSpace(cnn=(), recurrent=("rnn_1", "lstm_1"), num_nodes=1)
    options = {"num_cells": 0, "recurrent_filters": 4}
    supernet = ser.SuperNet(
        space, (6, 3, 1), 2, network_class=OtherNetwork, **options
    )
    assert type(supernet.network) is OtherNetwork
    assert type(derive_network(supernet)) is OtherNetwork
    again = ser.SuperNet.from_config(supernet.get_config())
    assert type(again.network) is OtherNetwork
    with pytest.raises(ValueError, match="`network_class` must be"):
        ser.SuperNet(space, (6, 3, 1), 2, network_class="Nowhere", **options)
