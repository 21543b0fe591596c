import librosa
import numpy as np
import pytest
import scipy.fft
import tensorflow as tf

from ser_keras.audio import functional


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("width", [3, 5, 9])
def test_deltas_equal_librosas_to_the_ends_of_each_clip(order, width):
    rng = np.random.default_rng(0)
    # Of the size and range of MFCC.
    clips = [
        np.cumsum(rng.normal(0, 10, (frames, 40)), axis=0).astype("float32")
        for frames in (width, width + 1, 30, 100)
    ]
    padded = np.zeros((4, 100, 40), "float32")
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    lengths = [len(clip) for clip in clips]
    got = functional.deltas(padded, order, width, lengths).numpy()
    for clip, deltas in zip(clips, got, strict=True):
        expected = librosa.feature.delta(
            clip, width=width, order=order, axis=0, mode="interp"
        )
        # Beside 1e-4, the rounding of values that reach into the hundreds.
        np.testing.assert_allclose(
            deltas[: len(clip)], expected, atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", None])
def test_mel_matrix(htk, norm):
    scale = "htk" if htk else "slaney"
    expected = librosa.filters.mel(
        sr=22050, n_fft=1024, n_mels=60, fmin=30, fmax=9e3, htk=htk, norm=norm
    )
    matrix = functional.mel_matrix(60, 1024, 22050, 30, 9000, scale, norm)
    np.testing.assert_allclose(matrix, expected.T, atol=1e-6)
    x = np.random.default_rng(0).random((3, 513), np.float32)
    product = functional.banded_matmul(x, functional.banded_blocks(matrix, 7))
    np.testing.assert_allclose(product, x @ matrix, rtol=1e-5)


@pytest.mark.parametrize("norm", ["ortho", None])
def test_dct_matrix(norm):
    x = np.random.default_rng(0).normal(size=(5, 64))
    expected = scipy.fft.dct(x, norm=norm)[:, :20]
    matrix = functional.dct_matrix(64, 20, norm)
    np.testing.assert_allclose(x @ matrix, expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 4, 9, 10])
def test_deltas_of_short_clips_are_finite(frames):
    x = tf.random.normal((2, frames, 3))
    y = functional.deltas(x, order=2, lengths=[frames, 1])
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y[1], 0, atol=1e-6)
