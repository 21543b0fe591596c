"""Alterations of recordings: what telephones, codecs, rooms and noise do.

For training, as altered copies of the clips (`RandomAlteration`), and for
stress reports, each by itself. They work on arrays, before any front end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import typing
from typing import Any

import numpy as np
import scipy.signal
import soundfile
import soxr

from ser_keras.audio.io import fit_length

__all__ = [
    "Alteration",
    "BandLimit",
    "Codec",
    "Gain",
    "Noise",
    "Part",
    "RandomAlteration",
    "Reverberation",
]

_CODECS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "vorbis": ("OGG", "VORBIS"),
    "gsm": ("WAV", "GSM610"),
    "mu_law": ("WAV", "ULAW"),
}


class Alteration:
    """Base of alterations: `alter(waveform, sample_rate, rng)`.

    A subclass is a dataclass whose fields are its settings.
    """

    def alter(
        self, waveform: np.ndarray, sample_rate: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The waveform, altered; as long as before, but for `Part`.

        Args:
            waveform: Float32 `(samples,)`, in [-1, 1].
            sample_rate: Hz.
            rng: For what is random.
        """
        raise NotImplementedError

    def of_clip(
        self, waveform: np.ndarray, sample_rate: int, key: str
    ) -> np.ndarray:
        """The same with draws that depend on the settings and on a clip's key.

        Args:
            waveform: Float32 `(samples,)`, in [-1, 1].
            sample_rate: Hz.
            key: Of the clip, such as a hash of its content.
        """
        text = json.dumps([self.settings(), key], sort_keys=True)
        state = hashlib.blake2b(text.encode(), digest_size=16).digest()
        rng = np.random.default_rng(list(state))
        return self.alter(waveform, sample_rate, rng)

    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON types."""
        fields = dataclasses.asdict(typing.cast(Any, self))
        return {"alteration": type(self).__name__, **fields}


@dataclasses.dataclass(frozen=True)
class BandLimit(Alteration):
    """Resampled to a lower rate and back, as a telephone network does.

    Args:
        rate: The lower rate, Hz; half of it is what remains.

    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(0, 0.1, 16000).astype("float32")
    >>> altered = BandLimit(8000).alter(noise, 16000, rng)
    >>> spectrum = np.abs(np.fft.rfft(altered))  # A bin is 1 Hz.
    >>> bool(spectrum[4500:].mean() < 0.02 * spectrum[:3500].mean())
    True
    """

    rate: int = 8000

    def alter(self, waveform, sample_rate, rng):
        if self.rate >= sample_rate:
            return waveform
        lower = soxr.resample(waveform, sample_rate, self.rate)
        return _as_long(soxr.resample(lower, self.rate, sample_rate), waveform)


@dataclasses.dataclass(frozen=True)
class Codec(Alteration):
    """Encoded and decoded again, by a codec of libsndfile.

    Args:
        name: `"mp3"`, `"opus"`, `"vorbis"`, or of telephones, at 8 kHz:
            `"gsm"`, `"mu_law"`.
        quality: From 0, the fewest bits, to 1; not of telephone codecs.

    Raises:
        ValueError: There is no such codec.

    >>> tone = np.sin(np.arange(16000) / 10).astype("float32") / 2
    >>> altered = Codec("mp3").alter(tone, 16000, None)
    >>> bool(0 < np.abs(altered - tone)[2000:-2000].max() < 0.05)
    True
    """

    name: str = "mp3"
    quality: float = 0.5

    def __post_init__(self):
        if self.name not in _CODECS:
            raise ValueError(
                f"`name` must be one of {', '.join(_CODECS)}. Received: "
                f"name={self.name!r}"
            )

    def alter(self, waveform, sample_rate, rng):
        container, subtype = _CODECS[self.name]
        telephone = container == "WAV"
        rate = 8000 if telephone else sample_rate
        x = np.clip(waveform, -1, 1)
        if rate != sample_rate:
            x = soxr.resample(x, sample_rate, rate)
        options = {}
        if not telephone:
            options["compression_level"] = min(1 - self.quality, 0.99)
        file = io.BytesIO()
        soundfile.write(
            file, x, rate, subtype=subtype, format=container, **options
        )
        file.seek(0)
        x, _ = soundfile.read(file, dtype="float32")
        if rate != sample_rate:
            x = soxr.resample(x, rate, sample_rate)
        return _as_long(x, waveform)


@dataclasses.dataclass(frozen=True)
class Noise(Alteration):
    """White or pink noise is added.

    Args:
        snr: Ratio of the clip's power to the noise's, dB; or None.
        level: Level of the noise, dB of full scale, in place of `snr`.
        color: `"white"` or `"pink"`.

    Raises:
        ValueError: Not one of `snr` and `level` is given, or there is no such
            color.

    >>> silence = np.zeros(16000, "float32")
    >>> noisy = Noise(level=-50).alter(silence, 16000, np.random.default_rng(0))
    >>> round(20 * np.log10(noisy.std()))
    -50
    """

    snr: float | None = None
    level: float | None = None
    color: str = "white"

    def __post_init__(self):
        if (self.snr is None) == (self.level is None):
            raise ValueError(
                "Either `snr` or `level` must be given. Received: "
                f"snr={self.snr}, level={self.level}"
            )
        if self.color not in ("white", "pink"):
            raise ValueError(
                "`color` must be 'white' or 'pink'. Received: "
                f"color={self.color!r}"
            )

    def alter(self, waveform, sample_rate, rng):
        noise = rng.normal(size=len(waveform))
        if self.color == "pink":
            spectrum = np.fft.rfft(noise)
            spectrum /= np.sqrt(np.arange(1, len(spectrum) + 1))
            noise = np.fft.irfft(spectrum, len(waveform))
        noise /= max(np.sqrt(np.mean(noise**2)), 1e-12)
        if self.level is not None:
            size = 10 ** (self.level / 20)
        else:
            power = np.sqrt(np.mean(np.square(waveform, dtype="float64")))
            size = power * 10 ** (-self.snr / 20)
        return (waveform + size * noise).astype("float32")


@dataclasses.dataclass(frozen=True)
class Reverberation(Alteration):
    """A room: convolution with noise that decays exponentially.

    Args:
        decay: Time in which it falls by 60 dB, seconds (RT60).
        wet: Level of the room, relative to the direct sound, dB.

    >>> click = np.zeros(8000, "float32")
    >>> click[0] = 0.5
    >>> room = Reverberation(0.4).alter(click, 16000, np.random.default_rng(0))
    >>> bool(room[:100].std() > 10 * room[6000:].std() > 0)
    True
    """

    decay: float = 0.5
    wet: float = 0.0

    def alter(self, waveform, sample_rate, rng):
        time = np.arange(round(self.decay * sample_rate)) / sample_rate
        room = rng.normal(size=len(time)) * 10 ** (-3 * time / self.decay)
        room *= 10 ** (self.wet / 20) / max(np.linalg.norm(room), 1e-12)
        room[0] += 1
        altered = scipy.signal.fftconvolve(waveform, room)[: len(waveform)]
        return _level_of(altered, waveform)


@dataclasses.dataclass(frozen=True)
class Gain(Alteration):
    """Louder or quieter; what is beyond full scale is clipped.

    Args:
        decibels: Of the level.

    >>> Gain(-20).alter(np.float32([0.5]), 16000, None).round(3).tolist()
    [0.05000000074505806]
    """

    decibels: float = 0.0

    def alter(self, waveform, sample_rate, rng):
        altered = waveform * np.float32(10 ** (self.decibels / 20))
        return np.clip(altered, -1, 1)


@dataclasses.dataclass(frozen=True)
class Part(Alteration):
    """The middle of a clip; a shorter one stays as it is.

    Args:
        seconds: Its length.

    >>> Part(0.5).alter(np.zeros(16000, "float32"), 16000, None).shape
    (8000,)
    """

    seconds: float = 1.0

    def alter(self, waveform, sample_rate, rng):
        size = min(len(waveform), round(self.seconds * sample_rate))
        return fit_length(waveform, size)


@dataclasses.dataclass(frozen=True)
class RandomAlteration(Alteration):
    """Several alterations, drawn anew for each clip; for training.

    In this order, each with its probability: a part (0.3) of 0.7 to 3 s; a
    room (0.3) of 0.2 to 0.8 s; noise (0.5), white or pink, 0 to 40 dB below
    the clip; a limited band (0.5), of 5 to 16 kHz sampling; a codec (0.3),
    Opus, Vorbis, GSM or mu-law; and always a level of -15 to 5 dB.

    Args:
        seed: Of the draws, with the clip's content.

    >>> tone = np.sin(np.arange(16000) / 10).astype("float32") / 2
    >>> altered = RandomAlteration().alter(tone, 16000,
    ...                                    np.random.default_rng(0))
    >>> altered.shape, altered.dtype
    ((16000,), dtype('float32'))
    """

    seed: int = 0

    def alter(self, waveform, sample_rate, rng):
        chain: list[Alteration] = []
        if rng.random() < 0.3:
            chain.append(Part(rng.uniform(0.7, 3.0)))
        if rng.random() < 0.3:
            chain.append(
                Reverberation(rng.uniform(0.2, 0.8), rng.uniform(-15, 0))
            )
        if rng.random() < 0.5:
            color = str(rng.choice(["white", "pink"]))
            chain.append(Noise(snr=rng.uniform(0, 40), color=color))
        if rng.random() < 0.5:
            chain.append(BandLimit(int(rng.uniform(5000, 16000))))
        if rng.random() < 0.3:
            name = str(rng.choice(["opus", "vorbis", "gsm", "mu_law"]))
            chain.append(Codec(name, rng.uniform(0.2, 0.8)))
        chain.append(Gain(rng.uniform(-15, 5)))
        for alteration in chain:
            waveform = alteration.alter(waveform, sample_rate, rng)
        return waveform


def _as_long(altered, waveform):
    """Cut, or filled with zeros at the end, to the length of another one."""
    size = len(waveform)
    altered = altered[:size].astype("float32")
    return np.pad(altered, (0, size - len(altered)))


def _level_of(altered, waveform):
    """At the power of another one."""
    power = np.sqrt(np.mean(np.square(altered)))
    wanted = np.sqrt(np.mean(np.square(waveform, dtype="float64")))
    return (altered * (wanted / max(power, 1e-12))).astype("float32")
