import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.models.waveform_model import with_frontend
from ser_keras.testing import check_model_saving


def softmax(logits):
    x = np.exp(logits - logits.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def logits_of(model, clip):
    """The layers of a model one by one."""
    features = UtteranceNormalization()(
        MFCC(sample_rate=16000, num_coefficients=20)(clip)
    )
    return np.asarray(model.model(features[..., None], training=False))


def test_outputs_equal_the_layers_one_by_one(waveform_model, recordings):
    clip = recordings[0][None]
    logits = logits_of(waveform_model, clip)
    outputs = waveform_model(clip)
    np.testing.assert_allclose(
        outputs["probabilities"], softmax(logits), atol=1e-6
    )
    np.testing.assert_equal(np.asarray(outputs["label_id"]), logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_logits_are_divided_by_the_temperature(
    waveform_model, recordings, temperature
):
    clip = recordings[0][None]
    logits = logits_of(waveform_model, clip)
    model = WaveformModel(
        waveform_model.model,
        waveform_model.preprocessor,
        temperature=temperature,
    )
    outputs = model(clip)
    np.testing.assert_allclose(
        outputs["probabilities"], softmax(logits / temperature), atol=1e-6
    )
    np.testing.assert_equal(np.asarray(outputs["label_id"]), logits.argmax(-1))
    # The same from features.
    features = model.preprocessor(clip)
    np.testing.assert_allclose(
        model.predict_features(features)["probabilities"],
        outputs["probabilities"],
        atol=1e-6,
    )


@pytest.mark.parametrize("padding", [0.0, 0.3, np.nan])
def test_padding_changes_nothing(waveform_model, recordings, padding):
    lengths = [len(clip) for clip in recordings]
    batch = np.full((6, max(lengths) + 1234), padding, "float32")
    for row, clip in zip(batch, recordings, strict=True):
        row[: len(clip)] = clip
    together = waveform_model(batch, lengths=np.int32(lengths))["probabilities"]
    alone = [
        waveform_model(clip[None])["probabilities"][0] for clip in recordings
    ]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(np.asarray(together), axis=0).max() > 1e-4  # Clips differ.


def test_saving(waveform_model, recordings, tmp_path):
    model = WaveformModel(
        waveform_model.model,
        Preprocessor(
            FixedDuration(waveform_model.frontend, 2.0),
            waveform_model.normalization,
        ),
        temperature=1.7,
        name="calibrated",
        trainable=False,
    )
    loaded = check_model_saving(
        model, recordings[1][None], tmp_path / "model.keras"
    )
    assert loaded.preprocessor.hash == model.preprocessor.hash
    assert loaded.preprocessor.duration == 2.0
    assert loaded.temperature == 1.7
    assert (loaded.name, loaded.trainable) == ("calibrated", False)
    assert loaded.get_config() == model.get_config()
    assert len(loaded.weights) == len(model.weights) > 0


def test_duration_of_training_clips_is_kept(waveform_model):
    preprocessor = Preprocessor(waveform_model.frontend, duration=3.0)
    model = WaveformModel(waveform_model.model, preprocessor)
    again = WaveformModel.from_config(model.get_config())
    assert again.preprocessor.hash == preprocessor.hash
    assert again.preprocessor.duration == 3.0


def test_config_of_a_file_of_before_0_2_0(waveform_model, recordings):
    config = waveform_model.get_config()
    old = {
        key: config[key]
        for key in ("name", "model", "frontend", "normalization")
    }
    again = WaveformModel.from_config(old)
    again.model.set_weights(waveform_model.model.get_weights())
    assert again.temperature == 1 and again.preprocessor.duration is None
    clip = recordings[0][None]
    np.testing.assert_array_equal(
        again(clip)["probabilities"], waveform_model(clip)["probabilities"]
    )


def test_half_precision_reaches_the_network_alone(recordings):
    """The waveform is not rounded, whatever the global policy."""
    seen = {}

    class Seen(MFCC):
        def call(self, waveform, lengths=None):
            seen["waveform"] = np.asarray(waveform)
            return super().call(waveform, lengths=lengths)

    clip = recordings[0][None]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((None, 40, 1))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        network = keras.Model(inputs, keras.layers.Dense(3)(pooled))
        model = with_frontend(network, Seen())
        outputs = model(clip)
    finally:
        keras.config.set_dtype_policy(before)
    assert network.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(seen["waveform"], clip)
    assert outputs["probabilities"].dtype == tf.float32


def test_normalization_is_optional(recordings):
    frontend = MFCC(sample_rate=16000)
    inputs = keras.Input((None, frontend.num_features, 1))
    pooled = keras.layers.GlobalMaxPooling2D()(inputs)
    network = keras.Model(inputs, keras.layers.Dense(3)(pooled))
    model = with_frontend(network, frontend, name="plain")
    assert model.name == "plain"
    predicted = model.predict(recordings[0][None], verbose=0)
    assert predicted["probabilities"].shape == (1, 3)
    np.testing.assert_allclose(predicted["probabilities"].sum(), 1, atol=1e-6)


def test_arguments_are_checked(waveform_model):
    model, preprocessor = waveform_model.model, waveform_model.preprocessor
    unbuilt = keras.Sequential([keras.layers.Dense(2)], name="x")
    with pytest.raises(ValueError, match="`model` must be built"):
        with_frontend(unbuilt, MFCC(sample_rate=16000))
    with pytest.raises(ValueError, match="`frontend` must be a ser_keras"):
        with_frontend(model, keras.layers.Dense(2))
    with pytest.raises(ValueError, match="`normalization` must be None"):
        with_frontend(model, preprocessor, UtteranceNormalization())
    for temperature in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="`temperature` must be positive"):
            WaveformModel(model, preprocessor, temperature=temperature)
