"""Alterations of recordings, against what they are in numbers."""

import numpy as np
import pytest
import scipy.signal

from ser_keras.audio import alterations
from ser_keras.audio.alterations import BandLimit
from ser_keras.audio.alterations import Codec
from ser_keras.audio.alterations import Gain
from ser_keras.audio.alterations import Noise
from ser_keras.audio.alterations import Part
from ser_keras.audio.alterations import RandomAlteration
from ser_keras.audio.alterations import Reverberation
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.preprocessor import Preprocessor

RATE = 16000


def rng():
    return np.random.default_rng(3)


def decibels(x):
    return 10 * np.log10(np.mean(np.square(x, dtype="float64")))


@pytest.fixture(scope="module")
def speech(recordings):
    return recordings[0]


@pytest.mark.parametrize("rate", [6000, 8000, 12000])
def test_nothing_is_left_above_half_the_lower_rate(rate):
    noise = rng().normal(0, 0.1, 4 * RATE).astype("float32")
    altered = BandLimit(rate).alter(noise, RATE, None)
    frequencies, power = scipy.signal.welch(altered, RATE, nperseg=1024)
    _, before = scipy.signal.welch(noise, RATE, nperseg=1024)
    change = 10 * np.log10(power / before)
    assert np.all(np.abs(change[(frequencies < 0.4 * rate)]) < 1)
    assert np.all(change[frequencies > 0.55 * rate] < -40)
    np.testing.assert_array_equal(
        BandLimit(RATE).alter(noise, RATE, None), noise
    )


@pytest.mark.parametrize("name", ["mp3", "opus", "vorbis", "gsm", "mu_law"])
def test_codecs_keep_the_speech_and_its_place(name, speech):
    altered = Codec(name).alter(speech, RATE, None)
    assert altered.shape == speech.shape and altered.dtype == np.float32
    products = scipy.signal.correlate(altered, speech)
    delay = np.argmax(products) - (len(speech) - 1)
    assert abs(delay) <= 8  # Half a millisecond.
    error = altered - speech
    assert 5 < decibels(speech) - decibels(error) < 60


def test_fewer_bits_are_worse(speech):
    errors = [
        decibels(Codec("mp3", quality).alter(speech, RATE, None) - speech)
        for quality in (0.0, 0.5, 1.0)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("color", ["white", "pink"])
def test_noise_has_its_level_and_its_colour(color, speech):
    noise = Noise(snr=12, color=color).alter(speech, RATE, rng()) - speech
    assert decibels(speech) - decibels(noise) == pytest.approx(12, abs=0.1)
    silence = np.zeros(8 * RATE, "float32")
    noise = Noise(level=-50, color=color).alter(silence, RATE, rng())
    assert decibels(noise) == pytest.approx(-50, abs=0.1)
    frequencies, power = scipy.signal.welch(noise, RATE, nperseg=4096)
    middle = (frequencies > 100) & (frequencies < 7000)
    slope = np.polyfit(
        np.log10(frequencies[middle]), 10 * np.log10(power[middle]), 1
    )[0]
    # Decibels a decade.
    assert slope == pytest.approx(-10 if color == "pink" else 0, abs=1)


def test_a_room_decays_by_its_time():
    click = np.zeros(RATE, "float32")
    click[0] = 1
    room = Reverberation(0.5, wet=0).alter(click, RATE, rng())
    windows = [
        decibels(room[round(t * RATE) :][:800]) for t in (0.05, 0.25, 0.4)
    ]
    # 60 dB in half a second.
    assert windows[0] - windows[1] == pytest.approx(24, abs=3)
    assert windows[1] - windows[2] == pytest.approx(18, abs=3)
    assert decibels(room) == pytest.approx(decibels(click), abs=0.1)


def test_gain_clips_and_a_part_is_the_middle():
    x = np.float32([0.1, -0.8, 0.9])
    np.testing.assert_allclose(
        Gain(6.0206).alter(x, RATE, None), [0.2, -1, 1], rtol=1e-4
    )
    np.testing.assert_array_equal(Part(1 / RATE).alter(x, RATE, None), x[1:2])
    np.testing.assert_array_equal(Part(9.0).alter(x, RATE, None), x)


def test_draws_depend_on_the_clip_and_the_seed_alone(speech):
    first = RandomAlteration(0).of_clip(speech, RATE, "a")
    np.testing.assert_array_equal(
        RandomAlteration(0).of_clip(speech, RATE, "a"), first
    )
    for seed, key in ((1, "a"), (0, "b")):
        other = RandomAlteration(seed).of_clip(speech, RATE, key)
        assert len(other) != len(first) or np.abs(other - first).max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Codec("aac"), "mp3.*name='aac'"),
        (lambda: Noise(), "snr=None, level=None"),
        (lambda: Noise(snr=1, level=2), "snr=1, level=2"),
        (lambda: Noise(snr=1, color="blue"), "color='blue'"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture
def clips(tmp_path, speech):
    import soundfile

    for name, shift in (("a", 0), ("b", 3000)):
        soundfile.write(tmp_path / f"{name}.wav", speech[shift:], RATE)
    return Manifest(
        [Utterance(x, str(tmp_path / f"{x}.wav"), "anger", x) for x in "ab"]
    )


def test_features_of_altered_clips_are_cached_by_the_alteration(
    clips, tmp_path, monkeypatch
):
    from ser_keras.audio import MFCC
    from ser_keras.audio import load_audio

    preprocessor = Preprocessor(MFCC())
    cache = tmp_path / "cache"
    plain = preprocessor.compute(clips, cache)
    telephone = preprocessor.compute(clips, cache, alteration=BandLimit(8000))
    for utterance, x in zip(clips, telephone.arrays, strict=True):
        waveform = load_audio(utterance.path, RATE)
        altered = BandLimit(8000).alter(waveform, RATE, None)
        expected = preprocessor(altered[None])[0]
        np.testing.assert_allclose(x, expected, atol=1e-3)
    assert np.abs(plain.arrays[0] - telephone.arrays[0]).max() > 1
    again = preprocessor.compute(clips, cache, alteration=BandLimit(8000))
    np.testing.assert_array_equal(again.arrays[1], telephone.arrays[1])

    # Its code has changed: what is in the cache is no more its result.
    monkeypatch.setattr(
        alterations.BandLimit, "alter", lambda self, x, rate, rng: x / 2
    )
    changed = preprocessor.compute(clips, cache, alteration=BandLimit(8000))
    assert np.abs(changed.arrays[0] - telephone.arrays[0]).max() > 1
