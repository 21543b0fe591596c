"""Tuning, alone and with a chief and a worker; tiny networks."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from sklearn.metrics import recall_score

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace

keras_tuner = pytest.importorskip("keras_tuner")

from ser_keras.experiments import hypermodels as tuning  # noqa: E402


def make_features(speakers="abc"):
    random = np.random.default_rng(0)
    utterances, arrays = [], []
    for speaker in speakers:
        for i in range(4):
            name = f"{speaker}{i}"
            utterances.append(Utterance(name, name, "AN"[i % 2], speaker))
            arrays.append(random.normal(i % 2, 1, (8, 6)).astype("float32"))
    return FeatureSet(Manifest(utterances), arrays)


class OneLayer(tuning.SpeakerHyperModel):
    """A hypermodel that a test can afford to train."""

    def network(self, hp):
        return keras.Sequential(
            [
                keras.Input((None, 6, 1)),
                keras.layers.Reshape((-1, 6)),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(hp.Choice("units", [2, 4]), "tanh"),
                keras.layers.Dense(2),
            ]
        )


def hypermodel():
    return OneLayer(make_features(), epochs=1, batch_size=4, duration_frames=8)


def test_the_objective_is_uar_of_a_held_out_training_speaker(tmp_path):
    model = hypermodel()
    held_out = set(model.held_out.manifest.speakers)
    assert len(held_out) == 1
    assert held_out.isdisjoint(model.train.manifest.speakers)
    hp = keras_tuner.HyperParameters()
    network = model.build(hp)
    value = model.fit(hp, network)["val_uar"]
    clips = np.stack(model.held_out.arrays)[..., None]
    answers = network.predict(clips, verbose=0).argmax(axis=1)
    truth = model.held_out.manifest.label_ids
    uar = recall_score(truth, answers, average="macro")
    assert value == pytest.approx(uar)


def test_tune_resumes_and_refuses_other_settings(tmp_path):
    best = tuning.tune(hypermodel(), tmp_path / "trials", 2, "random")
    assert best.trials == 2 and 0 <= best.uar <= 1
    assert best.values["units"] in (2, 4)
    assert tuning.read_best(tmp_path / "trials") == best
    files = sorted((tmp_path / "trials").glob("trial_*"))
    again = tuning.tune(hypermodel(), tmp_path / "trials", 2, "random")
    assert again == best
    assert sorted((tmp_path / "trials").glob("trial_*")) == files
    other = OneLayer(make_features("abcd"), epochs=1)
    with pytest.raises(ValueError, match="another configuration"):
        tuning.tune(other, tmp_path / "trials", 2, "random")
    with pytest.raises(ValueError, match="method='grid'"):
        tuning.tune(other, tmp_path / "other", 2, "grid")
    with pytest.raises(ValueError, match="not finished"):
        tuning.read_best(tmp_path / "other")


def test_spaces_hold_size_and_training():
    light = tuning.LightSERNetHyperModel(make_features(), epochs=1)
    hp = keras_tuner.HyperParameters()
    hp.Fixed("width", 0.25)
    network = light.build(hp)
    assert network.width == 0.25
    assert {"separable", "dropout", "learning_rate"} <= set(hp.values)


def test_the_space_of_cell_networks():
    features = make_features()
    cells = tuning.CellNetworkHyperModel(features, sequence="rnn", epochs=1)
    hp = keras_tuner.HyperParameters()
    for name, value in (
        ("num_nodes", 2), ("architecture", 3), ("num_cells", 3),
        ("filters", 4), ("recurrent_filters", 16),
    ):  # fmt: skip
        hp.Fixed(name, value)
    network = cells.build(hp)
    space = SearchSpace.emodarts("rnn", num_nodes=2)
    assert network.architecture == space.sample(3)
    assert (network.num_cells, network.filters) == (3, 4)
    genotype = SearchSpace(cnn=(), recurrent=("lstm_1",), num_nodes=1).sample(0)
    fixed = tuning.CellNetworkHyperModel(features, genotype, epochs=1)
    hp = keras_tuner.HyperParameters()
    assert fixed.build(hp).architecture == genotype
    assert "num_nodes" not in hp.values and "num_cells" not in hp.values
    assert fixed.settings()["genotype"] == genotype.to_dict()


def make_streams(speakers="abc"):
    mel = make_features(speakers)
    random = np.random.default_rng(1)
    arrays = [random.normal(size=(2, 3)).astype("float32") for _ in mel.arrays]
    deep = FeatureSet(mel.manifest, arrays, frame_rate=2.0)
    return FeatureStreams(
        {"handcrafted": dataclasses.replace(mel, frame_rate=8.0), "deep": deep}
    )


def test_the_space_of_two_streams():
    streams = make_streams()
    model = tuning.TwoStreamHyperModel(streams, sequence="rnn", epochs=1)
    hp = keras_tuner.HyperParameters()
    for name, value in (
        ("num_nodes", 2), ("architecture", 3), ("fusion", "gating"),
        ("handcrafted_num_cells", 4), ("handcrafted_filters", 4),
        ("deep_recurrent_filters", 16), ("deep_num_recurrent_cells", 2),
    ):  # fmt: skip
        hp.Fixed(name, value)
    network = model.build(hp)
    assert network.architecture == TwoStreamSearchSpace(
        handcrafted=SearchSpace.emodarts("rnn", num_nodes=2),
        deep=SearchSpace.emodarts("rnn", num_nodes=2, cnn=()),
        fusions=("gating",),
    ).sample(3)
    assert [len(encoder.cells) for encoder in network.encoders] == [4, 0]
    assert len(network.encoders[1].recurrent_cells) == 2
    assert network.feature_shapes["deep"] == (None, 3, 1)
    assert {"stream_dropout", "fusion_units", "learning_rate"} <= set(hp.values)
    assert model.settings()["num_features"] == {"handcrafted": 6, "deep": 3}


def test_two_streams_of_a_given_architecture_are_tuned(tmp_path):
    recurrent = SearchSpace.emodarts("rnn", cnn=(), num_nodes=1)
    genotype = TwoStreamGenotype(
        recurrent.sample(0), recurrent.sample(1), "late"
    )
    model = tuning.TwoStreamHyperModel(
        make_streams(), genotype, epochs=1, batch_size=4, duration_frames=8
    )
    best = tuning.tune(model, tmp_path / "trials", 1, "random")
    assert 0 <= best.uar <= 1
    assert not {"num_nodes", "fusion", "handcrafted_filters"} & set(best.values)
    assert model.network(best.hyperparameters).architecture == genotype
    assert model.settings()["genotype"] == genotype.to_dict()


def test_chief_and_worker(tmp_path):
    """One process deals out the trials over loopback, the other runs them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import test_tuning as t;"
        "print('BEST', t.tuning.tune(t.hypermodel(), sys.argv[2], 3, 'random'))"
    )
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", script, os.path.dirname(__file__), "trials"],
            cwd=tmp_path,
            env={
                **os.environ,
                "KERASTUNER_TUNER_ID": name,
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": str(port),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("chief", "worker")
    }
    try:
        said = {
            name: process.communicate(timeout=600)[0]
            for name, process in processes.items()
        }
    finally:
        for process in processes.values():
            process.kill()
    for name, process in processes.items():
        assert process.returncode == 0, said[name][-3000:]
    assert "BEST None" in said["worker"]
    assert "BEST Tuned(" in said["chief"]
    best = json.loads((tmp_path / "trials/best.json").read_text())
    assert best["trials"] == 3
    # The worker trained all of them, the chief none.
    assert "train  1/1" in said["worker"] and "train  1/1" not in said["chief"]
    assert len(list((tmp_path / "trials").glob("trial_*"))) == 3
