import pathlib

import librosa
import numpy as np
import pytest

from ser_keras import Preprocessor
from ser_keras.audio import WhisperLogMel
from ser_keras.audio import compute_features
from ser_keras.testing import check_tf_data

# Made by tests/encoders/data/make.py, with transformers' own front end.
PUBLISHED = (
    pathlib.Path(__file__).parent.parent / "encoders/data/whisper_log_mel.npz"
)


def whisper_features(waveform, num_mel_bins):
    """Whisper's features as its paper has them, by librosa."""
    power = librosa.feature.melspectrogram(
        y=waveform.astype("float64"),
        sr=16000,
        n_fft=400,
        hop_length=160,
        n_mels=num_mel_bins,
        pad_mode="reflect",
    )
    x = np.log10(np.maximum(power[:, :-1], 1e-10))
    return (np.maximum(x, x.max() - 8).T + 4) / 4


def test_equals_transformers_on_speech():
    published = np.load(PUBLISHED)
    waveform = published["waveform"] / np.float32(2**15)
    features = WhisperLogMel()(waveform).numpy()
    assert features.shape == (100, 80)
    np.testing.assert_allclose(features, published["features"], atol=1e-4)


@pytest.mark.parametrize("transform", ["fft", "matrix_products"])
@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_equals_librosa(recordings, num_mel_bins, transform):
    layer = WhisperLogMel(num_mel_bins)
    if transform == "matrix_products":  # As LiteRT files have it.
        layer = layer.without_fft()
    for waveform in recordings[:2]:
        expected = whisper_features(waveform, num_mel_bins)
        np.testing.assert_allclose(layer(waveform), expected, atol=1e-4)


def test_clip_of_a_batch_has_its_own_maximum(recordings):
    clips = [recordings[0][:4321], 1e-3 * recordings[1], recordings[2][:201]]
    layer = WhisperLogMel()
    found = compute_features(clips, layer)
    for clip, features in zip(clips, found, strict=True):
        assert len(features) == len(clip) // 160 == layer.num_frames(len(clip))
        np.testing.assert_allclose(features, layer(clip), atol=1e-4)


def test_in_a_preprocessor(recordings):
    preprocessor = Preprocessor(WhisperLogMel())
    copy = Preprocessor.from_config(preprocessor.get_config())
    assert copy.hash == preprocessor.hash
    assert preprocessor.hash != Preprocessor(WhisperLogMel(128)).hash
    assert preprocessor.frame_rate == 100
    batch = np.stack([x[:8000] for x in recordings[:2]])
    features = preprocessor(batch, lengths=np.array([8000, 4000], "int32"))
    assert features.shape == (2, 50, 80)
    assert not np.any(features[1, 25:])


def test_in_the_pipeline(recordings):
    batch = np.stack([x[:8000] for x in recordings[:3]])
    check_tf_data(WhisperLogMel(), batch, atol=1e-4)


def test_clip_that_is_too_short():
    with pytest.raises(ValueError, match="at least 201 samples"):
        WhisperLogMel()(np.zeros(200, "float32"))
