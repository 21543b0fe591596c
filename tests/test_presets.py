"""Presets: what is written is read again, from the package or a folder."""

import json
import shutil

import keras
import numpy as np
import pytest

import ser_keras
from ser_keras.audio import MFCC
from ser_keras.audio import UtteranceNormalization
from ser_keras.features import Preprocessor
from ser_keras.models import CellNetwork
from ser_keras.models import LightSERNet
from ser_keras.models import TwoStreamNet
from ser_keras.models import WaveformModel
from ser_keras.models import preset as preset_module
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.serving import predictor

BUNDLED = "emodb_light_sernet"


def cell_network():
    genotype = SearchSpace(num_nodes=1, num_recurrent_nodes=1).sample(0)
    return CellNetwork(
        genotype, (None, 12, 1), 3, filters=2, num_cells=3, recurrent_filters=2
    )


def two_stream_net():
    space = TwoStreamSearchSpace(
        handcrafted=SearchSpace(num_nodes=1, num_recurrent_nodes=1),
        deep=SearchSpace(cnn=(), num_nodes=1),
    )
    return TwoStreamNet(
        space.sample(0),
        {"handcrafted": (None, 12, 1), "deep": (None, 6, 1)},
        3,
        handcrafted={"filters": 2, "num_cells": 3, "recurrent_filters": 2},
        deep={"recurrent_filters": 2},
        fusion_units=2,
    )


def light_sernet():
    return LightSERNet((None, 12, 1), 3, width=0.25)


def frames(network, dtype="float32"):
    rng = np.random.default_rng(0)
    if isinstance(network, TwoStreamNet):
        return {
            "handcrafted": rng.normal(size=(2, 40, 12, 1)).astype(dtype),
            "deep": rng.normal(size=(2, 10, 6, 1)).astype(dtype),
        }
    return rng.normal(size=(2, 40, 12, 1)).astype(dtype)


@pytest.mark.parametrize("make", [cell_network, two_stream_net, light_sernet])
def test_network_is_what_was_saved(make, tmp_path):
    network = make()
    network.save_to_preset(tmp_path / "mine", labels=["a", "b", "c"])
    again = type(network).from_preset(tmp_path / "mine")
    assert type(again) is type(network)
    assert again.get_config() == network.get_config()
    x = frames(network)
    np.testing.assert_array_equal(again(x), network(x))
    new = type(network).from_preset(tmp_path / "mine", load_weights=False)
    assert np.abs(new(x) - network(x)).max() > 1e-3
    metadata = json.loads((tmp_path / "mine/metadata.json").read_text())
    assert metadata["labels"] == ["a", "b", "c"]
    assert metadata["versions"]["ser_keras"] == ser_keras.__version__


def test_arguments_replace_those_of_the_preset(tmp_path):
    network = light_sernet()
    network.save_to_preset(tmp_path / "mine")
    assert network.dropout == 0.3
    again = LightSERNet.from_preset(tmp_path / "mine", dropout=0.1)
    assert again.dropout == 0.1
    x = frames(network)
    np.testing.assert_array_equal(again(x), network(x))


def test_waveform_model_is_what_was_saved(recordings, tmp_path):
    frontend = MFCC(num_coefficients=12)
    preprocessor = Preprocessor(frontend, UtteranceNormalization())
    model = WaveformModel(light_sernet(), preprocessor, temperature=1.7)
    model.save_to_preset(tmp_path / "mine", ["a", "b", "c"], card="# A card\n")
    again = WaveformModel.from_preset(tmp_path / "mine")
    assert again.preprocessor.hash == preprocessor.hash
    assert again.temperature == 1.7
    clip = recordings[0][None]
    answer = model(clip)["probabilities"]
    np.testing.assert_array_equal(again(clip)["probabilities"], answer)
    assert (tmp_path / "mine/card.md").read_text() == "# A card\n"
    # The network alone has no temperature.
    network = LightSERNet.from_preset(tmp_path / "mine")
    logits = network(preprocessor(clip)[..., None])
    np.testing.assert_allclose(
        keras.ops.softmax(logits / 1.7), answer, atol=1e-6
    )


def test_presets_that_come_along():
    listed = ser_keras.presets()
    assert BUNDLED in listed
    for name, preset in listed.items():
        model = WaveformModel.from_preset(name)
        assert type(model.model).__name__ == preset["class_name"]
        assert model.model.num_classes == len(preset["labels"])
        assert preset["description"].endswith(".")
    # The quick path of `ser_keras predict` cannot import it from there.
    assert predictor.BUNDLED == preset_module.BUNDLED


def test_preset_and_litert_file_are_one_model(recordings):
    """The file has weights and activations of 8 bits, the preset float32."""
    model = WaveformModel.from_preset(BUNDLED)
    file = ser_keras.load_litert(predictor.BUNDLED / BUNDLED / "model.tflite")
    assert list(file.labels) == ser_keras.presets()[BUNDLED]["labels"]
    for clip in recordings:
        ours = model(clip[None])["probabilities"][0].numpy()
        theirs = file(clip)["probabilities"][0]
        assert ours.argmax() == theirs.argmax()
        np.testing.assert_allclose(ours, theirs, atol=0.15)


def test_unknown_preset_names_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=BUNDLED):
        LightSERNet.from_preset("emodb")
    with pytest.raises(ValueError, match="Received: preset="):
        LightSERNet.from_preset(tmp_path)


def test_preset_of_another_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="CellNetwork.*LightSERNet"):
        CellNetwork.from_preset(BUNDLED)
    light_sernet().save_to_preset(tmp_path)
    with pytest.raises(ValueError, match="no preprocessor.json"):
        WaveformModel.from_preset(tmp_path)


def test_wrong_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"3 classes.*labels=\['a'\]"):
        light_sernet().save_to_preset(tmp_path / "mine", labels=["a"])
    assert not (tmp_path / "mine").exists()


def test_harmful_preset_is_refused(tmp_path):
    """As of `.keras` files: a preset may come from anywhere."""
    folder = tmp_path / "mine"
    shutil.copytree(ser_keras.presets()[BUNDLED]["path"], folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["config"]["name"] = {
        "module": "keras.layers",
        "class_name": "TFSMLayer",
        "config": {"filepath": "anywhere"},
        "registered_name": None,
    }
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="TFSMLayer"):
        LightSERNet.from_preset(folder)


def test_a_trained_network_is_saved_without_its_optimizer(tmp_path):
    plain, trained = light_sernet(), light_sernet()
    trained.set_weights(plain.get_weights())
    trained.compile("adam", "sparse_categorical_crossentropy")
    trained.optimizer.build(trained.trainable_variables)
    for name, network in (("plain", plain), ("trained", trained)):
        network.save_to_preset(tmp_path / name)
    for file in ("config.json", "model.weights.h5"):
        sizes = [
            (tmp_path / x / file).stat().st_size for x in ("plain", "trained")
        ]
        assert sizes[0] == sizes[1]
    again = LightSERNet.from_preset(tmp_path / "trained")
    np.testing.assert_array_equal(again(frames(plain)), plain(frames(plain)))
