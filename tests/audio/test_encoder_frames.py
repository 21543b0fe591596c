"""Hidden states as features, and their statistics, against numpy."""

import numpy as np
import pytest

from ser_keras.audio.encoder_frames import EncoderFrames
from ser_keras.audio.encoder_frames import EncoderStatistics
from ser_keras.audio.encoder_frames import Waveform
from ser_keras.audio.encoder_frames import front_end_of
from ser_keras.audio.whisper_log_mel import WhisperLogMel
from ser_keras.encoders import SpeechEncoder
from ser_keras.features.preprocessor import Preprocessor
from tests.conftest import REPOSITORY

DATA = REPOSITORY / "tests/encoders/data"
NAMES = ["whisper", "wav2vec2_base", "wavlm_large"]


def read(name, layers=None):
    return SpeechEncoder.from_pretrained(DATA / name, layers)


def noise(samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, samples).astype("float32")


def states_of(encoder, clip):
    """Hidden states of a clip by itself, `(layers, frames, units)`."""
    x = clip[None]
    if "Whisper" in type(encoder).__name__:
        x = WhisperLogMel(encoder.num_mel_bins)(x)
    return np.concatenate([np.asarray(state) for state in encoder(x)])


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_in_a_batch_has_the_features_that_it_has_alone(name):
    encoder = read(name)
    clips = [noise(6000), noise(4321, seed=1)]
    batch = np.full((2, 6000), np.nan, "float32")
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    batch = np.nan_to_num(batch)
    lengths = np.array([6000, 4321], np.int32)
    layer = EncoderFrames(encoder, (2, 0))
    frames, statistics = (
        layer(batch, lengths=lengths).numpy()
        for layer in (
            EncoderFrames(encoder, (2, 0)),
            EncoderStatistics(encoder),
        )
    )
    layer = EncoderFrames(encoder, (2, 0))
    for row, clip in enumerate(clips):
        states = states_of(encoder, clip)
        count = int(layer.num_frames(len(clip)))
        assert count == states.shape[1]
        np.testing.assert_allclose(
            frames[row, :count],
            np.concatenate([states[2], states[0]], -1),
            atol=2e-4,
        )
        assert not frames[row, count:].any()
        expected = np.concatenate([states.mean(1), states.std(1)], -1)
        np.testing.assert_allclose(statistics[row], expected, atol=2e-4)
    assert layer.num_features == 2 * encoder.units


def test_preprocessors_of_a_corpus(built_in_clips, tmp_path):
    encoder = read("whisper")
    frames = Preprocessor(EncoderFrames(encoder))
    statistics = Preprocessor(EncoderStatistics(encoder))
    found = statistics.compute(built_in_clips, tmp_path)
    assert found.frame_rate is None
    for x, y in zip(
        found.arrays, frames.compute(built_in_clips).arrays, strict=True
    ):
        layers = np.split(y, 3, axis=1)
        expected = [np.concatenate([z.mean(0), z.std(0)]) for z in layers]
        np.testing.assert_allclose(x, expected, atol=1e-4)
    # An encoder with other weights has other features.
    encoder.transformer_layers[0].intermediate.bias.assign_add(
        np.full(encoder.feed_forward_units, 1e-4, "float32")
    )
    changed = statistics.compute(built_in_clips, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert np.abs(changed.arrays[0] - found.arrays[0]).max() > 0


@pytest.fixture(scope="module")
def built_in_clips():
    from ser_keras.corpora import Manifest
    from ser_keras.corpora import load_corpus
    from ser_keras.corpora.built_in import built_in_corpus

    corpus = load_corpus("emodb", built_in_corpus())
    return Manifest(list(corpus)[:3], corpus.labels)


def test_front_ends():
    whisper, wavlm = read("whisper"), read("wavlm_large")
    assert isinstance(front_end_of(whisper), WhisperLogMel)
    waveform = front_end_of(wavlm)
    assert isinstance(waveform, Waveform)
    assert waveform.min_samples == wavlm.min_samples
    assert Waveform.from_config(waveform.get_config()).shortest == 400


@pytest.mark.parametrize("layers", [(), (3,), (1, 1), (-1,), ("1",)])
def test_layers_that_are_not_there(layers):
    with pytest.raises(ValueError, match="from 0 to 2"):
        EncoderFrames(read("whisper"), layers)
