"""WhisperLogMel: front end of OpenAI's Whisper."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio.log_mel import LogMelSpectrogram


@serializable
class WhisperLogMel(LogMelSpectrogram):
    """Log-mel frames as Whisper's encoder takes them, of clips at 16 kHz.

    Slaney mel bands of the power spectrum of 25 ms, every 10 ms; `log10` with
    a floor of 1e-10, raised to 8 below the maximum of the clip, then
    `(x + 4) / 4`. Clips keep their lengths: there is no silence up to 30 s.

    Args:
        num_mel_bins: 80, or 128 of Whisper large-v3.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        waveform: Float tensor, in [-1, 1].
        lengths: Samples of each clip of a padded batch, `(batch,)`. The
            maximum is then of a clip's own frames. Frames after a clip's end
            are not zero; a `Preprocessor` and `WhisperEncoder` zero them.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, samples // 160, num_mel_bins)` or `(samples // 160,
        num_mel_bins)`.

    Raises:
        ValueError: An argument is invalid, or a clip is shorter than
            `min_samples`.

    >>> WhisperLogMel()(np.ones((2, 16000), "float32")).shape
    TensorShape([2, 100, 80])

    References:
        - Radford et al., "Robust speech recognition via large-scale weak
          supervision", arXiv 2212.04356, section 2.2.
    """

    def __init__(self, num_mel_bins: int = 80, **kwargs: Any):
        super().__init__(
            num_mel_bins,
            sample_rate=16000,
            frame_length=400,
            frame_step=160,
            fft_length=400,
            top_db=80.0,
            center=True,
            pad_mode="reflect",
            **kwargs,
        )

    def num_frames(self, samples: Any) -> Any:
        """Number of frames of clips of so many samples.

        Args:
            samples: Length in samples: an int, an int array or tensor.

        >>> WhisperLogMel().num_frames(16000)
        100
        """
        return samples // self.frame_step

    def spectrum(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        # Without the last frame, which is centred on the clip's end.
        return super().spectrum(waveform, lengths)[:, :-1]

    def from_spectrum(
        self, x: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        decibels = super().from_spectrum(x, lengths)
        return decibels * np.float32(1 / 40) + 1.0

    def get_config(self) -> dict[str, Any]:
        # All others are what makes it Whisper's.
        config = super().get_config()
        names = ("name", "trainable", "dtype", "num_mel_bins")
        return {name: config[name] for name in names}
