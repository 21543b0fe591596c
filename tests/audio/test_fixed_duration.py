"""Clips of one duration, against numpy and the published steps."""

import numpy as np
import pytest
import tensorflow as tf

from ser_keras import MFCC
from ser_keras import FixedDuration
from ser_keras import Spectrogram
from ser_keras.audio import fit_length
from ser_keras.audio.batches import compute_features
from ser_keras.audio.batches import pad_batch
from ser_keras.testing import check_tf_data

RATE = 16000


def published(x, seconds):
    """The published preparation and MFCC, by numpy and tf.signal."""
    n = seconds * RATE
    if len(x) > n:
        x = x[(len(x) - n) // 2 :][:n]
    x = np.clip(x / np.percentile(np.abs(x), 99.9), -1, 1)
    missing = n - len(x)
    x = np.pad(x, (missing // 2, missing - missing // 2))
    filters = tf.signal.linear_to_mel_weight_matrix(128, 513, RATE, 80.0, 7600)
    magnitude = tf.abs(tf.signal.stft(x.astype("float32"), 1024, 256, 1024))
    mel = tf.math.log(tf.matmul(magnitude, filters) + 1e-6)
    mfcc = tf.signal.mfccs_from_log_mel_spectrograms(mel)[:, :40]
    return np.clip(mfcc, -10, 10)


@pytest.mark.parametrize(("seconds", "frames"), [(3, 184), (7, 434)])
def test_equals_published_steps(recordings, seconds, frames):
    layer = FixedDuration(MFCC.light_sernet(), seconds, peak_percentile=99.9)
    clips = [
        *recordings,
        np.concatenate(recordings),
        recordings[0][:12345],
        recordings[0][: 3 * RATE],
    ]
    # Alone, and in one padded batch.
    batch, lengths = pad_batch(clips)
    batch[0, lengths[0] :] = np.nan
    together = layer(batch, lengths=lengths)
    for x, row in zip(clips, together, strict=True):
        expected = published(x, seconds)
        assert expected.shape == (frames, 40)
        np.testing.assert_allclose(layer(x), expected, rtol=0, atol=2e-3)
        np.testing.assert_allclose(row, expected, rtol=0, atol=2e-3)
        assert np.abs(expected).max(axis=1).min() > 0  # No frame is masked.


@pytest.mark.parametrize("samples", [1024, 20001, 47999, 48000, 48001, 60001])
@pytest.mark.parametrize("percentile", [50, 99.9, 100, None])
def test_any_length_and_percentile(samples, percentile):
    x = np.random.default_rng(0).normal(size=samples).astype("float32")
    frontend = Spectrogram(
        frame_length=1024, frame_step=256, fft_length=1024, log="natural"
    )
    layer = FixedDuration(frontend, 3.0, percentile)
    kept = x[max(samples - 48000, 0) // 2 :][:48000]
    if percentile is not None:
        kept = np.clip(kept / np.percentile(np.abs(kept), percentile), -1, 1)
    expected = frontend(fit_length(kept, 48000).astype("float32"))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-3, atol=1e-3)


def test_silence_stays_silence():
    layer = FixedDuration(MFCC.light_sernet(), 3, peak_percentile=99.9)
    expected = MFCC.light_sernet()(np.zeros(48000, "float32"))
    np.testing.assert_allclose(layer(np.zeros(9000, "float32")), expected)


def test_in_the_pipeline(recordings):
    layer = FixedDuration(MFCC.light_sernet(), 3, peak_percentile=99.9)
    check_tf_data(layer, np.stack([x[:16000] for x in recordings]), atol=1e-3)
    for x in compute_features(recordings, layer):
        assert x.shape == (184, 40)
    config = layer.get_config()
    again = FixedDuration.from_config(config)
    assert again.get_config() == config
    assert isinstance(again.frontend, MFCC)
    assert layer.compute_output_shape((2, None)) == (2, 184, 40)
    assert layer.num_frames(np.array([5, 60000])).tolist() == [184, 184]
    assert layer.num_frames(tf.constant([5])).numpy().tolist() == [184]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration": 0.01}, "duration=0.01"),
        ({"duration": 3, "peak_percentile": 0}, "peak_percentile=0"),
        ({"duration": 3, "peak_percentile": 101}, "peak_percentile=101"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FixedDuration(MFCC.light_sernet(), **arguments)
