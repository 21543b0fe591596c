"""Base classes of augmentations: layers, and stateless functions of a seed.

As a layer, an augmentation is active with `training=True` only and draws from a
Keras seed generator. In `tf.data` use `augment(x, seed)`, a function of the
seed: with `derive_seed(seed, epoch, index)` a resumed run is augmented exactly
as an uninterrupted one.
"""

import functools
import math
import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_PHILOX = 1  # By default, TensorFlow chooses an algorithm by device.
_SCRAMBLE = np.array([0x02461E293EC8F720], np.uint64)


def derive_seed(
    seed: int, epoch: int | tf.Tensor, index: int | tf.Tensor
) -> tf.Tensor:
    """Seed of one clip or batch in one epoch, for `augment(x, seed)`.

    Args:
        seed: Seed of the run, int.
        epoch: Number of the epoch, int or int tensor.
        index: Number of the clip or batch in the dataset, int or int tensor.

    Returns:
        Int32 tensor `(2,)`.

    >>> derive_seed(1, 2, 3).shape
    TensorShape([2])
    """
    base = tf.stack([tf.cast(seed, tf.int32), tf.cast(epoch, tf.int32)])
    return fold_in(base, index)


def random_bits(shape, seed):
    """Random int32, those of `tf.random.stateless_uniform(..., alg="philox")`.

    With a third of its operations: in the augmentation of a batch, hundreds of
    them on a few numbers each take time that counts.

    Args:
        shape: Shape of the result.
        seed: Two ints, or an int tensor `(2,)`.

    Returns:
        Int32 tensor of that shape.

    >>> random_bits([], (1, 2)).numpy()
    np.int32(1105988140)
    """
    draw = functools.partial(
        tf.raw_ops.StatelessRandomUniformFullIntV2, alg=_PHILOX
    )
    mixed = draw(
        shape=[2, 2],
        key=_SCRAMBLE,
        counter=tf.cast(seed, tf.uint64),
        dtype=tf.uint32,
    )
    mixed = tf.bitcast(mixed, tf.uint64)
    # Of the counter, the first number is 0.
    counter = mixed * np.array([0, 1], np.uint64)
    return draw(shape=shape, key=mixed[:1], counter=counter, dtype=tf.int32)


def fold_in(seed, data):
    """Seed, int32 `(2,)`, derived from another one and a number.

    That of `tf.random.fold_in`.

    Args:
        seed: Two ints, or an int tensor `(2,)`.
        data: Int, or int tensor without axes.

    >>> fold_in((1, 2), 3).numpy().tolist()
    [1105988140, 3]
    """
    return tf.stack([random_bits([], seed), tf.cast(data, tf.int32)])


def split(seed):
    """Two seeds, int32 `(2,)`, derived from another one.

    Those of `tf.random.split`.

    Args:
        seed: Two ints, or an int tensor `(2,)`.

    >>> [seed.shape for seed in split((1, 2))]
    [TensorShape([2]), TensorShape([2])]
    """
    return tf.unstack(random_bits([2, 2], seed))


def uniform(shape, seed, low=0.0, high=1.0):
    """Uniform floats in `[low, high)`, the same with and without XLA.

    `tf.random.stateless_uniform` draws the same bits in both cases, but
    converts them to floats differently.

    Args:
        shape: Shape of the result.
        seed: Two ints, or an int tensor `(2,)`.
        low: Lower limit.
        high: Upper limit, never reached.

    Returns:
        Float32 tensor of that shape.

    >>> uniform([2], (1, 2)).shape
    TensorShape([2])
    """
    bits = tf.bitwise.bitwise_and(random_bits(shape, seed), 2**24 - 1)
    return low + (high - low) * tf.cast(bits, tf.float32) * 2.0**-24


def normal(shape, seed):
    """Standard normal floats, by the Box-Muller transform of `uniform`.

    Args:
        shape: Shape of the result.
        seed: Two ints, or an int tensor `(2,)`.

    Returns:
        Float32 tensor of that shape.

    >>> normal([2], (1, 2)).shape
    TensorShape([2])
    """
    radius, angle = tf.unstack(uniform(tf.concat([[2], shape], 0), seed))
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - radius))
    return radius * tf.cos(2.0 * math.pi * angle)


class Augmentation(keras.layers.Layer):
    """Base class of augmentations; a subclass implements `transform(x, seed)`.

    Args:
        seed: Int, seed of the generator that `call` draws from. None means a
            random one. `augment` does not use it.

    Call arguments:
        x: Float tensor.
        training: If not true, `x` is returned as it is.

    Input shape:
        `(batch, time, features)` or `(time, features)` where features are
        augmented; `(batch, samples)` or `(samples,)` where waveforms are.

    Output shape:
        That of the input.
    """

    # Rank of a batch: 3 for features, 2 for waveforms.
    _rank = 3

    def __init__(self, seed: int | None = None, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, x: tf.Tensor, training: bool | None = False) -> tf.Tensor:
        if not training:
            return x
        return self.augment(x, tf.cast(self.seed_generator.next(), tf.int32))

    @tf.autograph.experimental.do_not_convert
    def augment(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        """Augments a clip or a batch; each clip has its own random draw.

        Args:
            x: Float tensor, with or without the batch axis.
            seed: Two ints, or an int tensor `(2,)`.

        Returns:
            Tensor of the shape of `x`; a function of `x`, `seed` and the class.

        Raises:
            ValueError: `x` has another number of axes.
        """
        x = tf.convert_to_tensor(x)
        rank = x.shape.rank
        if rank not in (self._rank - 1, self._rank):
            raise ValueError(
                f"`x` must have {self._rank} axes, or {self._rank - 1} without "
                f"the batch axis. Received: x of shape {tuple(x.shape)}"
            )
        # Otherwise two augmentations with one seed would be correlated.
        name = zlib.crc32(type(self).__name__.encode()) & 0x7FFFFFFF
        seed = fold_in(tf.cast(tf.stack(seed), tf.int32), name)
        if rank == self._rank:
            result = self.transform(x, seed)
        else:
            result = self.transform(x[None], seed)[0]
        result.set_shape(x.shape)
        return result

    def transform(self, x: tf.Tensor, seed: int) -> tf.Tensor:
        """Augments the batch `x`; the same seed gives the same result.

        Implement it in TensorFlow operations: AutoGraph does not convert it.
        """
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


class RangeAugmentation(Augmentation):
    """Base class of augmentations that draw one number for each clip.

    Args:
        low: Lower limit of the number.
        high: Upper limit.
        positive: Whether `low` must be above 0.
        seed: See `Augmentation`.
        kwargs: Dict of further arguments of `Augmentation`.

    Raises:
        ValueError: The limits are not in order, or not positive.
    """

    def __init__(
        self,
        low: float,
        high: float,
        positive: bool,
        seed: int | None,
        kwargs: Any,
    ):
        super().__init__(seed=seed, **kwargs)
        if low > high or (positive and low <= 0):
            rule = "0 < low <= high" if positive else "low <= high"
            raise ValueError(
                f"`low` and `high` must satisfy {rule}. Received: low={low}, "
                f"high={high}"
            )
        self.low = low
        self.high = high

    def draw(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws one number for each clip, `(batch,)`."""
        return uniform([tf.shape(x)[0]], seed, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}
