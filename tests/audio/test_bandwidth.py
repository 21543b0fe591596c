"""Bandwidth of recordings, and the warning of a narrow one."""

import numpy as np
import pytest
import soundfile

from ser_keras.audio.alterations import BandLimit
from ser_keras.audio.alterations import Codec
from ser_keras.audio.bandwidth import bandwidth
from ser_keras.audio.bandwidth import missing_band
from ser_keras.cli.predict import PredictConfig
from ser_keras.cli.predict import predict
from ser_keras.cli.predict import show

RATE = 16000


@pytest.mark.parametrize("lower", [6000, 8000, 12000])
def test_of_real_speech(recordings, lower):
    for clip in recordings:
        assert bandwidth(clip, RATE) > 7500
        narrow = BandLimit(lower).alter(clip, RATE, None)
        found = bandwidth(narrow, RATE)
        assert 0.9 * lower / 2 < found <= 1.05 * lower / 2


def test_of_a_telephone_and_of_mp3(recordings):
    clip = recordings[0]
    assert 3300 < bandwidth(Codec("gsm").alter(clip, RATE, None), RATE) < 4200
    assert 7000 < bandwidth(Codec("mp3").alter(clip, RATE, None), RATE) < 7600


def test_of_clips_with_nothing_or_little(recordings):
    assert bandwidth(np.zeros(RATE), RATE) == 0
    assert bandwidth(np.zeros(10), RATE) == 0
    # The level does not matter.
    clip = recordings[0]
    assert bandwidth(clip / 1000, RATE) == bandwidth(clip, RATE)


def test_warning(recordings):
    clip = recordings[0]
    telephone = BandLimit(8000).alter(clip, RATE, None)
    assert missing_band(clip, RATE, 8000.0) is None
    message = missing_band(telephone, RATE, 8000.0)
    assert "nothing above 3.9 kHz" in message or "4.0 kHz" in message
    assert "up to 8.0 kHz" in message
    # A training that heard telephones, and one of which nothing is known.
    assert missing_band(telephone, RATE, 3900.0) is None
    assert missing_band(telephone, RATE, None) is None
    # Silence lacks everything, and is no matter of a band.
    assert missing_band(np.zeros(RATE), RATE, 8000.0) is None


def test_predict_warns_of_what_the_training_of_the_model_had(
    recordings, tmp_path, capsys
):
    files = [str(tmp_path / name) for name in ("whole.wav", "narrow.wav")]
    narrow = BandLimit(4000).alter(recordings[0], RATE, None)
    for file, clip in zip(files, (recordings[0], narrow), strict=True):
        soundfile.write(file, clip, RATE)
    result = predict(PredictConfig(tuple(files)))  # The model that comes along.
    whole, warned = result["files"]
    assert "warning" not in whole and "above 2.0 kHz" in warned["warning"]
    show(result)
    assert f"warning: {files[1]}: nothing above" in capsys.readouterr().err
