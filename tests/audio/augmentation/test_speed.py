"""Faster and slower clips, read from files."""

import numpy as np
import pytest
import soundfile

from ser_keras import MFCC
from ser_keras import FixedDuration
from ser_keras import Spectrogram
from ser_keras.audio import AtSpeed
from ser_keras.audio import FeatureNoise
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.preprocessor import Preprocessor

RATE = 16000


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_duration_and_pitch(tmp_path, speed):
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)
    soundfile.write(tmp_path / "tone.wav", tone, RATE)
    manifest = Manifest(
        [Utterance("tone", str(tmp_path / "tone.wav"), "calm", "a")]
    )
    frontend = Spectrogram(frame_length=512, frame_step=256, fft_length=512)
    (x,) = Preprocessor(AtSpeed(frontend, speed)).compute(manifest).arrays
    # Bins are 31.25 Hz apart.
    assert set(x[2:-2].argmax(axis=1)) == {round(1000 * speed / 31.25)}
    assert len(x) == pytest.approx(2 * RATE / speed / 256 - 1, abs=1)


def test_around_any_front_end():
    layer = AtSpeed(FixedDuration(MFCC.light_sernet(), 3.0), 0.9)
    again = AtSpeed.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.sample_rate == 17778
    assert again.frame_length == 1024
    assert again.num_features == 40
    assert again.num_frames(5000) == 184
    assert again.compute_output_shape((2, None)) == (2, 184, 40)
    x = np.random.default_rng(0).normal(size=(2, 20000)).astype("float32")
    lengths = np.int32([20000, 9000])
    np.testing.assert_array_equal(
        again(x, lengths=lengths), layer.frontend(x, lengths=lengths)
    )


@pytest.mark.parametrize("speed", [0, -1.0])
def test_bad_speed(speed):
    with pytest.raises(ValueError, match=f"speed={speed}"):
        AtSpeed(MFCC(), speed)


def test_feature_noise_has_its_deviation_and_keeps_padding():
    x = np.ones((64, 200, 10), "float32")
    x[:, 150:] = 0
    layer = FeatureNoise(low=0.2, high=0.6)
    y = layer.augment(x, (1, 2)).numpy()
    assert not y[:, 150:].any()
    deviations = (y - x)[:, :150].std(axis=(1, 2))
    assert 0.19 < deviations.min() < 0.25 and 0.55 < deviations.max() < 0.61
    assert abs((y - x).mean()) < 0.01
    np.testing.assert_array_equal(layer.augment(x, (1, 2)), y)
    assert np.abs(layer.augment(x, (1, 3)) - y).max() > 0.1
