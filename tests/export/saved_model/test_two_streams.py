"""SavedModels of two streams give what the Keras model gives."""

import io
import json

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

import ser_keras as ser
from ser_keras.export.saved_model.model import takes_waveforms
from ser_keras.export.saved_model.serving_files import WARM_UP
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.search_space import SearchSpace

LABELS = ("calm", "anger", "fear")
NORMALIZATION = ser.UtteranceNormalization(over="all")
SPACE = ser.TwoStreamSearchSpace(
    SearchSpace(("skip_connect",), ("rnn_1",), num_nodes=1, edges_per_node=1),
    SearchSpace((), ("rnn_1",), num_nodes=1, edges_per_node=1),
    ("supplement",),
)


@pytest.fixture(scope="module")
def frontend():
    return ser.LogMelSpectrogram(sample_rate=8000, num_mel_bins=6)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return ser.TwoStreamNet(
        SPACE.sample(0),
        {"handcrafted": (None, 6, 1), "deep": (None, 5, 1)},
        num_classes=3,
        handcrafted={"filters": 2, "num_cells": 3, "recurrent_filters": 4},
        deep={"recurrent_filters": 4},
    )


def keras_extractor(window=None):
    layers = [
        keras.Input((window,)),
        keras.layers.Reshape((-1, 1)),
        keras.layers.Conv1D(
            5, 800, strides=400 if window is None else 800, activation="tanh"
        ),
    ]
    return KerasExtractor(keras.Sequential(layers), sample_rate=8000, hop=0.05)


class OutsideExtractor(Extractor):
    sample_rate, num_features, frame_rate = 8000, 5, 10.0

    def settings(self):
        return {"extractor": "outside"}


def clips():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, n).astype("float32") for n in (6000, 4100)]


def wav(clip):
    file = io.BytesIO()
    soundfile.write(file, clip, 8000, "PCM_16", format="WAV")
    return file.getvalue()


def expected(network, frontend, extractor):
    """Each clip by itself, its features computed as for training."""
    model = ser.models.with_frontend(network, frontend, NORMALIZATION)
    rows = []
    for clip in clips():
        features = {
            "handcrafted": model.features(clip[None])[..., None],
            "deep": extractor.extract(clip)[None, ..., None],
        }
        rows.append(tf.nn.softmax(network(features))[0].numpy())
    return np.array(rows)


@pytest.mark.parametrize("window", [None, 1600], ids=["whole", "windows"])
def test_waveform_in_where_the_extractor_is_in_the_graph(
    network, frontend, window, tmp_path
):
    extractor = keras_extractor(window)
    folder = ser.export_streams(
        network, tmp_path / "two", LABELS, frontend, NORMALIZATION, extractor
    )
    answers = expected(network, frontend, extractor)
    assert np.ptp(answers, 0).max() > 1e-5
    # As `load_serving` calls it: several lengths in one batch.
    served = ser.load_serving(folder)
    assert served.sample_rate == 8000 and takes_waveforms(folder)
    longest, shorter = clips()
    batch = np.full((2, 6000), np.nan, "float32")
    batch[0], batch[1, :4100] = longest, shorter
    outputs = served.signatures["serving_lengths"](
        waveform=tf.constant(batch), lengths=tf.constant([6000, 4100])
    )
    np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-5)
    names = [LABELS[i] for i in answers.argmax(-1)]
    assert served(clips())["label"].tolist() == names
    # An error is a clip's own.
    outputs = served.signatures["serving_lengths"](
        waveform=tf.constant(batch), lengths=tf.constant([6000, 4101])
    )
    probabilities = outputs["probabilities"].numpy()
    np.testing.assert_allclose(probabilities[0], answers[0], atol=1e-5)
    assert np.isnan(probabilities[1]).all()
    errors = [error.decode() for error in outputs["error"].numpy()]
    assert errors[0] == ""
    assert "NaN" in errors[1]
    with pytest.raises(ValueError, match="longer than 60 s"):
        served(np.zeros(60 * 8000 + 1, "float32"))
    outputs = served.signatures["serving_default"](
        waveform=tf.constant(longest[None])
    )
    np.testing.assert_allclose(outputs["probabilities"][0], answers[0], 1e-5)
    assert set(served.signatures) == {
        "serving_default",
        "serving_lengths",
        "serving_bytes",
        "handcrafted_and_deep_features",
    }
    # Files of other lengths, one of them no file.
    files = [wav(clip) for clip in clips()]
    outputs = served.signatures["serving_bytes"](
        audio=tf.constant([files[0], b"RIFF", files[1], wav(longest[:700])])
    )
    probabilities = outputs["probabilities"].numpy()
    np.testing.assert_allclose(probabilities[[0, 2]], answers, atol=1e-3)
    short = window is None  # A window is filled up with zeros.
    assert np.isnan(probabilities).all(1).tolist() == [
        False,
        True,
        False,
        short,
    ]
    errors = [error.decode() for error in outputs["error"].numpy()]
    assert errors[0] == errors[2] == ""
    assert errors[1] == "not a WAV file"
    assert errors[3].startswith("shorter than 800 samples" if short else "")
    # Finite samples whose answer is not.
    loud = tf.constant(np.full((1, 6000), 3e38, "float32"))
    outputs = served.signatures["serving_default"](waveform=loud)
    assert np.isnan(outputs["probabilities"]).all()
    assert b"not finite" in outputs["error"].numpy()[0]


def test_warm_up_requests_are_answered(network, frontend, tmp_path):
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    for name, extractor in (
        ("waveform", keras_extractor()),
        ("features", OutsideExtractor()),
    ):
        folder = ser.export_streams(
            network, tmp_path / name, LABELS, frontend, None, extractor
        )
        module, asked = tf.saved_model.load(str(folder)), []
        for record in tf.data.TFRecordDataset([str(folder / WARM_UP)]):
            log = logs.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            assert isinstance(request, predict_pb2.PredictRequest)
            assert request.model_spec.name == name
            signature = request.model_spec.signature_name
            outputs = module.signatures[signature](
                **{
                    key: tf.constant(tf.make_ndarray(value))
                    for key, value in request.inputs.items()
                }
            )
            assert set(outputs["error"].numpy()) == {b""}
            asked.append(signature)
        assert set(asked) == set(module.signatures)


def test_features_in_where_it_is_not(network, frontend, tmp_path):
    folder = ser.export_streams(
        network, tmp_path / "two", LABELS, frontend, None, OutsideExtractor()
    )
    module = tf.saved_model.load(str(folder))
    assert set(module.signatures) == {
        "serving_default",
        "handcrafted_and_deep_features",
    }
    rng = np.random.default_rng(0)
    x = {
        "handcrafted": rng.normal(size=(2, 30, 6)).astype("float32"),
        "deep": rng.normal(size=(2, 4, 5)).astype("float32"),
    }
    x["deep"][1] = 0  # Missing.
    answers = tf.nn.softmax(network({k: v[..., None] for k, v in x.items()}))
    for name in module.signatures:
        outputs = module.signatures[name](**x)
        np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-6)
    with pytest.raises(ValueError, match="takes features, not .*'handcr"):
        ser.load_serving(folder)(clips())
    assert not takes_waveforms(folder)
    card = json.loads((folder / "labels.json").read_text())
    assert card["deep_features"] == {"extractor": "outside"}
    own = card["handcrafted_features"]
    assert own["normalization"] is None
    again = keras.saving.deserialize_keras_object(own["frontend"])
    assert again.get_config() == frontend.get_config()
    assert "handcrafted features" in (folder / "card.md").read_text()
    assert "versions: 1" in (folder.parent / "model.config").read_text()


def test_features_of_both_streams_in_where_no_layer_makes_them(
    network, tmp_path
):
    """Of openSMILE, for instance."""
    for extractor in (None, keras_extractor()):
        folder = ser.export_streams(
            network, tmp_path / "two", LABELS, extractor=extractor
        )
        signatures = tf.saved_model.load(str(folder)).signatures
        names = {"serving_default", "handcrafted_and_deep_features"}
        assert set(signatures) == names
    x = np.random.default_rng(0).normal(size=(1, 20, 6)).astype("float32")
    call = signatures["serving_default"]
    outputs = call(handcrafted=x, deep=np.zeros((1, 0, 5), "float32"))
    answer = tf.nn.softmax(network({"handcrafted": x[..., None]}))
    np.testing.assert_allclose(outputs["probabilities"], answer, atol=1e-6)


def test_a_clip_without_a_deep_frame_has_its_own_error(
    network, frontend, tmp_path
):
    folder = ser.export_streams(
        network,
        tmp_path / "two",
        LABELS,
        frontend,
        NORMALIZATION,
        keras_extractor(),
    )
    call = ser.load_serving(folder).signatures["serving_lengths"]
    clip = clips()[0]
    for lengths in ([300], [799, 300], [6000, 300, 799]):
        batch = np.zeros((len(lengths), max(lengths)), "float32")
        for row, length in zip(batch, lengths, strict=True):
            row[:length] = clip[:length]
        outputs = call(
            waveform=tf.constant(batch), lengths=tf.constant(lengths)
        )
        for length, error, probabilities in zip(
            lengths,
            outputs["error"].numpy(),
            outputs["probabilities"].numpy(),
            strict=True,
        ):
            short = length < 800
            wanted = b"shorter than 800 samples: no deep frame" * short
            assert error == wanted
            assert np.isnan(probabilities).all() == short


def test_a_deep_stream_alone(tmp_path):
    network = ser.CellNetwork(
        SPACE.sample(0).deep,
        (None, 5, 1),
        num_classes=3,
        num_cells=0,
        recurrent_filters=4,
    )
    folder = ser.export_streams(network, tmp_path / "deep", LABELS)
    module = tf.saved_model.load(str(folder))
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
    outputs = module.signatures["deep_features"](deep=x)
    answers = tf.nn.softmax(network(x[..., None]))
    np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-6)


def test_other_exports_point_here(network, frontend, tmp_path):
    path = tmp_path / "two"
    for export in (ser.export_serving, ser.export_litert):
        for model, own in (
            (network, frontend),
            (ser.models.with_frontend(network, frontend), None),
        ):
            with pytest.raises(ValueError, match="`export_streams` writes"):
                export(model, path, LABELS, own)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(network, frontend, tmp_path):
    arguments = (network, tmp_path / "two")
    with pytest.raises(ValueError, match="3 classes"):
        ser.export_streams(*arguments, ("calm", "anger"), frontend)
    other = OutsideExtractor()
    other.num_features = 9
    with pytest.raises(ValueError, match="reads 5 deep features"):
        ser.export_streams(*arguments, LABELS, frontend, None, other)
    faster = keras_extractor()
    faster.sample_rate = 16000
    with pytest.raises(ValueError, match="one sample rate"):
        ser.export_streams(*arguments, LABELS, frontend, None, faster)
    assert not list(tmp_path.iterdir())
