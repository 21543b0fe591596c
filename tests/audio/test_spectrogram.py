import librosa
import numpy as np
import pytest

from ser_keras import Spectrogram
from ser_keras.testing import check_tf_data

OPTIONS = {"frame_length": 400, "frame_step": 160, "fft_length": 512}


@pytest.mark.parametrize("transform", ["fft", "matrix_products"])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("center", [False, True])
def test_equals_librosa(recordings, power, center, transform):
    x = recordings[0][:32000]
    layer = Spectrogram(power=power, center=center, amin=1e-6, **OPTIONS)
    if transform == "matrix_products":  # As LiteRT files have it.
        layer = layer.without_fft()
    spectrum = librosa.stft(
        x,
        n_fft=512,
        hop_length=160,
        win_length=400,
        center=center,
        pad_mode="constant",
    )
    convert = librosa.power_to_db if power == 2 else librosa.amplitude_to_db
    options = {"ref": 1.0, "amin": 1e-6 if power == 2 else 1e-3}
    expected = convert(np.abs(spectrum.T) ** power, top_db=None, **options)
    assert expected.shape[1] == layer.num_features == 257
    np.testing.assert_allclose(layer(x), expected, atol=1e-2)


def test_a_tone_is_in_its_bin():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    layer = Spectrogram(**OPTIONS)
    assert set(layer(tone.astype("float32")).numpy().argmax(1)) == {32}


def test_in_the_pipeline(recordings):
    batch = np.stack([x[:16000] for x in recordings])
    check_tf_data(Spectrogram(log="natural", **OPTIONS), batch, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame_length": 1024}, "fft_length"),
        ({"power": 3}, "power=3"),
        ({"log": "bel"}, "log='bel'"),
        ({"frame_step": 0}, "frame_step=0"),
        ({"amin": 0.0}, "amin=0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Spectrogram(**arguments)


def test_clip_shorter_than_a_frame():
    with pytest.raises(ValueError, match="at least 512 samples"):
        Spectrogram(**OPTIONS)(np.zeros((1, 511), "float32"))
