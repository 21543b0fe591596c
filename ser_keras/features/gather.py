"""Gather: batches of clips from the frames of all utterances, in `tf.data`."""

import numpy as np
import tensorflow as tf


def fold_seed(seed, data):
    """Stateless seed, int32 `(2,)`, derived from another one and a number."""
    return tf.random.fold_in(seed, tf.cast(data, tf.int32))


def pass_seed(seed, number):
    """Stateless seed, int32 `(2,)`, of pass `number` over the data."""
    return tf.stack([tf.constant(seed, tf.int32), tf.cast(number, tf.int32)])


class Gather:
    """Gathers a batch of clips from the frames of all utterances.

    Args:
        features: `FeatureSet`.
        duration: Frames of every clip.
        seed: Integer seed of the augmentation.
        augment: Layer or function, see `make_dataset`, or None.
        stream: Number of the stream, which makes its augmentation independent
            of those of other streams.
    """

    def __init__(self, features, duration, seed, augment=None, stream=0):
        self.duration = duration
        self.seed = seed
        # Our augmentations keep the padding, and may change a clip's length.
        self.masks = not hasattr(augment, "augment")
        self.augment = None
        if augment is not None:
            # AutoGraph, which takes a second, is needed for user functions.
            self.augment = tf.function(getattr(augment, "augment", augment))
        self.stream = stream
        lengths = features.lengths
        # Padded frames are gathered from the last row.
        frames = np.concatenate([*features.arrays, features.arrays[0][:1] * 0])
        # In host memory, where tf.data runs, also with an accelerator.
        with tf.device("CPU"):
            self.frames = tf.constant(frames)
            self.lengths = tf.constant(lengths, tf.int32)
            self.starts = tf.constant(np.cumsum(lengths) - lengths, tf.int32)
            self.steps = tf.range(self.duration)

    def surplus(self, rows):
        """Surplus frames of utterances, int32 `(batch,)`."""
        length = tf.gather(self.lengths, rows)
        return tf.maximum(length - self.duration, 0)

    def __call__(self, number, step, rows, offset):
        """Gathers a batch.

        Args:
            number: Number of the pass.
            step: Number of the batch within the pass.
            rows: Numbers of the utterances, int32 `(batch,)`.
            offset: First frame of each, int32 `(batch,)`.

        Returns:
            Float32 tensor `(batch, time, features, 1)`.
        """
        length = tf.gather(self.lengths, rows)
        first = tf.gather(self.starts, rows) + offset
        inside = self.steps < length[:, None]
        padding = tf.shape(self.frames)[0] - 1
        index = tf.where(inside, first[:, None] + self.steps, padding)
        x = tf.gather(self.frames, index)
        if self.augment is not None:
            seed = fold_seed(pass_seed(self.seed, number), 2)
            seed = fold_seed(seed, step)
            if self.stream:
                seed = fold_seed(seed, self.stream)
            x = self.augment(x, seed)
            if self.masks:
                x = tf.where(inside[..., None], x, 0.0)
        return x[..., None]


def crop_offset(surplus, position, random):
    """First frame of each crop, int32 `(batch,)`.

    Args:
        surplus: Surplus frames of the utterances, int32 `(batch,)`.
        position: Relative position of a random crop, floats in [0, 1),
            `(batch,)`.
        random: Whether crops are random; otherwise they are centred.
    """
    if not random:
        return surplus // 2
    # `position` is below 1, but float32 may round the product up.
    offset = tf.cast(position * tf.cast(surplus + 1, "float32"), "int32")
    return tf.minimum(offset, surplus)


class GatherStreams:
    """Gathers batches of several streams, cropped to the same seconds.

    The crop is drawn in the stream with the highest frame rate; the others
    start at their frame that is nearest in time.

    Args:
        features: `FeatureStreams`.
        durations: Dict from name to frames.
        random: Whether crops are random; otherwise they are centred.
        seed: Integer seed of the augmentation.
        augment: Dict from name to augmentation.
    """

    def __init__(self, features, durations, random, seed, augment):
        self.random = random
        self.gather = {
            name: Gather(
                stream, durations[name], seed, augment.get(name), number
            )
            for number, (name, stream) in enumerate(features.streams.items())
        }
        rates = {k: x.frame_rate or 0 for k, x in features.streams.items()}
        # A stream of one frame a clip is not cropped, so it does not count.
        self.finest = max(
            rates, key=lambda k: (features.streams[k].max_length > 1, rates[k])
        )
        # A stream without a rate has one frame, or no clip of it is cropped.
        self.ratios = {
            name: rate / (rates[self.finest] or 1)
            for name, rate in rates.items()
        }

    def __call__(self, number, step, rows, position):
        finest = self.gather[self.finest]
        offset = crop_offset(finest.surplus(rows), position, self.random)
        start = tf.cast(offset, tf.float32)
        batch = {}
        for name, gather in self.gather.items():
            first = offset
            if name != self.finest:
                first = tf.cast(start * self.ratios[name] + 0.5, tf.int32)
                first = tf.minimum(first, gather.surplus(rows))
            batch[name] = gather(number, step, rows, first)
        return batch
