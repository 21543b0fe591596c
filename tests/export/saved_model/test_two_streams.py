"""SavedModels of two streams give what the Keras model gives."""

import io
import json

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.export.saved_model.model import load_saved_model
from ser_keras.export.saved_model.model import takes_waveforms
from ser_keras.export.saved_model.serving_files import WARM_UP
from ser_keras.export.saved_model.two_streams import StreamFunctions
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.preprocessor import StreamPreprocessors
from ser_keras.search_space import SearchSpace

LABELS = ("calm", "anger", "fear")
TEMPERATURE = 0.5
SPACE = ser.TwoStreamSearchSpace(
    SearchSpace(("skip_connect",), ("rnn_1",), num_nodes=1, edges_per_node=1),
    SearchSpace((), ("rnn_1",), num_nodes=1, edges_per_node=1),
    ("supplement",),
)


def handcrafted(normalization=None):
    frontend = ser.LogMelSpectrogram(sample_rate=8000, num_mel_bins=6)
    return Preprocessor(frontend, normalization)


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


def deep_network(window=None):
    layers = [
        keras.Input((window,)),
        keras.layers.Reshape((-1, 1)),
        keras.layers.Conv1D(
            5, 800, strides=400 if window is None else 800, activation="tanh"
        ),
    ]
    return keras.Sequential(layers)


def keras_extractor(window=None, sample_rate=8000):
    hop = (400 if window is None else 1600) / sample_rate
    return KerasExtractor(deep_network(window), sample_rate, hop)


def two_streams(extractor, own=None):
    return StreamPreprocessors(
        {"handcrafted": own or handcrafted(), "deep": DeepFeatures(extractor)}
    )


class OutsideExtractor(Extractor):
    sample_rate, frame_rate = 8000, 10.0

    def __init__(self, num_features=5):
        self.num_features = num_features

    def settings(self):
        return {"extractor": "outside"}


def clips():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, n).astype("float32") for n in (6000, 4100)]


def wav(clip):
    file = io.BytesIO()
    soundfile.write(file, clip, 8000, "PCM_16", format="WAV")
    return file.getvalue()


def expected(network, streams):
    """Each clip by itself, its features computed as for training."""
    rows = []
    for clip in clips():
        extractor = streams.streams["deep"].extractor
        features = {
            "handcrafted": streams.streams["handcrafted"](clip[None])[
                ..., None
            ],
            "deep": extractor.extract(clip)[None, ..., None],
        }
        logits = network(features)[0] / TEMPERATURE
        rows.append(tf.nn.softmax(logits).numpy())
    return np.array(rows)


def export(network, path, preprocessor):
    """The SavedModel, read back: loading takes as long as writing."""
    folder = export_saved_model(
        network, path, LABELS, preprocessor, temperature=TEMPERATURE
    )
    return load_saved_model(folder)


@pytest.fixture(scope="module")
def on_whole_clips(network, tmp_path_factory):
    """Preprocessors of which the deep one is in the graph, and SavedModel."""
    folder = tmp_path_factory.mktemp("whole")
    deep_network().save(folder / "deep.keras")
    streams = StreamPreprocessors(
        {
            "handcrafted": handcrafted(ser.UtteranceNormalization(over="all")),
            "deep": DeepFeatures(
                folder / "deep.keras", hop=0.05, sample_rate=8000
            ),
        }
    )
    return streams, export(network, folder / "whole", streams)


@pytest.fixture(scope="module")
def on_windows(network, tmp_path_factory):
    """The same, of an extractor that runs on windows of 0.2 s."""
    streams = two_streams(keras_extractor(1600))
    path = tmp_path_factory.mktemp("windows") / "windows"
    return streams, export(network, path, streams)


@pytest.fixture(scope="module")
def on_features(network, tmp_path_factory):
    """The same, of an extractor that cannot be in a graph."""
    streams = two_streams(OutsideExtractor())
    path = tmp_path_factory.mktemp("features") / "features"
    return streams, export(network, path, streams)


@pytest.mark.parametrize("kind", ["on_whole_clips", "on_windows"])
def test_waveform_in_where_the_extractor_is_in_the_graph(
    network, kind, request
):
    streams, served = request.getfixturevalue(kind)
    answers = expected(network, streams)
    assert np.ptp(answers, 0).max() > 1e-5
    assert served.sample_rate == 8000 and takes_waveforms(served.path)
    # As `SavedModel` calls it: several lengths in one batch.
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
    short = kind == "on_whole_clips"  # A window is filled up with zeros.
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


def test_preprocessor_beside_the_graph_makes_its_features(
    on_whole_clips, network, tmp_path
):
    streams, served = on_whole_clips
    facts = json.loads((served.path / "labels.json").read_text())
    again = keras.saving.deserialize_keras_object(facts["preprocessor"])
    assert again.hash == streams.hash
    assert facts["temperature"] == TEMPERATURE
    rows = []
    for i, clip in enumerate(clips()):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, clip, 8000, "FLOAT")
        rows.append(Utterance(str(i), str(path), "calm", "s"))
    features = again.compute(Manifest(rows)).streams
    for number, answer in enumerate(expected(network, streams)):
        x = {k: s.arrays[number][None, ..., None] for k, s in features.items()}
        probabilities = tf.nn.softmax(network(x)[0] / TEMPERATURE)
        np.testing.assert_allclose(probabilities, answer, atol=1e-5)


@pytest.mark.parametrize("kind", ["on_whole_clips", "on_features"])
def test_warm_up_requests_are_answered(kind, request):
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    _, served = request.getfixturevalue(kind)
    asked = []
    for record in tf.data.TFRecordDataset([str(served.path / WARM_UP)]):
        log = logs.PredictionLog.FromString(record.numpy())
        asked_for = log.predict_log.request
        assert isinstance(asked_for, predict_pb2.PredictRequest)
        assert asked_for.model_spec.name == served.path.parent.name
        signature = asked_for.model_spec.signature_name
        outputs = served.signatures[signature](
            **{
                key: tf.constant(tf.make_ndarray(value))
                for key, value in asked_for.inputs.items()
            }
        )
        assert set(outputs["error"].numpy()) == {b""}
        asked.append(signature)
    assert set(asked) == set(served.signatures)


def test_features_in_where_it_is_not(network, on_features):
    _, served = on_features
    folder = served.path
    assert set(served.signatures) == {
        "serving_default",
        "handcrafted_and_deep_features",
    }
    rng = np.random.default_rng(0)
    x = {
        "handcrafted": rng.normal(size=(2, 30, 6)).astype("float32"),
        "deep": rng.normal(size=(2, 4, 5)).astype("float32"),
    }
    x["deep"][1] = 0  # Missing.
    logits = network({k: v[..., None] for k, v in x.items()})
    answers = tf.nn.softmax(logits / TEMPERATURE)
    for signature in served.signatures.values():
        outputs = signature(**x)
        np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-6)
    # Of a clip too short for any frame, the stream has none.
    outputs = signature(handcrafted=x["handcrafted"], deep=x["deep"][:, :0])
    logits = network({"handcrafted": x["handcrafted"][..., None]})
    answers = tf.nn.softmax(logits / TEMPERATURE)
    np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-6)
    with pytest.raises(ValueError, match="takes features, not .*'handcr"):
        served(clips())
    assert not takes_waveforms(folder)
    card = json.loads((folder / "labels.json").read_text())
    assert card["deep_features"] == {"extractor": "outside"}
    assert card["features"].startswith("handcrafted: 6 LogMelSpectrogram")
    own = card["preprocessor"]["config"]["streams"]["handcrafted"]
    again = keras.saving.deserialize_keras_object(own)
    assert again.hash == handcrafted().hash
    assert card["features"] in (folder / "card.md").read_text()
    assert "versions: 1" in (folder.parent / "model.config").read_text()


def test_features_of_both_streams_in_where_no_layer_makes_them(network):
    """Of openSMILE, for instance."""
    own = DeepFeatures(OutsideExtractor(6))
    streams = two_streams(keras_extractor(), own)
    functions = StreamFunctions(network, LABELS, streams, 60.0, 1.0)
    assert set(functions.signatures) == {
        "serving_default",
        "handcrafted_and_deep_features",
    }


def test_a_clip_without_a_deep_frame_has_its_own_error(on_whole_clips):
    call = on_whole_clips[1].signatures["serving_lengths"]
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
    served = export(
        network, tmp_path / "deep", DeepFeatures(OutsideExtractor())
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
    outputs = served.signatures["deep_features"](deep=x)
    answers = tf.nn.softmax(network(x[..., None]) / TEMPERATURE)
    np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-6)


def test_litert_files_have_one_stream(network, tmp_path):
    for model, own in (
        (network, handcrafted()),
        (network, two_streams(OutsideExtractor())),
        (network.deep_encoder, DeepFeatures(OutsideExtractor())),
        (ser.models.with_frontend(network, handcrafted()), None),
    ):
        with pytest.raises(ValueError, match="`export_saved_model` writes"):
            ser.export_litert(model, tmp_path / "m.tflite", LABELS, own)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(network, tmp_path):
    def refused(match, preprocessor, labels=LABELS, model=network, **options):
        path = tmp_path / "two"
        with pytest.raises(ValueError, match=match):
            export_saved_model(model, path, labels, preprocessor, **options)

    streams = two_streams(OutsideExtractor())
    refused("3 classes", streams, ("calm", "anger"))
    refused("reads 5 deep features", two_streams(OutsideExtractor(9)))
    refused("one sample rate", two_streams(keras_extractor(None, 16000)))
    refused("`temperature` must be positive", streams, temperature=-1)
    for one in (handcrafted(), DeepFeatures(OutsideExtractor()), None):
        refused("of 'handcrafted' and 'deep' for a network of two", one)
    named = StreamPreprocessors({"mel": handcrafted()})
    refused("of 'handcrafted' and 'deep' for a network of two", named)
    assert not list(tmp_path.iterdir())
