"""MFCC: front end from waveforms to mel-frequency cepstral coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio import functional
from ser_keras.audio.log_mel import LogMelSpectrogram


@serializable
class MFCC(LogMelSpectrogram):
    """Mel-frequency cepstral coefficients of each clip.

    The discrete cosine transform of `LogMelSpectrogram`'s frames; it takes the
    arguments of `LogMelSpectrogram` too. The transform is a matrix product,
    which every runtime has.

    Args:
        num_coefficients: Coefficients kept, from index 0 on.
        dct_norm: `"ortho"` or None as in librosa; `"htk"` as in `tf.signal`:
            like `"ortho"`, but coefficient 0 is larger by a factor of the
            square root of 2.
        delta_order: 0, 1 or 2: the number of derivatives over time (deltas)
            that are appended, each with `num_coefficients` features.
        delta_width: Frames to which a derivative is fitted, odd, at least 3.
        clip_value: If given, coefficients are clipped to
            `[-clip_value, clip_value]`.
        **kwargs: Arguments of `LogMelSpectrogram`, and of `keras.layers.Layer`.

    Call arguments:
        waveform: Float tensor.
        lengths: Samples of each clip of a padded batch, `(batch,)`; see
            `Spectrogram`. Derivatives then depend on a clip's own frames only.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, time, num_features)` or `(time, num_features)`, where
        `num_features = num_coefficients * (1 + delta_order)`.

    Raises:
        ValueError: An argument is invalid, or a clip is shorter than
            `min_samples`.

    References:
        Davis and Mermelstein, "Comparison of parametric representations for
        monosyllabic word recognition", IEEE Trans. ASSP 28 (1980), eq. 1.

    >>> layer = MFCC(num_coefficients=13, delta_order=1)
    >>> layer(np.ones((2, 16000), "float32")).shape
    TensorShape([2, 97, 26])
    """

    def __init__(
        self,
        num_coefficients: int = 40,
        dct_norm: str | None = "ortho",
        delta_order: int = 0,
        delta_width: int = 9,
        clip_value: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_coefficients = num_coefficients
        self.dct_norm = dct_norm
        self.delta_order = delta_order
        self.delta_width = delta_width
        self.clip_value = clip_value
        self._check_mfcc_arguments()
        self._dct = functional.dct_matrix(
            self.num_mel_bins, num_coefficients, dct_norm
        )
        # The transform of a constant 1: zero but for coefficient 0.
        self._dct_of_one = np.zeros(num_coefficients, np.float32)
        self._dct_of_one[0] = self._dct[0, 0] * self.num_mel_bins

    @classmethod
    def librosa(cls, sample_rate: int = 22050, **kwargs: Any) -> MFCC:
        """Front end with the defaults of `librosa.feature.mfcc`.

        Args:
            sample_rate: Hz.
            **kwargs: Arguments that differ from librosa's defaults.

        >>> MFCC.librosa(sample_rate=16000).num_coefficients
        20
        """
        return super().librosa(
            sample_rate, **({"num_coefficients": 20} | kwargs)
        )

    @classmethod
    def light_sernet(cls, **kwargs: Any) -> MFCC:
        """Front end of Light-SERNet's published code: 184 frames of 3 s.

        Args:
            **kwargs: Arguments that differ from Light-SERNet's.

        References:
            Aftab et al., "Light-SERNet", ICASSP 2022, section 2.

        >>> MFCC.light_sernet().compute_output_shape((None, 48000))
        (None, 184, 40)
        """
        defaults: dict[str, Any] = {
            "sample_rate": 16000,
            "frame_length": 1024,
            "frame_step": 256,
            "fft_length": 1024,
            "num_mel_bins": 128,
            "low_frequency": 80.0,
            "high_frequency": 7600.0,
            "mel_scale": "htk_mel",
            "mel_norm": None,
            "power": 1,
            "log": "natural",
            "log_offset": 1e-6,
            "dct_norm": "htk",
            "num_coefficients": 40,
            "clip_value": 10.0,
        }
        return cls(**(defaults | kwargs))

    @property
    def num_features(self) -> int:
        """Size of the last axis of the output."""
        return self.num_coefficients * (1 + self.delta_order)

    def from_spectrum(
        self, x: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        x = super().from_spectrum(x, lengths)
        # Only coefficient 0 depends on a frame's mean. Summed apart from the
        # rest, the rounding error of float32 is ten times smaller.
        mean = tf.reduce_mean(x, axis=-1, keepdims=True)
        x = tf.matmul(x - mean, self._dct) + mean * self._dct_of_one
        if self.clip_value is not None:
            x = tf.clip_by_value(x, -self.clip_value, self.clip_value)
        if self.delta_order == 0:
            return x
        frames = None
        if lengths is not None:
            frames = self.num_frames(tf.cast(lengths, tf.int32))
        orders = range(1, self.delta_order + 1)
        derivatives = [
            functional.deltas(x, order, self.delta_width, frames)
            for order in orders
        ]
        return tf.concat([x, *derivatives], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_coefficients": self.num_coefficients,
            "dct_norm": self.dct_norm,
            "delta_order": self.delta_order,
            "delta_width": self.delta_width,
            "clip_value": self.clip_value,
        }

    def _check_mfcc_arguments(self):
        if not 0 < self.num_coefficients <= self.num_mel_bins:
            raise ValueError(
                "`num_coefficients` must be positive and at most "
                "`num_mel_bins`. Received: "
                f"num_coefficients={self.num_coefficients}, "
                f"num_mel_bins={self.num_mel_bins}"
            )
        if self.dct_norm not in ("ortho", "htk", None):
            raise ValueError(
                "`dct_norm` must be one of ('ortho', 'htk', None). "
                f"Received: dct_norm={self.dct_norm!r}"
            )
        if self.delta_order not in (0, 1, 2):
            raise ValueError(
                "`delta_order` must be one of (0, 1, 2). "
                f"Received: delta_order={self.delta_order}"
            )
        if self.delta_width < 3 or self.delta_width % 2 == 0:
            raise ValueError(
                "`delta_width` must be odd and at least 3. "
                f"Received: delta_width={self.delta_width}"
            )
