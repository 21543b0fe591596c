"""Published weights of Whisper, on real speech."""

import os
import pathlib

import numpy as np
import pytest

from ser_keras.audio import WhisperLogMel
from ser_keras.audio import compute_features
from ser_keras.encoders import WhisperEncoder
from tests.encoders.published import arrays
from tests.encoders.published import padded


@pytest.fixture(scope="module")
def folder(repository):
    default = repository.parent / "shared/models"
    root = pathlib.Path(os.environ.get("SER_KERAS_MODELS", default))
    if not (root / "whisper-tiny.en").is_dir():
        pytest.skip(f"no whisper-tiny.en in {root}; set SER_KERAS_MODELS")
    return root / "whisper-tiny.en"


def test_clip_of_a_batch_is_as_alone(folder, recordings):
    encoder = WhisperEncoder.from_pretrained(folder, num_layers=2)
    assert (encoder.num_heads, encoder.final_norm) == (6, False)
    features = compute_features(recordings[:3], WhisperLogMel())
    batch, lengths = padded(features)
    states = arrays(encoder(batch, lengths=lengths))
    for clip, x in enumerate(features):
        alone = arrays(encoder(x[None]))
        assert alone[0].shape == (1, encoder.num_frames(len(x)), 384)
        for one, state in zip(alone, states, strict=True):
            own = state[clip, : one.shape[1]]
            scale = np.abs(one).max()
            np.testing.assert_allclose(own, one[0], atol=1e-4 * scale)
