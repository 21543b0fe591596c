"""What commands make of finished runs with a deep stream."""

import json

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

import ser_keras as ser
from ser_keras.cli.experiments import show_training
from ser_keras.cli.main import main
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.experiments.emotionnas import EmotionNASExperiment
from ser_keras.experiments.front_ends import mfcc_or_log_mel
from ser_keras.experiments.front_ends import utterance_normalization
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.feature_set import FeatureSet

LABELS = ("calm", "anger")
CLIP = np.random.default_rng(0).normal(0, 0.1, 16000).astype("float32")


def embedding():
    return keras.Sequential(
        [
            keras.Input((None,)),
            keras.layers.Reshape((-1, 1)),
            keras.layers.Conv1D(5, 1600, strides=1600, activation="tanh"),
        ]
    )


class Peaks(Extractor):
    """The loudest samples of each tenth of a second."""

    sample_rate, num_features, frame_rate = 16000, 5, 10.0

    def settings(self):
        return {"extractor": "peaks"}


def finished_run(path, streams, extractor=""):
    """The folder of a run, as if trained; and its network."""
    config = EmotionNASConfig(
        smoke=True,
        streams=streams,
        deep_hop=0.1,
        deep_extractor=extractor,
        architecture="random",
        output_dir=str(path),
    )
    experiment = EmotionNASExperiment(config)
    manifest = Manifest(
        [Utterance(x, f"{x}.wav", x, "s") for x in LABELS], LABELS
    )
    sets = {
        name: FeatureSet(manifest, [np.ones((n, width))] * 2, frame_rate=rate)
        for name, n, width, rate in (
            ("handcrafted", 59, 16, 62.5),
            ("deep", 10, 5, 10.0),
        )
    }
    features = ser.FeatureStreams(sets) if streams == "both" else sets[streams]
    network = experiment.build(features, experiment.genotype())
    run = ser.training.RunFolder(path, vars(experiment.config))
    experiment.preprocessor().save(path / "preprocessor.json")
    run.write_json(
        "result.json",
        {
            "folds": {"Ses01": {}},
            "scores": {"uar": 0.5, "wa": 0.5, "n": 2},
            "temperature": 2.0,
        },
    )
    fold = path / "folds/Ses01"
    fold.mkdir(parents=True)
    network.save(fold / "network.keras")
    predictions = Predictions.of(manifest, np.eye(2))
    predictions.save_csv(path / "predictions.csv")
    return network


@pytest.mark.parametrize("streams", ["both", "deep", "handcrafted"])
def test_export(streams, tmp_path, capsys):
    model = embedding()
    model.save(tmp_path / "embedding.keras")
    extractor = str(tmp_path / "embedding.keras")
    network = finished_run(tmp_path / "run", streams, extractor)
    argv = ["export", str(tmp_path / "run"), "--output", str(tmp_path / "out")]
    assert main(argv) == 0, capsys.readouterr().err
    frontend = mfcc_or_log_mel("log_mel", 16)
    normalization = utterance_normalization("log_mel")
    features = {
        "handcrafted": normalization(frontend(CLIP[None]))[..., None],
        "deep": model(CLIP[None])[..., None],
    }
    logits = network(features if streams == "both" else features[streams])
    served = ser.load_saved_model(tmp_path / "out")
    np.testing.assert_allclose(
        served([CLIP])["probabilities"], tf.nn.softmax(logits / 2), atol=1e-5
    )
    assert served.labels == LABELS
    argv[-1] = str(tmp_path / "out.tflite")
    assert main([*argv, "--format", "litert"]) == (streams != "handcrafted")
    if streams != "handcrafted":
        assert "A LiteRT file" in capsys.readouterr().err
        assert not (tmp_path / "out.tflite").exists()


def test_a_model_that_takes_features_is_not_offered(tmp_path, capsys):
    """Its deep extractor is no Keras model, so it is not in the graph."""
    network = finished_run(tmp_path / "run", "deep")
    folder = ser.export_saved_model(
        network, tmp_path / "deep", LABELS, DeepFeatures(Peaks())
    )
    result = {
        "run": "run",
        "scores": {"uar": 0.5, "wa": 0.5, "n": 2, "per_speaker": {"s": {}}},
        "uar_interval_95": None,
        "saved_model": str(folder),
        "final": False,
        "folds": {"s": {"uar": 0.5, "n": 2}},
    }
    show_training(result)
    assert "try it" not in capsys.readouterr().out
    path = tmp_path / "run/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | result))
    wav = tmp_path / "a.wav"
    soundfile.write(wav, CLIP, 16000)
    assert main(["predict", str(wav), "--model", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "takes features, not waveforms" in error
    assert "deep_features" in error


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_an_ablation_is_named_with_its_runs(command, tmp_path, capsys):
    run = ser.training.RunFolder(tmp_path / "run", {"ablate": True})
    run.write_json("ablation.json", {})
    assert main([command, str(run.path)]) == 1
    error = capsys.readouterr().err
    assert "is an ablation" in error and "run/variants/<name>" in error
