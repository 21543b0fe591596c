"""FixedDuration: a front end that crops and pads clips to one duration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio.front_end import FrontEndWrapper

if TYPE_CHECKING:
    from ser_keras.audio.front_end import FrontEnd


@serializable
class FixedDuration(FrontEndWrapper):
    """Front end that crops or pads every clip to one duration.

    Of a longer clip the middle is taken. A shorter one is padded with silence
    on both sides, the odd sample at the end. That silence is part of the clip:
    its features are those of silence, not zero, and no network masks them.

    Args:
        frontend: `FrontEnd`, such as `MFCC`, that computes the features.
        duration: Seconds.
        peak_percentile: If given, the cropped clip is divided by this
            percentile of its absolute values, and clipped to [-1, 1].

    Call arguments:
        waveform: Float tensor.
        lengths: Samples of each clip of a padded batch, `(batch,)`.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, time, features)` or `(time, features)`, time as of any clip
        of this duration.

    Raises:
        ValueError: `duration` is shorter than a frame, or the percentile is
            not above 0 and at most 100.

    References:
        Light-SERNet's published code (Aftab et al., ICASSP 2022) does this with
        3 or 7 seconds and percentile 99.9.

    >>> from ser_keras.audio.mfcc import MFCC
    >>> layer = FixedDuration(MFCC.light_sernet(), duration=3.0)
    >>> layer(np.ones((2, 20000), "float32")).shape
    TensorShape([2, 184, 40])
    """

    def __init__(
        self,
        frontend: FrontEnd,
        duration: float,
        peak_percentile: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(frontend, **kwargs)
        self.duration = duration
        self.peak_percentile = peak_percentile
        self._samples = round(duration * frontend.sample_rate)
        if self._samples < frontend.frame_length:
            raise ValueError(
                "`duration` must be at least one frame of the front end, "
                f"{frontend.frame_length / frontend.sample_rate} s. Received: "
                f"duration={duration}"
            )
        if peak_percentile is not None and not 0 < peak_percentile <= 100:
            raise ValueError(
                "`peak_percentile` must be above 0 and at most 100, or None. "
                f"Received: peak_percentile={peak_percentile}"
            )
        self._fitted = False

    @property
    def splits_spectrum(self) -> bool:
        """Whether the inner front end can be called in two halves."""
        return self.frontend.splits_spectrum

    def without_fft(self) -> FrontEnd:
        """A copy without a Fourier transform, for clips of this duration.

        Zeros at either end of a clip are taken for padding, which the peak
        percentile leaves out.
        """
        copy = type(self).from_config(self.get_config())
        copy.frontend = self.frontend.without_fft()
        copy._fitted = True
        return copy

    def num_frames(self, samples: Any) -> Any:
        """Number of frames, the same for clips of any length.

        Args:
            samples: Length in samples: an int, an int array or tensor.

        >>> from ser_keras.audio.mfcc import MFCC
        >>> FixedDuration(MFCC.light_sernet(), 7.0).num_frames(1600)
        434
        """
        return samples * 0 + self.frontend.num_frames(self._samples)

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        unbatched = waveform.shape.rank == 1
        if unbatched:
            waveform = waveform[None]
        x = self._clips(waveform, lengths)
        features = self.frontend(x)
        return features[0] if unbatched else features

    def spectrum(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The inner front end's `spectrum` of the cropped and padded clips."""
        return self.frontend.spectrum(self._clips(waveform, lengths))

    def from_spectrum(
        self, x: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The inner front end's `from_spectrum`; padding has features too."""
        return self.frontend.from_spectrum(x)

    def _clips(self, waveform, lengths):
        """Cropped, padded and scaled clips, `(batch, samples)`."""
        if self._fitted:
            x, count = waveform, _count(waveform)
        else:
            x, count = self._fit(waveform, lengths)
        if self.peak_percentile is not None:
            # The floor is far below one step of 16-bit audio.
            peak = tf.maximum(self._peak(x, count), 1e-7)
            x = tf.clip_by_value(x / peak, -1.0, 1.0)
        return x

    def _fit(self, waveform, lengths):
        """The middle of each clip, and its samples without padding."""
        if lengths is None:
            lengths = tf.fill([tf.shape(waveform)[0]], tf.shape(waveform)[1])
        lengths = tf.reshape(tf.cast(lengths, tf.int32), [-1, 1])
        surplus = lengths - self._samples
        # Half of it, rounded towards zero.
        first = tf.sign(surplus) * (tf.abs(surplus) // 2)
        index = first + tf.range(self._samples)
        inside = (index >= 0) & (index < lengths)
        x = tf.gather(waveform, tf.where(inside, index, 0), 1, batch_dims=1)
        # Not a product with a mask: values after a clip's end may be NaN.
        x = tf.where(inside, x, 0.0)
        return x, tf.minimum(lengths, self._samples)

    def _peak(self, x, count):
        """Percentile of each clip's absolute values, `(batch, 1)`."""
        # Counted from the largest value, so that padding does not matter, and
        # linearly interpolated as in NumPy.
        share = 1.0 - self.peak_percentile / 100.0
        largest = int(share * (self._samples - 1)) + 2
        top = tf.math.top_k(tf.abs(x), min(largest, self._samples)).values
        rank = share * tf.cast(count - 1, tf.float32)
        low = tf.cast(tf.floor(rank), tf.int32)
        high = tf.minimum(low + 1, count - 1)
        weight = rank - tf.floor(rank)
        return (1.0 - weight) * tf.gather(top, low, axis=1, batch_dims=1) + (
            weight * tf.gather(top, high, axis=1, batch_dims=1)
        )

    def compute_output_shape(
        self,
        waveform_shape: Sequence[Any],
        lengths_shape: Sequence[Any] | None = None,
    ) -> Any:
        *batch, _ = waveform_shape
        frames = self.frontend.num_frames(self._samples)
        return (*batch, frames, self.num_features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "duration": self.duration,
            "peak_percentile": self.peak_percentile,
        }


def _count(clips):
    """Samples from the first to the last that is not zero, `(batch, 1)`."""
    active = tf.cast(tf.not_equal(clips, 0.0), tf.float32)
    before = tf.argmax(active, axis=1, output_type=tf.int32)
    after = tf.argmax(tf.reverse(active, [1]), axis=1, output_type=tf.int32)
    return tf.maximum(clips.shape[1] - before - after, 1)[:, None]
