"""Statistics of the layers of a speech encoder."""

import numpy as np
import pytest

from ser_keras.audio.whisper_log_mel import WhisperLogMel
from ser_keras.encoders import SpeechEncoder
from ser_keras.features.extractors.encoder import EncoderStatistics
from tests.conftest import REPOSITORY

DATA = REPOSITORY / "tests/encoders/data"


def noise(samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, samples).astype("float32")


def expected(parts):
    """Of lists of hidden states `(1, frames, units)`, in numpy."""
    layers = [np.concatenate(x, axis=1)[0] for x in zip(*parts, strict=True)]
    return [np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in layers]


@pytest.mark.parametrize("name", ["whisper", "wav2vec2_base", "wavlm_large"])
def test_mean_and_deviation_of_each_layer(name):
    encoder = SpeechEncoder.from_pretrained(DATA / name)
    extractor = EncoderStatistics(encoder)
    clip = noise(6000)
    x = clip[None]
    if name == "whisper":
        x = WhisperLogMel(encoder.num_mel_bins)(x)
    np.testing.assert_allclose(
        extractor.extract(clip), expected([encoder(x)]), atol=1e-5
    )
    found = extractor.extract(noise(extractor.shortest))
    assert found.shape == (encoder.num_layers + 1, extractor.num_features)
    # One frame does not deviate.
    assert np.all(found[:, encoder.units :] < 1e-3)


def test_a_clip_longer_than_whisper_hears():
    encoder = SpeechEncoder.from_pretrained(DATA / "whisper")
    most = 320 * encoder.max_frames  # Samples.
    clip = noise(most + 3000)
    front_end = WhisperLogMel(encoder.num_mel_bins)
    parts = [clip[:most], clip[most:]]
    wanted = expected([encoder(front_end(x[None])) for x in parts])
    extractor = EncoderStatistics(encoder)
    np.testing.assert_allclose(extractor.extract(clip), wanted, atol=1e-5)
    # What is left of it is too short for a frame.
    np.testing.assert_array_equal(
        extractor.extract(clip[: most + 5]), extractor.extract(clip[:most])
    )


def test_settings_know_the_weights_and_the_layers():
    first, second = (
        EncoderStatistics(DATA / "whisper", layers).settings()
        for layers in (2, 1)
    )
    assert first != second
    encoder = SpeechEncoder.from_pretrained(DATA / "whisper", 2)
    assert EncoderStatistics(encoder).settings() != second
    before = EncoderStatistics(encoder).settings()
    encoder.weights[0].assign(encoder.weights[0] * 2)
    assert EncoderStatistics(encoder).settings() != before
