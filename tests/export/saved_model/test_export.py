import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.mfcc import MFCC
from ser_keras.export.saved_model.export import export_serving
from ser_keras.export.saved_model.model import load_serving
from ser_keras.models.waveform_model import with_frontend

LABELS = ("anger", "happiness", "neutral", "sadness")


def tiny_model():
    """Without masks: quick to write."""
    frontend = MFCC(sample_rate=16000)
    inputs = keras.Input((None, frontend.num_features, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    network = keras.Model(inputs, keras.layers.Dense(4)(pooled))
    return with_frontend(network, frontend)


@pytest.fixture
def exported(waveform_model, tmp_path):
    path = tmp_path / "saved_models" / "tiny"
    return waveform_model, export_serving(waveform_model, path, LABELS)


def test_equal_to_keras_for_any_batch_and_length(exported, recordings):
    model, folder = exported
    serve = load_serving(folder).signatures["serving_default"]
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


def test_a_clip_does_not_depend_on_its_batch(exported, recordings):
    model, folder = exported
    served = load_serving(folder.parent)
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


def test_features_signature(exported, recordings):
    model, folder = exported
    features = model.features(recordings[0][None])
    outputs = load_serving(folder).signatures["features"](features=features)
    np.testing.assert_allclose(
        outputs["probabilities"],
        model(recordings[0][None])["probabilities"],
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


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    model = tiny_model()
    path = tmp_path / "name"
    assert export_serving(model, path, LABELS) == path / "1"
    before = {f: f.read_bytes() for f in (path / "1").rglob("*") if f.is_file()}
    assert export_serving(model, path, LABELS, version=20) == path / "20"
    assert export_serving(model, path, LABELS) == path / "21"
    with pytest.raises(FileExistsError, match="name/1 exists"):
        export_serving(model, path, LABELS, version=1)
    assert {f: f.read_bytes() for f in before} == before
    assert sorted(p.name for p in path.iterdir()) == [
        "1",
        "20",
        "21",
        "batching.config",
        "model.config",
    ]
    assert "versions: 20 versions: 21" in (path / "model.config").read_text()
    assert load_serving(path).path == path / "21"
    assert load_serving(path, version=20).path == path / "20"
    card = json.loads((path / "20/labels.json").read_text())
    assert tuple(card["labels"]) == LABELS
    assert card["sample_rate"] == 16000
    assert card["versions"]["tensorflow"] == tf.__version__


def test_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_serving(tiny_model(), tmp_path / "name", LABELS)
    assert not list((tmp_path / "name").iterdir())


def test_invalid_arguments(tmp_path):
    model = tiny_model()
    with pytest.raises(ValueError, match="`labels` must be as many as the"):
        export_serving(model, tmp_path, LABELS[:3])
    with pytest.raises(ValueError, match="`frontend` must be given"):
        export_serving(model.model, tmp_path, LABELS)
    with pytest.raises(ValueError, match="has a front end already"):
        export_serving(model, tmp_path, LABELS, frontend=model.frontend)
    for version in (0, -1, "latest"):
        with pytest.raises(ValueError, match="`version` must be a positive"):
            export_serving(model, tmp_path, LABELS, version=version)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_reading_errors(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="versions there: "):
        load_serving(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no version 7"):
        load_serving(exported[1].parent, version=7)
    served = load_serving(exported[1])
    for clip in (np.zeros(0), np.full(100, np.nan), np.zeros((2, 3, 4))):
        with pytest.raises(ValueError, match="`waveforms` must be"):
            served([clip])


def test_an_answer_that_is_not_finite_is_an_error(exported, recordings):
    signatures = load_serving(exported[1]).signatures
    clip = recordings[0][:8000]
    loud = np.stack([clip, np.full(8000, 3e38, "float32")])
    outputs = signatures["serving_default"](waveform=tf.constant(loud))
    assert outputs["error"].numpy()[0] == b""
    assert b"too large" in outputs["error"].numpy()[1]
    assert outputs["label"].numpy()[1] == b""
    assert np.isfinite(outputs["probabilities"].numpy()[0]).all()
    assert np.isnan(outputs["probabilities"].numpy()[1]).all()
    with pytest.raises(ValueError, match="Clip 1: values too large"):
        load_serving(exported[1])(loud)
