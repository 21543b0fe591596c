"""Files that would run code, or read or write files, are refused unmade."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.search_space import SearchSpace

MADE = []


@keras.saving.register_keras_serializable("tests")
class Foreign(keras.layers.Layer):
    """Of a module that is neither Keras' nor ours; tells that it is made."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        MADE.append(self)

    def call(self, x):
        return x


@keras.saving.register_keras_serializable("tests")
def foreign_function(x):
    MADE.append(x)
    return x


@pytest.fixture(autouse=True)
def nothing_is_made(monkeypatch):
    """What is refused never reaches Keras."""
    keras_load = keras.saving.load_model
    MADE.clear()

    def load(path, **arguments):
        MADE.append(path)
        return keras_load(path, **arguments)

    monkeypatch.setattr(keras.saving, "load_model", load)


def plain():
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, activation="relu")]
    )


def saved(path, *layers):
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.save(path)
    return path


def edited(path, change=None, members=None):
    """The file of a plain model, with changed configuration or members."""
    original = path.with_name("original.keras")
    plain().save(original)
    with zipfile.ZipFile(original) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    if change is not None:
        config = json.loads(files["config.json"])
        change(config["config"]["layers"][1])
        files["config.json"] = json.dumps(config).encode()
    files |= members or {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refused(path, match):
    with pytest.raises(ValueError, match=match) as caught:
        ser.load_model(path)
    assert str(path) in str(caught.value) and "trust=True" in str(caught.value)
    assert not MADE


def test_a_lambda(tmp_path):
    path = saved(tmp_path / "a.keras", keras.layers.Lambda(lambda x: x * 2))
    refused(path, "Lambda")


def test_a_lambda_of_a_known_function(tmp_path):
    layer = keras.layers.Lambda(keras.ops.abs)
    refused(saved(tmp_path / "a.keras", layer), "'Lambda' of 'keras.layers'")


def test_a_lambda_deep_inside(tmp_path):
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(tf.abs)])
    layer = keras.layers.TimeDistributed(inner)
    model = keras.Sequential([keras.Input((3, 2)), layer])
    model.save(tmp_path / "a.keras")
    refused(tmp_path / "a.keras", "Lambda")


def test_a_layer_of_somebody_else(tmp_path):
    path = saved(tmp_path / "a.keras", Foreign())
    MADE.clear()
    refused(path, "'tests>Foreign'")
    for arguments in (
        {"trust": True},
        {"custom_objects": {"tests>Foreign": Foreign}},
    ):
        model = ser.load_model(path, **arguments)
        assert isinstance(model.layers[0], Foreign)


def test_an_extractor_of_somebody_else(tmp_path):
    layers = [keras.layers.Reshape((-1, 1)), Foreign()]
    keras.Sequential([keras.Input((160,)), *layers]).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="tests>Foreign"):
        ser.features.KerasExtractor(tmp_path / "a.keras", hop=0.01)
    extractor = ser.features.KerasExtractor(
        tmp_path / "a.keras", hop=0.01, trust=True
    )
    assert extractor.num_features == 1


def test_a_graph_that_may_write_files(tmp_path):
    module = tf.Module()
    module.serve = tf.function(
        lambda x: x, input_signature=[tf.TensorSpec((None, 2))]
    )
    graph = str(tmp_path / "graph")
    tf.saved_model.save(module, graph, {"serve": module.serve})
    layer = keras.layers.TFSMLayer(graph, call_endpoint="serve")
    path = saved(tmp_path / "a.keras", layer)
    refused(path, "'TFSMLayer' of 'keras.layers'")


def test_a_layer_that_reads_any_file(tmp_path):
    (tmp_path / "secret").write_text("one\ntwo\n")
    lookup = keras.layers.StringLookup(vocabulary=str(tmp_path / "secret"))
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup])
    model.save(tmp_path / "a.keras")
    refused(tmp_path / "a.keras", "StringLookup|assets")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        # Functions of Keras, by name: a download, another loader.
        (
            {"module": "keras.utils", "class_name": "get_file"},
            "'get_file' of 'keras.utils'",
        ),
        (
            {"module": "keras.saving", "class_name": "load_model"},
            "'load_model' of 'keras.saving'",
        ),
        (
            {
                "module": "keras.utils",
                "class_name": "function",
                "config": "get_file",
                "registered_name": "get_file",
            },
            "'function get_file' of 'keras.utils'",
        ),
        (
            {
                "module": "builtins",
                "class_name": "function",
                "config": "eval",
                "registered_name": "eval",
            },
            "'function eval' of 'builtins'",
        ),
        ({"module": "os", "class_name": "system"}, "'system' of 'os'"),
        # Keras would find the class in a module that only it imports.
        (
            {"module": "keras.src.saving.file_editor", "class_name": "Dense"},
            "file_editor",
        ),
        # A registered name is looked up before the module.
        ({"registered_name": "tests>Foreign"}, "'tests>Foreign'"),
        ({"registered_name": {"a": 1}}, "'Dense'"),
        # But not for these, whose other names count.
        (
            {
                "module": "keras.utils",
                "class_name": "function",
                "config": "set_random_seed",
                "registered_name": "ser_keras>MFCC",
            },
            "set_random_seed",
        ),
        (
            {
                "class_name": "__typespec__",
                "spec_name": "TensorSpec",
                "registered_name": "ser_keras>MFCC",
            },
            "typespec",
        ),
        (
            {
                "module": "builtins",
                "class_name": "function",
                "config": "deserialize",
                "registered_name": "deserialize",
            },
            "deserialize",
        ),
        # As files of old were written; these go another way in Keras.
        ({"module": None}, "'Dense' of None"),
        (
            {"class_name": "__lambda__", "config": {"value": ["", 0, 0]}},
            "lambda",
        ),
        ({"class_name": "__typespec__", "spec_name": "TensorSpec"}, "typespec"),
        ({"class_name": "__numpy__"}, "numpy"),
        ({"class_name": ["Dense"]}, "Dense"),
    ],
)
def test_names_that_stand_for_something_else(tmp_path, change, match):
    refused(edited(tmp_path / "a.keras", lambda x: x.update(change)), match)


def test_no_module_at_all(tmp_path):
    path = edited(tmp_path / "a.keras", lambda layer: layer.pop("module"))
    refused(path, "'Dense' of None")


def test_a_registered_function_by_its_name(tmp_path):
    def change(layer):
        layer["config"]["activation"] = "tests>foreign_function"

    refused(edited(tmp_path / "a.keras", change), "tests>foreign_function")


def test_weights_of_another_file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kernel"] = np.ones((2, 2))
    for name, make in (
        ("external", lambda: h5py.ExternalLink("other.h5", "/kernel")),
        ("soft", lambda: h5py.SoftLink("/layers")),
    ):
        with h5py.File(tmp_path / "weights.h5", "w") as file:
            file["layers"] = np.ones(2)
            file["vars/0"] = make()
        weights = (tmp_path / "weights.h5").read_bytes()
        path = edited(
            tmp_path / f"{name}.keras",
            members={"model.weights.h5": weights},
        )
        refused(path, "elsewhere, 'vars/0'")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_dataset(
            "layers/0", (2,), "f4", external=[("other.h5", 0, 8)]
        )
    weights = (tmp_path / "weights.h5").read_bytes()
    members = {"model.weights.h5": weights}
    refused(edited(tmp_path / "a.keras", members=members), "elsewhere")


def test_other_members(tmp_path):
    for name in ("assets/vocabulary.txt", "../outside", "model.weights.npz"):
        path = edited(tmp_path / "a.keras", members={name: b"x"})
        refused(path, name)


def test_no_keras_file(tmp_path):
    plain().save(tmp_path / "a.keras")
    compressed = tmp_path / "bomb.keras"
    with (
        zipfile.ZipFile(tmp_path / "a.keras") as archive,
        zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    refused(compressed, "the member 'metadata.json'")
    (tmp_path / "a.h5").write_bytes(b"x")
    (tmp_path / "b.keras").write_bytes(b"no zip")
    refused(tmp_path / "a.h5", "must be a .keras file")
    refused(tmp_path / "b.keras", "must be a .keras file")
    with pytest.raises(FileNotFoundError, match="absent.keras: no such file"):
        ser.load_model(tmp_path / "absent.keras")
    for config in (b"{", b"[" * 100_000):
        path = edited(tmp_path / "a.keras", members={"config.json": config})
        with pytest.raises(ValueError, match=r"a\.keras, config\.json"):
            ser.load_model(path)
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="no metadata.json, model.weights.h5"):
        ser.load_model(tmp_path / "a.keras")
    path = edited(tmp_path / "a.keras", members={"model.weights.h5": b"x"})
    with pytest.raises(ValueError, match=r"model\.weights\.h5"):
        ser.load_model(path)
    assert not MADE


SHAPE = (None, 8, 1)
SIZES = {"num_cells": 0, "recurrent_filters": 4}
RECURRENT = SearchSpace.emodarts("rnn", cnn=(), num_nodes=1)


def cells():
    genotype = SearchSpace.emodarts("rnn", num_nodes=1).sample(0)
    return ser.CellNetwork(
        genotype, SHAPE, 3, filters=2, num_cells=3, recurrent_filters=4
    )


def two_streams():
    return ser.TwoStreamNet(
        TwoStreamGenotype(RECURRENT.sample(0), RECURRENT.sample(1), "gating"),
        {"handcrafted": SHAPE, "deep": SHAPE},
        3,
        handcrafted=SIZES,
        deep=SIZES,
        stream_dropout=0.1,
    )


def light_sernet():
    return ser.LightSERNet(SHAPE, 3, width=0.25, l2=1e-3)


def functional():
    """What users make: operations, a shared layer, wrappers, a regularizer."""
    x = keras.Input((5, 4))
    layer = keras.layers.Bidirectional(keras.layers.LSTM(3))
    dense = keras.layers.Dense(3, "gelu", kernel_regularizer="l2")
    y = layer(x) + layer(keras.ops.relu(x[:, ::-1])) * 2.0
    return keras.Model(x, dense(y))


NETWORKS = {
    "cells": cells,
    "functional": functional,
    "light_sernet": light_sernet,
    "search": lambda: ser.SuperNet(RECURRENT, SHAPE, 3, **SIZES),
    "two_streams": two_streams,
    "waveform": lambda: ser.models.with_frontend(
        light_sernet(), ser.MFCC(num_coefficients=8)
    ),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_ours_and_plain_ones_are_read(network, tmp_path):
    network = NETWORKS[network]()
    options = {}
    if isinstance(network, ser.SuperNet):
        options["architecture_optimizer"] = "adam"
    if not isinstance(network, WaveformModel):
        network.compile(
            optimizer=keras.optimizers.AdamW(
                keras.optimizers.schedules.CosineDecay(0.1, 10)
            ),
            loss=ser.SparseCategoricalFocalCrossentropy(from_logits=True),
            metrics=[ser.UnweightedAverageRecall(num_classes=3), "accuracy"],
            **options,
        )
        network.optimizer.build(network.trainable_variables)
    network.save(tmp_path / "model.keras")
    copy = ser.load_model(tmp_path / "model.keras")
    for old, new in zip(network.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(old, new)
