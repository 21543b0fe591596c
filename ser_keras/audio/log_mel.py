"""LogMelSpectrogram: waveform to log-mel frames, in the TensorFlow graph."""

import functools
import warnings

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio import functional
from ser_keras.audio.matmul_spectrum import MatmulSpectrum

_MEL_SCALES = ("slaney", "htk", "htk_mel")


@serializable
class LogMelSpectrogram(keras.layers.Layer):
    """Log-mel spectrogram of each clip, whatever else is in its batch.

    The layer has no weights and draws on no state: the same object serves in
    `tf.data`, inside a model, under XLA and in a SavedModel. Its conventions
    are librosa's, as options; `LogMelSpectrogram.librosa()` has its defaults.

    A window shorter than the FFT stands in the middle of the FFT's frame, as
    in librosa. Without `center`, samples after the last whole frame are left
    out. A clip shorter than one frame is an error where the length is known
    when the layer is called; where it is not (in `tf.data`, in a SavedModel),
    zeros are appended up to one frame.

    Args:
        sample_rate: Hz.
        frame_length: Window, samples.
        frame_step: Distance between frames, samples.
        fft_length: Samples, even and at least `frame_length`.
        num_mel_bins: Number of mel filters.
        low_frequency: Lower edge of the first filter, Hz.
        high_frequency: Upper edge of the last filter, Hz. None means half the
            sample rate.
        mel_scale: `"slaney"` or `"htk"` as in librosa, or `"htk_mel"`:
            triangles that are linear in mel, as in `tf.signal`.
        mel_norm: `"slaney"` for filters of equal area, None for a peak of 1.
        power: 2 for the power spectrum, 1 for the magnitude.
        log: `"db"`: `10 log10(max(power, amin))`, or `"natural"`:
            `log(x + log_offset)`.
        amin: Floor of `"db"`, in units of power.
        log_offset: Offset of `"natural"`.
        top_db: With `"db"`, values more than this below the maximum of their
            own clip are raised to it. None leaves them.
        center: If true, clips are padded by half an FFT at both ends, so that
            frame `t` is centred on sample `t * frame_step`.
        pad_mode: With `center`, `"constant"` (zeros), `"reflect"` or `"edge"`.

    Call arguments:
        waveform: Float tensor.
        lengths: Samples of each clip of a padded batch, `(batch,)`. Makes
            `top_db` and `pad_mode` see a clip's own samples only. Frames
            beyond a clip's end are left for `UtteranceNormalization` to zero.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, time, num_mel_bins)` or `(time, num_mel_bins)`.

    Raises:
        ValueError: If an argument is invalid, or a clip too short.

    >>> layer = LogMelSpectrogram(sample_rate=16000, num_mel_bins=40)
    >>> layer(np.ones((2, 16000), "float32")).shape
    TensorShape([2, 97, 40])
    """

    def __init__(
        self,
        sample_rate=16000,
        frame_length=400,
        frame_step=160,
        fft_length=512,
        num_mel_bins=64,
        low_frequency=0.0,
        high_frequency=None,
        mel_scale="slaney",
        mel_norm="slaney",
        power=2,
        log="db",
        amin=1e-10,
        log_offset=1e-6,
        top_db=None,
        center=False,
        pad_mode="constant",
        **kwargs,
    ):
        # Half precision has too few digits for a spectrum, so the global
        # policy does not reach the front end.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.sample_rate = sample_rate
        self.frame_length = frame_length
        self.frame_step = frame_step
        self.fft_length = fft_length
        self.num_mel_bins = num_mel_bins
        self.low_frequency = low_frequency
        self.high_frequency = high_frequency
        self.mel_scale = mel_scale
        self.mel_norm = mel_norm
        self.power = power
        self.log = log
        self.amin = amin
        self.log_offset = log_offset
        self.top_db = top_db
        self.center = center
        self.pad_mode = pad_mode
        self._check_arguments()
        self.built = True  # There is nothing to build.

        self._window = functional.hann_window(frame_length)
        matrix = functional.mel_matrix(
            num_mel_bins,
            fft_length,
            sample_rate,
            low_frequency,
            high_frequency,
            mel_scale,
            mel_norm,
        )
        empty = int(np.sum(~matrix.any(axis=0)))
        if empty:
            warnings.warn(
                f"{empty} of {num_mel_bins} mel filters are narrower than the "
                f"spacing of the FFT's bins and stay empty. Use fewer filters "
                f"or a longer `fft_length` than {fft_length}.",
                stacklevel=2,
            )
        self._mel_matrix = matrix
        self._mel_blocks = functional.banded_blocks(matrix)
        self._power_spectrum = functools.partial(
            functional.power_spectrum, fft_length=fft_length
        )

    @classmethod
    def librosa(cls, sample_rate=22050, **kwargs):
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
    def num_features(self):
        """Size of the last axis of the output."""
        return self.num_mel_bins

    @property
    def min_samples(self):
        """Length of the shortest clip that makes a frame, samples."""
        if not self.center:
            return self.fft_length
        return self.fft_length // 2 + 1 if self.pad_mode == "reflect" else 1

    def without_fft(self):
        """A copy with the same numbers, whose spectrum is matrix products.

        For LiteRT, whose FFT is slow; in TensorFlow the FFT is faster.

        Returns:
            A layer of the same class and configuration. How it computes is
            not saved with it.

        >>> layer = LogMelSpectrogram(sample_rate=16000)
        >>> x = np.random.default_rng(0).normal(size=(1, 800)).astype("f")
        >>> bool(np.allclose(layer.without_fft()(x), layer(x), atol=1e-3))
        True
        """
        copy = type(self).from_config(self.get_config())
        spectrum = copy._power_spectrum = MatmulSpectrum(self.fft_length)
        # More blocks than beside an FFT: their zeros are in the file, too.
        rows = spectrum.permute_rows(self._mel_matrix)
        copy._mel_blocks = functional.banded_blocks(rows, 16)
        return copy

    def num_frames(self, samples):
        """Number of frames of a clip, for one length or for an array of them.

        Use it to turn sample lengths into the frame lengths that
        `UtteranceNormalization` takes.

        Args:
            samples: Length in samples: an int, an int array or tensor.

        >>> LogMelSpectrogram(frame_step=160, center=True).num_frames(16000)
        101
        """
        padding = self.fft_length if self.center else 0
        frames = 1 + (samples + padding - self.fft_length) // self.frame_step
        if tf.is_tensor(samples):
            return tf.maximum(frames, 1)
        if isinstance(samples, int):
            return max(frames, 1)
        return np.maximum(frames, 1)

    def call(self, waveform, lengths=None):
        unbatched = waveform.shape.rank == 1
        if unbatched:
            waveform = waveform[None]
            lengths = None if lengths is None else tf.reshape(lengths, [1])
        features = self.from_spectrum(self.spectrum(waveform, lengths), lengths)
        return features[0] if unbatched else features

    def spectrum(self, waveform, lengths=None):
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

    def from_spectrum(self, x, lengths=None):
        """Second half of the layer: features of the frames' power spectrum.

        Args:
            x: `(batch, time, bins)`, from `spectrum`.
            lengths: As in a call, samples.

        Returns:
            `(batch, time, num_features)`.
        """
        if self.power == 1:
            x = tf.sqrt(x)
        x = functional.banded_matmul(x, self._mel_blocks)
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

    def _pad(self, waveform, lengths):
        """Waveform from the first to the last sample that a window can see."""
        # Where a window begins and ends in the FFT's frame; librosa's frames
        # are as long as the FFT, but only this part of them is not zero.
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

    def compute_output_shape(self, waveform_shape, lengths_shape=None):
        *batch, samples = waveform_shape
        time = None if samples is None else self.num_frames(samples)
        return (*batch, time, self.num_features)

    def get_config(self):
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "frame_length": self.frame_length,
            "frame_step": self.frame_step,
            "fft_length": self.fft_length,
            "num_mel_bins": self.num_mel_bins,
            "low_frequency": self.low_frequency,
            "high_frequency": self.high_frequency,
            "mel_scale": self.mel_scale,
            "mel_norm": self.mel_norm,
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

    def _check_arguments(self):
        for name in (
            "sample_rate",
            "frame_length",
            "frame_step",
            "fft_length",
            "num_mel_bins",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value <= 0:
                raise ValueError(
                    f"`{name}` must be a positive integer. "
                    f"Received: {name}={value}"
                )
        if self.fft_length < self.frame_length or self.fft_length % 2:
            raise ValueError(
                "`fft_length` must be even and at least `frame_length`. "
                f"Received: fft_length={self.fft_length}, "
                f"frame_length={self.frame_length}"
            )
        high = self.high_frequency or self.sample_rate / 2
        if not 0 <= self.low_frequency < high <= self.sample_rate / 2:
            raise ValueError(
                "`low_frequency` and `high_frequency` must satisfy "
                "0 <= low < high <= sample_rate / 2. Received: "
                f"low_frequency={self.low_frequency}, "
                f"high_frequency={self.high_frequency}, "
                f"sample_rate={self.sample_rate}"
            )
        for name, allowed in (
            ("mel_scale", _MEL_SCALES),
            ("mel_norm", ("slaney", None)),
            ("power", (1, 2)),
            ("log", ("db", "natural")),
            ("pad_mode", ("constant", "reflect", "edge")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {allowed}. "
                    f"Received: {name}={value!r}"
                )
        for name in ("amin", "log_offset"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be positive. "
                    f"Received: {name}={getattr(self, name)}"
                )
