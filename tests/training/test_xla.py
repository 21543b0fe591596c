"""Every training step is one program of static shapes, as TPUs need.

No TPU is used: XLA compiles for the CPU, from the same graphs.
"""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import config_class
from ser_keras.experiments.registry import system_class
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.genotype import FUSIONS
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.training import fit
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime
from tests.conftest import train_eagerly

LABELS = ("anger", "neutral")
# Dynamic in every graph, and in no program: room that kernels of GPUs may
# use, and the axes along which a gradient is summed, which XLA computes.
SCRATCH = ("FusedBatchNormV3", "BroadcastGradientArgs")
PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")


def nodes(function):
    """All nodes of a concrete function and of those that it calls."""
    found = function.graph.as_graph_def(add_shapes=True)
    yield from found.node
    for called in found.library.function:
        yield from called.node_def


def check_step(step, batch):
    """Checks the graph of a step, and the program that XLA makes of it.

    Args:
        step: Function of a batch.
        batch: Tensors, nested.

    Returns:
        Names of the ops that have an output of a dynamic shape, and the types
        in the program that have one, such as `"f32[<=8,2]"`.
    """
    function = tf.function(step, autograph=False, jit_compile=True)
    dynamic, count = set(), 0
    for node in nodes(function.get_concrete_function(batch)):
        count += 1
        assert node.op not in PYTHON, node.name
        types = [value.type for value in node.attr.values()]
        assert tf.string.as_datatype_enum not in types, node.name
        unknown = [
            shape
            for shape in node.attr["_output_shapes"].list.shape
            if not tf.TensorShape(shape).is_fully_defined()
        ]
        # Zeros are as dynamic as what they are the gradient of.
        if unknown and node.op != "ZerosLike":
            dynamic.add(node.op)
    program = function.experimental_get_compiler_ir(batch)(stage="hlo")
    assert count
    assert "ROOT" in program
    bounded = re.findall(r"\w+\[[\d,<=?]*[<?][\d,<=?]*\]", program)
    return dynamic - {*SCRATCH}, bounded


def test_dynamic_shapes_strings_and_python_are_found():
    x = tf.constant([1.0, 0.0])
    dynamic, bounded = check_step(lambda x: tf.boolean_mask(x, x > 0), x)
    assert "GatherV2" in dynamic
    assert "f32[<=2]" in bounded
    assert check_step(lambda x: tf.abs(x), x) == (set(), [])
    for step in (lambda x: tf.strings.as_string(x), _by_python):
        with pytest.raises(AssertionError):
            check_step(step, x)


def _by_python(x):
    return tf.numpy_function(np.abs, [x], tf.float32)


def clips(sizes, speakers="abcd", each=4):
    """Noise as features, or as streams if there are several sizes."""
    rng = np.random.default_rng(0)
    manifest = Manifest(
        [
            Utterance(f"{s}{i}", "x.wav", LABELS[i % 2], s)
            for s in speakers
            for i in range(each)
        ],
        LABELS,
    )
    sets = {
        name: FeatureSet(
            manifest,
            [
                rng.normal(size=(frames + i % 3, width)).astype("float32")
                for i in range(len(manifest))
            ],
            frame_rate=float(frames),
        )
        for name, (frames, width) in sizes.items()
    }
    return FeatureStreams(sets) if len(sets) > 1 else next(iter(sets.values()))


@pytest.mark.parametrize("name", SYSTEMS)
def test_training_of_each_system(name, monkeypatch, tmp_path):
    """Its network, data, augmentation, loss, metrics and optimiser.

    Without XLA a step is eager: a graph takes longer than the few steps.
    """
    config = config_class(name)(smoke=True).resolved()
    if name == "hand_made":  # With CNN cells it is emodarts' network.
        config = dataclasses.replace(config, network="lstm_attention")
    if name == "encoder":  # The other head has no steps.
        config = dataclasses.replace(config, head="attentive")
    # XLA draws other random numbers than the kernels it takes the place of.
    off = ("dropout", "drop_path_rate", "stream_dropout")
    config = dataclasses.replace(
        config, smoke=False, **{x: 0.0 for x in off if hasattr(config, x)}
    )
    experiment = system_class(name)(config)
    # As in a run. An encoder is made here, which draws random numbers.
    experiment.preprocessor()
    sizes = {"features": (20, 24)}
    if name == "emotionnas":
        sizes = {"handcrafted": (20, 16), "deep": (5, 8)}
    features = clips(sizes)
    genotype = None
    if hasattr(experiment, "space"):
        genotype = experiment.space().sample(0)
    made, losses, make_dataset = [], {}, fit.make_dataset

    def make(*arguments, **options):
        made.append(make_dataset(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(fit, "make_dataset", make)
    for xla in ("off", "on"):
        runtime = Runtime("none", xla=xla)
        with runtime.scope(), monkeypatch.context() as patch:
            if xla == "off":
                train_eagerly(patch)
            keras.utils.set_random_seed(0)
            network = experiment.build(features, genotype)
            run = RunFolder(tmp_path / xla, {})
            ser.train_network(
                network,
                features,
                run=run,
                duration_frames=18,
                augment=experiment.augmentation(features),
                **experiment.training(),
            )
        assert network.jit_compile == (xla == "on")
        losses[xla] = run.rows("train")[-1]["loss"]
    np.testing.assert_allclose(losses["on"], losses["off"], rtol=1e-4)
    for spec in tf.nest.flatten(made[-1].element_spec):
        assert spec.shape.is_fully_defined()


def batch_of(sizes, size=2):
    """A batch of noise, of one stream or of several."""
    rng = np.random.default_rng(0)
    x = {
        name: rng.normal(size=(size, *shape, 1)).astype("float32")
        for name, shape in sizes.items()
    }
    x = x if len(x) > 1 else next(iter(x.values()))
    x = tf.nest.map_structure(tf.constant, x)
    return x, tf.constant(rng.integers(2, size=size), tf.int32)


SMALL = {"filters": 2, "num_cells": 3, "num_recurrent_cells": 0}
RECURRENT = {"num_cells": 0, "recurrent_filters": 2}


# Of first order, tests/search/test_supernet.py runs both compiled.
@pytest.mark.parametrize("kind", ["cnn", "recurrent"])
def test_search_of_second_order_with_all_candidates(kind):
    other = {"cnn": "recurrent", "recurrent": "cnn"}[kind]
    space = ser.SearchSpace(**{other: ()}, num_nodes=1)
    sizes = SMALL if kind == "cnn" else RECURRENT
    supernet = ser.SuperNet(space, (None, 4, 1), 2, **sizes)
    supernet.compile(order=2, metrics=[ser.UnweightedAverageRecall(2)])
    half = batch_of({"features": (4, 4)})
    supernet.build_to_train(half[1])
    assert check_step(supernet.train_step, (half, half)) == (set(), [])


# Of first order too: the step of the weights is in that of second order.
def test_search_of_two_streams_with_all_fusions():
    few = {"recurrent": ("skip_connect", "none"), "num_nodes": 1, "cnn": ()}
    space = ser.TwoStreamSearchSpace(
        ser.SearchSpace(**few), ser.SearchSpace(**few), fusions=FUSIONS
    )
    sizes = {"handcrafted": (4, 3), "deep": (2, 5)}
    supernet = ser.SuperNet(
        space,
        {name: (None, width, 1) for name, (_, width) in sizes.items()},
        2,
        handcrafted=RECURRENT,
        deep=RECURRENT,
        fusion_units=2,
    )
    supernet.compile(order=2)
    half = batch_of(sizes)
    supernet.build_to_train(half[1])
    assert check_step(supernet.train_step, (half, half)) == (set(), [])


def all_candidates():
    """A derived network, in which each operation is an edge by itself."""

    def cell(operations):
        places = [(i, j) for j in range(2, 6) for i in range(j)]
        edges = tuple(
            Edge(*place, op)
            for place, op in zip(places, operations, strict=False)
        )
        return CellGenotype(edges, tuple({edge.target for edge in edges}))

    cnn, recurrent = (
        [op for op in operations if op != "none"]
        for operations in (CNN_OPERATIONS, RECURRENT_OPERATIONS)
    )
    return ser.CellNetwork(
        Genotype(normal=cell(cnn), reduce=cell(cnn), recurrent=cell(recurrent)),
        (None, 4, 1),
        2,
        filters=2,
        num_cells=3,
        recurrent_filters=2,
        dropout=0.1,
        drop_path_rate=0.1,
        auxiliary_weight=0.4,
    )


def light_sernet():
    """The small network, with padding masked."""
    return ser.LightSERNet((None, 4, 1), 2, width=0.25, dropout=0.1)


@pytest.mark.parametrize("build", [all_candidates, light_sernet])
def test_step_of_a_training(build):
    network = build()
    network.compile(
        ser.optimizers.FusedAdamW(1e-3, decay=0.1, global_clipnorm=5.0),
        ser.SparseCategoricalFocalCrossentropy(from_logits=True, gamma=2.0),
        metrics=[ser.UnweightedAverageRecall(2)],
    )
    batch = batch_of({"features": (12, 4)})
    network.build_to_train(batch[1])
    assert check_step(network.train_step, batch) == (set(), [])
