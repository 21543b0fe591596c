import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.matmul_spectrum import MatmulSpectrum
from ser_keras.audio.mfcc import MFCC


@pytest.mark.parametrize(
    "fft_length, frame_length",
    [(1024, 1024), (512, 400), (400, 400), (2048, 2048), (30, 25), (2, 2)],
)
def test_equals_numpy_fft(fft_length, frame_length):
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(2, 7, frame_length)).astype("float32")
    spectrum = MatmulSpectrum(fft_length)
    assert set(spectrum.bins) == set(range(fft_length // 2 + 1))
    expected = np.abs(np.fft.rfft(frames.astype("float64"), fft_length)) ** 2
    actual = spectrum(tf.constant(frames)).numpy()
    np.testing.assert_allclose(
        actual,
        expected[..., spectrum.bins],
        rtol=1e-4,
        atol=1e-6 * expected.max(),
    )


def test_quiet_frequencies_beside_a_loud_one():
    # 100 dB below the loud tone: what float16 matrices would drown.
    time = np.arange(1024) * 2 * np.pi / 1024
    window = 0.5 - 0.5 * np.cos(time)
    tones = np.sin(100 * time) + 1e-5 * np.sin(400 * time)
    expected = np.abs(np.fft.rfft(tones * window))[400] ** 2
    spectrum = MatmulSpectrum(1024)
    frames = (tones * window).astype("float32")[None, None]
    actual = spectrum(tf.constant(frames))[0, 0].numpy()
    quiet = actual[spectrum.bins == 400]
    np.testing.assert_allclose(quiet, expected, rtol=0.05)


@pytest.mark.parametrize("fft_length", [1024, 400, 30])
def test_permuted_matrix_makes_the_same_product(fft_length):
    rng = np.random.default_rng(1)
    spectrum = MatmulSpectrum(fft_length)
    matrix = rng.normal(size=(fft_length // 2 + 1, 5))
    power = rng.uniform(size=(3, fft_length // 2 + 1))
    np.testing.assert_allclose(
        power[:, spectrum.bins] @ spectrum.permute_rows(matrix),
        power @ matrix,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "layer",
    [
        MFCC.light_sernet(),
        MFCC(delta_order=2),
        LogMelSpectrogram(),
        LogMelSpectrogram.librosa(16000),
        LogMelSpectrogram(center=True, pad_mode="reflect", frame_length=320),
        LogMelSpectrogram(fft_length=480, frame_length=480, num_mel_bins=40),
    ],
    ids=lambda layer: layer.name,
)
def test_front_end_without_fft_gives_its_numbers(layer, recordings):
    other = layer.without_fft()
    assert type(other) is type(layer)
    config = {**other.get_config(), "name": layer.name}
    assert config == layer.get_config()
    for clip in recordings[:3]:
        padded = np.pad(clip, (0, 1000))[None]
        for lengths in (None, [len(clip)]):
            np.testing.assert_allclose(
                other(padded, lengths=lengths),
                layer(padded, lengths=lengths),
                atol=2e-3,
            )


def test_halves_of_a_layer_are_the_layer(recordings):
    layer, clip = MFCC.light_sernet(), recordings[0][None]
    np.testing.assert_array_equal(
        layer.from_spectrum(layer.spectrum(clip)), layer(clip)
    )
