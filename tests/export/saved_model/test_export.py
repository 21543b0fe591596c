import gc
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.mfcc import MFCC
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.export.saved_model.export import new_version
from ser_keras.export.saved_model.model import load_saved_model
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.search_space import SearchSpace

LABELS = ("anger", "happiness", "neutral", "sadness")
TEMPERATURE = 0.4


def tiny_network():
    """Without masks: quick to write."""
    inputs = keras.Input((None, 40, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(4)(pooled))


@pytest.fixture(scope="module")
def exported(waveform_model, tmp_path_factory):
    """A calibrated model, and the folder of its only version."""
    model = WaveformModel(
        waveform_model.model,
        waveform_model.preprocessor,
        temperature=TEMPERATURE,
    )
    path = tmp_path_factory.mktemp("saved_models") / "tiny"
    return model, export_saved_model(model, path, LABELS)


@pytest.fixture(scope="module")
def served(exported):
    return load_saved_model(exported[1])


def test_equal_to_keras_for_any_batch_and_length(exported, served, recordings):
    model, _ = exported
    serve = served.signatures["serving_default"]
    for clip in recordings:
        ours = model(clip[None])
        theirs = serve(waveform=tf.constant(clip[None]))
        np.testing.assert_allclose(
            theirs["probabilities"], ours["probabilities"], atol=1e-5
        )
        label = LABELS[int(ours["label_id"][0])]
        assert theirs["label"].numpy().tolist() == [label.encode()]
    batch = np.stack([clip[:16000] for clip in recordings])
    theirs = serve(waveform=tf.constant(batch))
    np.testing.assert_allclose(
        theirs["probabilities"], model(batch)["probabilities"], atol=1e-5
    )
    names = [label.encode() for label in LABELS]
    assert theirs["labels"].numpy().tolist() == [names] * 6


def test_a_clip_does_not_depend_on_its_batch(exported, served, recordings):
    model, _ = exported
    together = served(recordings)
    assert served.labels == LABELS
    assert served.sample_rate == 16000
    for i, clip in enumerate(recordings):
        alone = served(clip)
        np.testing.assert_allclose(
            together["probabilities"][i], alone["probabilities"][0], atol=1e-5
        )
        np.testing.assert_allclose(
            alone["probabilities"],
            model(clip[None])["probabilities"],
            atol=1e-5,
        )
        best = LABELS[together["probabilities"][i].argmax()]
        assert together["label"][i] == best


def test_logits_are_divided_by_the_temperature(exported, served, recordings):
    model, folder = exported
    clip = recordings[0][None]
    features = model.preprocessor(clip)
    logits = np.asarray(model.model(features[..., None], training=False))
    scaled = np.exp(logits / TEMPERATURE)
    expected = scaled / scaled.sum(-1, keepdims=True)
    plain = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.abs(expected - plain).max() > 1e-3
    for name, inputs in (
        ("serving_default", {"waveform": tf.constant(clip)}),
        ("features", {"features": features}),
    ):
        outputs = served.signatures[name](**inputs)
        np.testing.assert_allclose(
            outputs["probabilities"], expected, atol=1e-5
        )
    facts = json.loads((folder / "labels.json").read_text())
    assert facts["temperature"] == TEMPERATURE


def test_preprocessor_beside_the_graph_makes_its_features(
    exported, served, recordings
):
    model, folder = exported
    facts = json.loads((folder / "labels.json").read_text())
    preprocessor = keras.saving.deserialize_keras_object(facts["preprocessor"])
    assert preprocessor.hash == model.preprocessor.hash
    for clip in recordings[:2]:
        features = preprocessor(clip[None])
        np.testing.assert_array_equal(features, model.preprocessor(clip[None]))
        outputs = served.signatures["features"](features=features)
        np.testing.assert_allclose(
            outputs["probabilities"],
            served(clip)["probabilities"],
            atol=1e-5,
        )


def test_session_loader_of_tensorflow_serving(exported, recordings):
    model, folder = exported
    clip = recordings[2][None]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(
            session, ["serve"], str(folder)
        )
        signature = meta.signature_def["serving_default"]
        assert set(signature.inputs) == {"waveform"}
        assert set(signature.outputs) == {
            "probabilities",
            "label",
            "labels",
            "error",
        }
        shape = signature.inputs["waveform"].tensor_shape
        assert [axis.size for axis in shape.dim] == [-1, -1]
        probabilities = session.run(
            signature.outputs["probabilities"].name,
            {signature.inputs["waveform"].name: clip},
        )
    np.testing.assert_allclose(
        probabilities, model(clip)["probabilities"], atol=1e-5
    )


def test_versions_count_up_and_are_never_overwritten(exported, tmp_path):
    path = tmp_path / "name"
    network, preprocessor = tiny_network(), Preprocessor(MFCC())
    shutil.copytree(exported[1], path / "1")
    before = {f: f.read_bytes() for f in (path / "1").rglob("*") if f.is_file()}
    assert (
        export_saved_model(network, path, LABELS, preprocessor, version=20)
        == path / "20"
    )
    assert new_version(path, None) == 21
    assert new_version(tmp_path / "another", None) == 1
    with pytest.raises(FileExistsError, match="name/1 exists"):
        export_saved_model(network, path, LABELS, preprocessor, version=1)
    assert {f: f.read_bytes() for f in before} == before
    assert sorted(p.name for p in path.iterdir()) == [
        "1",
        "20",
        "batching.config",
        "model.config",
    ]
    assert "versions: 1 versions: 20" in (path / "model.config").read_text()
    assert load_saved_model(path).path == path / "20"
    assert load_saved_model(path, version=1).path == path / "1"
    card = json.loads((path / "20/labels.json").read_text())
    assert tuple(card["labels"]) == LABELS
    assert card["sample_rate"] == 16000
    assert card["features"] == preprocessor.describe()
    assert card["versions"]["tensorflow"] == tf.__version__


def test_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_saved_model(
            tiny_network(), tmp_path / "name", LABELS, Preprocessor(MFCC())
        )
    assert not list((tmp_path / "name").iterdir())


def test_invalid_arguments(exported, tmp_path):
    network, preprocessor = tiny_network(), Preprocessor(MFCC())

    def export(
        match, model=network, labels=LABELS, own=preprocessor, **options
    ):
        with pytest.raises(ValueError, match=match):
            export_saved_model(model, tmp_path, labels, own, **options)

    export("`labels` must be as many as the", labels=LABELS[:3])
    export("`preprocessor` must be the Prep.*=None", own=None)
    export("`preprocessor` must be the Prep.*<MFCC", own=MFCC())
    streams = StreamPreprocessors({"handcrafted": preprocessor})
    export("`preprocessor` must be the Prep.*StreamPrep", own=streams)
    export("incompatible", own=Preprocessor(MFCC(num_coefficients=13)))
    export("has a preprocessor and a temp", model=exported[0])
    export("temperature=2.0", model=exported[0], own=None, temperature=2.0)
    export("`temperature` must be positive", temperature=0.0)
    for max_duration in (0, float("inf")):
        export("`max_duration` must be pos", max_duration=max_duration)
    for version in (0, -1, "latest"):
        export("`version` must be a positive", version=version)
    assert not list(tmp_path.iterdir())


def test_reading_errors(exported, served, tmp_path):
    with pytest.raises(FileNotFoundError, match="versions there: "):
        load_saved_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no version 7"):
        load_saved_model(exported[1].parent, version=7)
    for clip in (np.zeros(0), np.full(100, np.nan), np.zeros((2, 3, 4))):
        with pytest.raises(ValueError, match="`waveforms` must be"):
            served([clip])


def test_an_answer_that_is_not_finite_is_an_error(served, recordings):
    clip = recordings[0][:8000]
    loud = np.stack([clip, np.full(8000, 3e38, "float32")])
    outputs = served.signatures["serving_default"](waveform=tf.constant(loud))
    assert outputs["error"].numpy()[0] == b""
    assert b"too large" in outputs["error"].numpy()[1]
    assert outputs["label"].numpy()[1] == b""
    assert np.isfinite(outputs["probabilities"].numpy()[0]).all()
    assert np.isnan(outputs["probabilities"].numpy()[1]).all()
    with pytest.raises(ValueError, match="Clip 1: values too large"):
        served(loud)


def test_a_version_that_is_given_up_leaves_no_graph_behind(tmp_path):
    """Or a server would grow with every new version that it loads."""
    network = CellNetwork(
        SearchSpace(("sep_conv_3x3",), ("lstm_1",), num_nodes=1).sample(0),
        (None, 40, 1),
        len(LABELS),
        filters=2,
        num_cells=3,
        recurrent_filters=2,
    )
    folder = export_saved_model(
        network, tmp_path / "cells", LABELS, Preprocessor(MFCC())
    )

    def graphs():
        gc.collect()
        kind = tf.__internal__.FuncGraph
        return sum(issubclass(type(x), kind) for x in gc.get_objects())

    before = graphs()
    model = load_saved_model(folder)
    assert graphs() > before
    del model
    assert graphs() == before
