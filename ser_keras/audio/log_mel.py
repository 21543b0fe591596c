"""LogMelSpectrogram: front end from waveforms to log-mel frames."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ser_keras._registry import serializable
from ser_keras.audio import functional
from ser_keras.audio.spectrogram import Spectrogram
from ser_keras.audio.spectrogram import check_choice
from ser_keras.audio.spectrogram import check_positive_integer

_MEL_SCALES = ("slaney", "htk", "htk_mel")


@serializable
class LogMelSpectrogram(Spectrogram):
    """Log-mel spectrogram of each clip, independent of the others in its batch.

    `Spectrogram` with mel filters before the logarithm; it takes the arguments
    of `Spectrogram` too. Its options follow librosa's conventions;
    `LogMelSpectrogram.librosa()` has librosa's defaults.

    Args:
        num_mel_bins: Number of mel filters.
        low_frequency: Lower edge of the first filter, Hz.
        high_frequency: Upper edge of the last filter, Hz. None means half the
            sample rate.
        mel_scale: `"slaney"` or `"htk"` as in librosa, or `"htk_mel"`:
            triangles linear in mel, as in `tf.signal`.
        mel_norm: `"slaney"` for filters of equal area, None for a peak of 1.
        **kwargs: Arguments of `Spectrogram`, and of `keras.layers.Layer`.

    Call arguments:
        waveform: Float tensor.
        lengths: Samples of each clip of a padded batch, `(batch,)`; see
            `Spectrogram`.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, time, num_mel_bins)` or `(time, num_mel_bins)`.

    Raises:
        ValueError: An argument is invalid, or a clip is shorter than
            `min_samples`.

    >>> layer = LogMelSpectrogram(sample_rate=16000, num_mel_bins=40)
    >>> layer(np.ones((2, 16000), "float32")).shape
    TensorShape([2, 97, 40])
    """

    def __init__(
        self,
        num_mel_bins: int = 64,
        low_frequency: float = 0.0,
        high_frequency: float | None = None,
        mel_scale: str = "slaney",
        mel_norm: str | None = "slaney",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_mel_bins = num_mel_bins
        self.low_frequency = low_frequency
        self.high_frequency = high_frequency
        self.mel_scale = mel_scale
        self.mel_norm = mel_norm
        self._check_mel_arguments()
        matrix = functional.mel_matrix(
            num_mel_bins,
            self.fft_length,
            self.sample_rate,
            low_frequency,
            high_frequency,
            mel_scale,
            mel_norm,
        )
        empty = int(np.sum(~matrix.any(axis=0)))
        if empty:
            warnings.warn(
                f"{empty} of {num_mel_bins} mel filters are narrower than the "
                "distance between FFT bins and stay empty. Use fewer filters "
                f"(num_mel_bins={num_mel_bins}) or a longer `fft_length` than "
                f"{self.fft_length}.",
                stacklevel=2,
            )
        self._mel_matrix = matrix
        self._mel_blocks = functional.banded_blocks(matrix)

    @classmethod
    def librosa(
        cls, sample_rate: int = 22050, **kwargs: Any
    ) -> LogMelSpectrogram:
        """Front end with the defaults of `librosa.feature`.

        Args:
            sample_rate: Hz.
            **kwargs: Arguments that differ from librosa's defaults.

        >>> LogMelSpectrogram.librosa().fft_length
        2048
        """
        defaults = {
            "frame_length": 2048,
            "frame_step": 512,
            "fft_length": 2048,
            "num_mel_bins": 128,
            "top_db": 80.0,
            "center": True,
        }
        return cls(sample_rate=sample_rate, **(defaults | kwargs))

    @property
    def num_features(self) -> int:
        """Size of the last axis of the output."""
        return self.num_mel_bins

    def _bands(self, spectrum):
        return functional.banded_matmul(spectrum, self._mel_blocks)

    def _reorder_bands(self, spectrum):
        # More blocks than with the FFT: their zeros are stored in the file.
        rows = spectrum.permute_rows(self._mel_matrix)
        self._mel_blocks = functional.banded_blocks(rows, 16)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_mel_bins": self.num_mel_bins,
            "low_frequency": self.low_frequency,
            "high_frequency": self.high_frequency,
            "mel_scale": self.mel_scale,
            "mel_norm": self.mel_norm,
        }

    def _check_mel_arguments(self):
        check_positive_integer("num_mel_bins", self.num_mel_bins)
        high = self.high_frequency or self.sample_rate / 2
        if not 0 <= self.low_frequency < high <= self.sample_rate / 2:
            raise ValueError(
                "`low_frequency` and `high_frequency` must satisfy "
                "0 <= low < high <= sample_rate / 2. Received: "
                f"low_frequency={self.low_frequency}, "
                f"high_frequency={self.high_frequency}, "
                f"sample_rate={self.sample_rate}"
            )
        check_choice("mel_scale", self.mel_scale, _MEL_SCALES)
        check_choice("mel_norm", self.mel_norm, ("slaney", None))
