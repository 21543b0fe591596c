"""Bandwidth of recordings: up to which frequency there is anything."""

import numpy as np

_FRAME = 512
_RANGE = 65.0  # Decibels below the strongest frequency that count as content.
#: Part of the training's bandwidth below which a recording lacks something.
ENOUGH = 0.95


def bandwidth(waveform: np.ndarray, sample_rate: int) -> float:
    """The highest frequency at which a recording has content, Hz.

    That is within 65 dB of the strongest frequency, in the loudest twentieth
    of its frames. A telephone's recording has none above 4 kHz, however it
    was resampled since.

    Args:
        waveform: Float array `(samples,)`.
        sample_rate: Hz.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> bandwidth(tone, 16000) < 1200
    True
    >>> bandwidth(np.random.default_rng(0).normal(size=16000), 16000)
    8000.0
    """
    waveform = np.asarray(waveform, "float64")
    waveform = np.pad(waveform, (0, max(_FRAME - len(waveform), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, _FRAME)
    spectra = np.fft.rfft(frames[:: _FRAME // 2] * np.hanning(_FRAME))
    power = np.quantile(np.abs(spectra) ** 2, 0.95, axis=0)
    # Over five bins, as single ones are ragged.
    power = np.convolve(power, np.ones(5) / 5, "same")
    heard = np.flatnonzero(power > power.max() * 10 ** (-_RANGE / 10))
    if not len(heard):  # Silence.
        return 0.0
    return float(heard[-1] * sample_rate / _FRAME)


def missing_band(
    waveform: np.ndarray, sample_rate: int, trained: float | None
) -> str | None:
    """A warning, if a recording lacks what the training had; or None.

    Args:
        waveform: Float array `(samples,)`.
        sample_rate: Hz.
        trained: Bandwidth that nearly all recordings of the training had, Hz;
            None if it is not known.
    """
    if trained is None:
        return None
    found = bandwidth(waveform, sample_rate)
    if not 0 < found < ENOUGH * trained:
        return None
    return (
        f"nothing above {found / 1000:.1f} kHz, where the model's training had "
        f"content up to {trained / 1000:.1f} kHz: the answer may be wrong, "
        "however sure"
    )
