import keras
import numpy as np
import pytest

from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.models.waveform_model import with_frontend
from ser_keras.testing import check_model_saving


def test_outputs_equal_the_layers_one_by_one(waveform_model, recordings):
    clip = recordings[0][None]
    features = UtteranceNormalization()(
        MFCC(sample_rate=16000, num_coefficients=20)(clip)
    )
    logits = np.asarray(
        waveform_model.model(features[..., None], training=False)
    )
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    outputs = waveform_model(clip)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    np.testing.assert_equal(np.asarray(outputs["label_id"]), logits.argmax(-1))


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
    loaded = check_model_saving(
        waveform_model, recordings[1][None], tmp_path / "model.keras"
    )
    assert loaded.frontend.get_config() == waveform_model.frontend.get_config()
    assert len(loaded.weights) == len(waveform_model.weights) > 0


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


def test_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="`model` must be built"):
        with_frontend(
            keras.Sequential([keras.layers.Dense(2)], name="x"),
            MFCC(sample_rate=16000),
        )
