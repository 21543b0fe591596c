"""Spectrogram: front end from waveforms to log spectra, in the graph."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio import functional
from ser_keras.audio.front_end import FrontEnd
from ser_keras.audio.matmul_spectrum import MatmulSpectrum


@serializable
class Spectrogram(FrontEnd):
    """Log spectrogram of each clip, independent of the others in its batch.

    The layer has no weights and no state: the same object works in `tf.data`,
    inside a model, under XLA and in a SavedModel. Its options follow librosa's
    conventions.

    A window shorter than the FFT is centred in the FFT's frame, as in librosa.
    Without `center`, samples after the last whole frame are left out. A clip
    shorter than one frame is an error where the length is static; where it is
    not (in `tf.data`, in a SavedModel), zeros are appended up to one frame.

    Args:
        sample_rate: Hz.
        frame_length: Length of the Hann window, samples.
        frame_step: Distance between frames, samples.
        fft_length: Length of the FFT, samples; even and at least
            `frame_length`.
        power: 2 for the power spectrum, 1 for the magnitude.
        log: `"db"`: `10 log10(max(power, amin))`, or `"natural"`:
            `log(x + log_offset)`.
        amin: Floor of `"db"`, in units of power.
        log_offset: Offset of `"natural"`.
        top_db: With `"db"`, values more than this below the maximum of their
            own clip are raised to that limit. None leaves them; bands more
            than 90 dB below the loudest one of a frame are then up to 0.01 dB
            off librosa, which transforms in float64 and not in float32. All
            other values are within 0.001 dB.
        center: If true, clips are padded by half an FFT at both ends, so that
            frame `t` is centred on sample `t * frame_step`.
        pad_mode: With `center`, `"constant"` (zeros), `"reflect"` or `"edge"`.

    Call arguments:
        waveform: Float tensor.
        lengths: Samples of each clip of a padded batch, `(batch,)`. With it,
            `top_db` and `pad_mode` depend on a clip's own samples only. Frames
            after a clip's end are not zero; `UtteranceNormalization` zeroes
            them.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, time, num_features)` or `(time, num_features)`, where
        `num_features = fft_length // 2 + 1`: bin `k` is at
        `k * sample_rate / fft_length` Hz.

    Raises:
        ValueError: An argument is invalid, or a clip is shorter than
            `min_samples`.

    >>> layer = Spectrogram(sample_rate=16000)
    >>> layer(np.ones((2, 16000), "float32")).shape
    TensorShape([2, 97, 257])
    """

    splits_spectrum = True

    def __init__(
        self,
        sample_rate: int = 16000,
        frame_length: int = 400,
        frame_step: int = 160,
        fft_length: int = 512,
        power: float = 2,
        log: str | None = "db",
        amin: float = 1e-10,
        log_offset: float = 1e-6,
        top_db: float | None = None,
        center: bool = False,
        pad_mode: str = "constant",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.sample_rate = sample_rate
        self.frame_length = frame_length
        self.frame_step = frame_step
        self.fft_length = fft_length
        self.power = power
        self.log = log
        self.amin = amin
        self.log_offset = log_offset
        self.top_db = top_db
        self.center = center
        self.pad_mode = pad_mode
        self._check_spectrogram_arguments()
        self._window = functional.hann_window(frame_length)
        self._power_spectrum = functools.partial(
            functional.power_spectrum, fft_length=fft_length
        )
        self._order = None

    @property
    def num_features(self) -> int:
        """Size of the last axis of the output."""
        return self.fft_length // 2 + 1

    @property
    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame, samples."""
        if not self.center:
            return self.fft_length
        return self.fft_length // 2 + 1 if self.pad_mode == "reflect" else 1

    def without_fft(self) -> FrontEnd:
        """A copy that computes the same spectrum by matrix products.

        For LiteRT, whose FFT is slow; in TensorFlow the FFT is faster.

        Returns:
            A layer of the same class and configuration. The configuration does
            not say how the spectrum is computed.

        >>> layer = Spectrogram(sample_rate=16000)
        >>> x = np.random.default_rng(0).normal(size=(1, 800)).astype("f")
        >>> bool(np.allclose(layer.without_fft()(x), layer(x), atol=1e-2))
        True
        """
        copy = type(self).from_config(self.get_config())
        copy._power_spectrum = MatmulSpectrum(self.fft_length)
        copy._reorder_bands(copy._power_spectrum)
        return copy

    def num_frames(self, samples: Any) -> Any:
        """Number of frames of clips of so many samples.

        It turns lengths in samples into the lengths in frames that
        `UtteranceNormalization` takes.

        Args:
            samples: Length in samples: an int, an int array or tensor.

        >>> Spectrogram(frame_step=160, center=True).num_frames(16000)
        101
        """
        padding = self.fft_length if self.center else 0
        frames = 1 + (samples + padding - self.fft_length) // self.frame_step
        if tf.is_tensor(samples):
            return tf.maximum(frames, 1)
        if isinstance(samples, int):
            return max(frames, 1)
        return np.maximum(frames, 1)

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        unbatched = waveform.shape.rank == 1
        if unbatched:
            waveform = waveform[None]
            lengths = None if lengths is None else tf.reshape(lengths, [1])
        features = self.from_spectrum(self.spectrum(waveform, lengths), lengths)
        return features[0] if unbatched else features

    def spectrum(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        """First half of the layer: the power spectrum of its frames.

        Args:
            waveform: `(batch, samples)`.
            lengths: As in a call.

        Returns:
            `(batch, time, bins)`, for `from_spectrum`.
        """
        waveform = tf.convert_to_tensor(waveform, tf.float32)
        self._check_waveform(waveform.shape)
        frames = functional.frame(
            self._pad(waveform, lengths), self.frame_length, self.frame_step
        )
        return self._power_spectrum(frames * self._window)

    def from_spectrum(
        self, x: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Second half of the layer: features of the frames' power spectrum.

        Args:
            x: `(batch, time, bins)`, from `spectrum`.
            lengths: As in a call, samples.

        Returns:
            `(batch, time, num_features)`.
        """
        if self.power == 1:
            x = tf.sqrt(x)
        x = self._bands(x)
        if self.log == "natural":
            return tf.math.log(x + self.log_offset)
        # A decibel is 10 log10 of a power, hence 20 log10 of a magnitude.
        scale = np.float32(20.0 / (self.power * np.log(10.0)))
        x = tf.maximum(x, np.float32(self.amin ** (self.power / 2)))
        x = scale * tf.math.log(x)
        if self.top_db is None:
            return x
        peak = x
        if lengths is not None:
            peak = tf.where(self._frame_mask(x, lengths), x, x.dtype.min)
        peak = tf.reduce_max(peak, axis=[1, 2], keepdims=True)
        return tf.maximum(x, peak - self.top_db)

    def _bands(self, spectrum):
        """Values of which the logarithm is taken, `(batch, time, bands)`."""
        if self._order is not None:
            spectrum = tf.gather(spectrum, self._order, axis=-1)
        return spectrum

    def _reorder_bands(self, spectrum):
        """Prepares `_bands` for the order of bins of a `MatmulSpectrum`."""
        self._order = spectrum.order

    def _pad(self, waveform, lengths):
        """Padded waveform, from the first to the last sample in a window."""
        # Zeros before and after the window in the FFT's frame. librosa's frames
        # are as long as the FFT, these only as long as the window.
        margin = (self.fft_length - self.frame_length) // 2
        rest = self.fft_length - self.frame_length - margin
        half = self.fft_length // 2 if self.center else 0
        samples = tf.shape(waveform)[1]
        before, after = half - margin, half - rest
        if not self.center:
            waveform = waveform[:, margin:]
            short = tf.maximum(self.fft_length - samples, 0)
            waveform = tf.pad(waveform, [[0, 0], [0, short]])
            return waveform[:, : tf.shape(waveform)[1] - rest]
        if self.pad_mode == "constant":
            return tf.pad(waveform, [[0, 0], [before, after]])
        end = samples[None, None] - 1
        if lengths is not None:
            end = tf.cast(lengths, samples.dtype)[:, None] - 1
        index = tf.range(-before, samples + after)[None]
        if self.pad_mode == "reflect":
            index = end - tf.abs(end - tf.abs(index))
        index = tf.clip_by_value(index, 0, end)
        index = tf.broadcast_to(
            index, [tf.shape(waveform)[0], tf.shape(index)[1]]
        )
        return tf.gather(waveform, index, axis=1, batch_dims=1)

    def _frame_mask(self, features, lengths):
        frames = self.num_frames(tf.cast(lengths, tf.int32))
        mask = tf.sequence_mask(frames, tf.shape(features)[1])
        return mask[:, :, None]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "frame_length": self.frame_length,
            "frame_step": self.frame_step,
            "fft_length": self.fft_length,
            "power": self.power,
            "log": self.log,
            "amin": self.amin,
            "log_offset": self.log_offset,
            "top_db": self.top_db,
            "center": self.center,
            "pad_mode": self.pad_mode,
        }

    def _check_waveform(self, shape):
        if shape.rank != 2:
            raise ValueError(
                "`waveform` must have shape (batch, samples) or (samples,). "
                f"Received: waveform of shape {tuple(shape)}"
            )
        needed = self.min_samples
        if shape[1] is not None and shape[1] < needed:
            raise ValueError(
                f"`waveform` must have at least {needed} samples "
                f"({needed / self.sample_rate:.3f} s at {self.sample_rate} Hz)"
                f"; pad it with `fit_length`. Received: {shape[1]} samples"
            )

    def _check_spectrogram_arguments(self):
        for name in (
            "sample_rate",
            "frame_length",
            "frame_step",
            "fft_length",
        ):
            check_positive_integer(name, getattr(self, name))
        if self.fft_length < self.frame_length or self.fft_length % 2:
            raise ValueError(
                "`fft_length` must be even and at least `frame_length`. "
                f"Received: fft_length={self.fft_length}, "
                f"frame_length={self.frame_length}"
            )
        for name, allowed in (
            ("power", (1, 2)),
            ("log", ("db", "natural")),
            ("pad_mode", ("constant", "reflect", "edge")),
        ):
            check_choice(name, getattr(self, name), allowed)
        for name in ("amin", "log_offset"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be positive. "
                    f"Received: {name}={getattr(self, name)}"
                )


def check_positive_integer(name, value):
    """Raises `ValueError` unless `value` is an integer of at least 1."""
    if not isinstance(value, int) or value <= 0:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value}"
        )


def check_choice(name, value, allowed):
    """Raises `ValueError` unless `value` is one of those allowed."""
    if value not in allowed:
        raise ValueError(
            f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
        )
