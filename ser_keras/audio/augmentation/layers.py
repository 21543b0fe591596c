"""Augmentations of waveforms and of features, as layers and as functions.

All of them keep the padding convention: frames after a clip's end stay exactly
0, and a clip's length, as `functional.valid_lengths` infers it, changes only
where that is the purpose of the augmentation (`TimeStretch`).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio.augmentation.base import Augmentation
from ser_keras.audio.augmentation.base import RangeAugmentation
from ser_keras.audio.augmentation.base import normal
from ser_keras.audio.augmentation.base import split
from ser_keras.audio.augmentation.base import uniform
from ser_keras.audio.functional import valid_lengths


@serializable
class SpecAugment(Augmentation):
    """SpecAugment: sets random time and feature masks of each clip to 0.

    0 is the mean of normalised features. The last frame of a clip is never
    masked in full, so that the clip's length can still be inferred.

    Args:
        num_time_masks: Time masks in each clip.
        max_time_width: Largest width of a time mask, frames.
        max_time_fraction: Largest width of a time mask as a proportion of its
            clip.
        num_feature_masks: Feature masks in each clip.
        max_feature_width: Largest width of a feature mask, features.
        seed: See `Augmentation`.

    Raises:
        ValueError: A number is negative, or the proportion not in [0, 1].

    References:
        Park et al., "SpecAugment", Interspeech 2019, section 2.

    >>> x = tf.ones((1, 100, 40))
    >>> bool(tf.reduce_any(SpecAugment(seed=0)(x, training=True) == 0))
    True
    """

    def __init__(
        self,
        num_time_masks: int = 2,
        max_time_width: int = 20,
        max_time_fraction: float = 0.2,
        num_feature_masks: int = 2,
        max_feature_width: int = 6,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, **kwargs)
        for name, value in (
            ("num_time_masks", num_time_masks),
            ("max_time_width", max_time_width),
            ("num_feature_masks", num_feature_masks),
            ("max_feature_width", max_feature_width),
        ):
            if value < 0:
                raise ValueError(
                    f"`{name}` must not be negative. Received: {name}={value}"
                )
        if not 0 <= max_time_fraction <= 1:
            raise ValueError(
                "`max_time_fraction` must be between 0 and 1. "
                f"Received: max_time_fraction={max_time_fraction}"
            )
        self.num_time_masks = num_time_masks
        self.max_time_width = max_time_width
        self.max_time_fraction = max_time_fraction
        self.num_feature_masks = num_feature_masks
        self.max_feature_width = max_feature_width

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        seeds = split(seed)
        shape, lengths = tf.shape(x), valid_lengths(x)
        limit = tf.cast(lengths, tf.float32) * self.max_time_fraction
        limit = tf.minimum(tf.floor(limit), float(self.max_time_width))
        # All but the last frame may be masked.
        time_masks = _random_intervals(
            shape[1], self.num_time_masks, limit, lengths - 1, seeds[0]
        )
        features = tf.fill([shape[0]], shape[2])
        limit = tf.minimum(features, self.max_feature_width)
        feature_masks = _random_intervals(
            shape[2],
            self.num_feature_masks,
            tf.cast(limit, tf.float32),
            features,
            seeds[1],
        )
        last = tf.range(shape[1])[None] >= lengths[:, None] - 1
        # What is kept, as a product of matrices of 0 and 1: half the time of a
        # condition on every value.
        frames = tf.stack([~last & ~time_masks, last], axis=2)
        features = tf.stack(
            [~feature_masks, tf.ones_like(feature_masks)], axis=1
        )
        keep = tf.matmul(tf.cast(frames, x.dtype), tf.cast(features, x.dtype))
        return x * keep

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_time_masks": self.num_time_masks,
            "max_time_width": self.max_time_width,
            "max_time_fraction": self.max_time_fraction,
            "num_feature_masks": self.num_feature_masks,
            "max_feature_width": self.max_feature_width,
        }


@serializable
class Gain(RangeAugmentation):
    """Random gain of each waveform.

    Args:
        low: Smallest gain, dB.
        high: Largest gain, dB.
        seed: See `Augmentation`.

    >>> Gain(20.0, 20.0)(tf.ones((1, 3)), training=True).numpy().round(3)
    array([[10., 10., 10.]], dtype=float32)
    """

    _rank = 2

    def __init__(
        self,
        low: float = -6.0,
        high: float = 6.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(low, high, False, seed, kwargs)

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        return x * _amplitude(self.draw(x, seed))[:, None]


@serializable
class GaussianNoise(RangeAugmentation):
    """White noise at a random signal-to-noise ratio for each waveform.

    The power of the signal is its mean up to the last sample that is not 0; no
    noise is added after that sample.

    Args:
        low: Smallest signal-to-noise ratio, dB.
        high: Largest signal-to-noise ratio, dB.
        seed: See `Augmentation`.

    >>> noisy = GaussianNoise(20.0, 20.0)(tf.ones((1, 9)), training=True)
    >>> bool(tf.reduce_all(noisy != 1))
    True
    """

    _rank = 2

    def __init__(
        self,
        low: float = 10.0,
        high: float = 40.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(low, high, False, seed, kwargs)

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        seeds = split(seed)
        lengths = valid_lengths(x)
        count = tf.cast(tf.maximum(lengths, 1), x.dtype)
        rms = tf.sqrt(tf.reduce_sum(tf.square(x), axis=1) / count)
        level = rms * _amplitude(-self.draw(x, seeds[0]))
        noise = normal(tf.shape(x), seeds[1])
        inside = tf.sequence_mask(lengths, tf.shape(x)[1], x.dtype)
        return x + noise * level[:, None] * inside


@serializable
class FeatureNoise(RangeAugmentation):
    """White noise on features, with a random standard deviation for each clip.

    Args:
        low: Smallest standard deviation, in units of the features.
        high: Largest standard deviation.
        seed: See `Augmentation`.

    >>> noisy = FeatureNoise(0.1, 0.1)(tf.ones((1, 9, 4)), training=True)
    >>> bool(tf.reduce_all(noisy != 1))
    True
    """

    def __init__(
        self,
        low: float = 0.0,
        high: float = 0.1,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(low, high, False, seed, kwargs)

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        seeds = split(seed)
        level = self.draw(x, seeds[0])[:, None, None]
        inside = tf.sequence_mask(valid_lengths(x), tf.shape(x)[1], x.dtype)
        noise = tf.cast(normal(tf.shape(x), seeds[1]) * level, x.dtype)
        return x + noise * inside[:, :, None]


@serializable
class TimeShift(Augmentation):
    """Rolls each waveform by a random number of samples.

    Samples that leave the clip at one end enter at the other; the padding after
    the clip stays where it is.

    Args:
        max_shift: Largest shift in either direction, samples.
        seed: See `Augmentation`.

    >>> TimeShift(5)(tf.ones((1, 8)), training=True).shape
    TensorShape([1, 8])
    """

    _rank = 2

    def __init__(
        self, max_shift: int = 1600, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(seed=seed, **kwargs)
        if max_shift < 0:
            raise ValueError(
                "`max_shift` must not be negative. "
                f"Received: max_shift={max_shift}"
            )
        self.max_shift = max_shift

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        limits = {"minval": -self.max_shift, "maxval": self.max_shift + 1}
        shift = tf.random.stateless_uniform(
            [tf.shape(x)[0]], seed, dtype=tf.int32, alg="philox", **limits
        )
        time = tf.range(tf.shape(x)[1])[None]
        lengths = tf.maximum(valid_lengths(x), 1)[:, None]
        rolled = tf.math.floormod(time - shift[:, None], lengths)
        index = tf.where(time < lengths, rolled, time)
        return tf.gather(x, index, axis=1, batch_dims=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_shift": self.max_shift}


@serializable
class FrequencyWarp(RangeAugmentation):
    """Vocal tract length perturbation: scales the feature axis of each clip.

    Feature `f` gets the value at `f * factor`, linearly interpolated; beyond
    the highest feature that feature's value is used. For log-mel features,
    whose axis is close to a warped frequency axis; not for MFCC.

    Args:
        low: Smallest factor.
        high: Largest factor.
        seed: See `Augmentation`.

    References:
        Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves
        speech recognition", ICML workshop 2013, equation 1.

    >>> x = tf.reshape(tf.range(4.0), (1, 1, 4))
    >>> FrequencyWarp(0.5, 0.5)(x, training=True).numpy().ravel().tolist()
    [0.0, 0.5, 1.0, 1.5]
    """

    def __init__(
        self,
        low: float = 0.9,
        high: float = 1.1,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(low, high, True, seed, kwargs)

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        bins = tf.range(tf.shape(x)[2])
        axis = tf.cast(bins, tf.float32)
        position = self.draw(x, seed)[:, None] * axis
        position = tf.minimum(position, axis[-1])
        # Interpolation as one small matrix for each clip: faster than a gather,
        # and frames of zeros stay exactly zero.
        distance = tf.abs(axis[:, None] - position[:, None, :])
        weights = tf.cast(tf.maximum(1.0 - distance, 0.0), x.dtype)
        return tf.matmul(x, weights)


@serializable
class TimeStretch(RangeAugmentation):
    """Time stretching: changes the tempo of each clip of features.

    A clip of `n` frames becomes one of `round(n * factor)` frames, linearly
    interpolated. The shape of the batch stays, so a clip that becomes longer
    than it is cropped at the end.

    Args:
        low: Smallest factor; below 1 is faster speech.
        high: Largest factor.
        seed: See `Augmentation`.

    >>> x = tf.constant([[[1.0], [2.0], [3.0], [0.0], [0.0]]])
    >>> y = TimeStretch(1.5, 1.5)(x, training=True)
    >>> y.numpy().round().ravel().tolist()
    [1.0, 2.0, 2.0, 3.0, 0.0]
    """

    def __init__(
        self,
        low: float = 0.8,
        high: float = 1.25,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(low, high, True, seed, kwargs)

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        lengths = tf.cast(valid_lengths(x), tf.float32)
        stretched = tf.maximum(tf.round(lengths * self.draw(x, seed)), 1.0)
        # The first frame stays the first one, the last the last one.
        step = (lengths - 1.0) / tf.maximum(stretched - 1.0, 1.0)
        time = tf.cast(tf.range(tf.shape(x)[1]), tf.float32)[None]
        last = tf.maximum(lengths - 1.0, 0.0)[:, None]
        position = tf.clip_by_value(time * step[:, None], 0.0, last)
        before = tf.floor(position)
        after = tf.minimum(before + 1.0, last)
        # A clip of zeros has no frames, and must not get any.
        ends = tf.where(lengths > 0, stretched, 0.0)[:, None]
        inside = tf.cast(time < ends, tf.float32)
        weight = position - before

        def part(index, weight):
            # Weights that are 0 outside: cheaper than a condition on values.
            weight = tf.cast(weight * inside, x.dtype)[:, :, None]
            index = tf.cast(index, tf.int32)
            return weight * tf.gather(x, index, axis=1, batch_dims=1)

        return part(before, 1.0 - weight) + part(after, weight)


def _amplitude(decibel):
    return tf.exp(decibel * np.float32(np.log(10.0) / 20.0))


def _random_intervals(size, number, max_width, ends, seed):
    """Mask `(batch, size)`, true inside random intervals that end by `ends`.

    Widths are drawn from 0 to `max_width`, floats `(batch,)`.
    """
    shape = [2, tf.shape(ends)[0], number]
    widths, starts = tf.unstack(uniform(shape, seed))
    room = tf.cast(tf.maximum(ends, 0), tf.float32)[:, None]
    widths = tf.floor(widths * (tf.minimum(max_width[:, None], room) + 1.0))
    starts = tf.floor(starts * (room - widths + 1.0))
    positions = tf.range(tf.cast(size, tf.float32))
    inside = (positions >= starts[:, :, None]) & (
        positions < (starts + widths)[:, :, None]
    )
    return tf.reduce_any(inside, axis=1)
