"""Batches cut out of the frames of all utterances, inside `tf.data`."""

import numpy as np
import tensorflow as tf


def fold_seed(seed, data):
    """A stateless seed, int32 `(2,)`, of another one and a number."""
    return tf.random.fold_in(seed, tf.cast(data, tf.int32))


def pass_seed(seed, number):
    """The stateless seed, int32 `(2,)`, of pass `number` through the data."""
    return tf.stack([tf.constant(seed, tf.int32), tf.cast(number, tf.int32)])


class Gather:
    """Cuts a whole batch out of the frames of all utterances at once.

    Args:
        features: `FeatureSet`.
        duration: Frames of every clip.
        seed: Integer of the augmentation.
        augment: Layer or function, see `make_dataset`, or None.
        stream: Number of the stream, so that no two are augmented alike.
    """

    def __init__(self, features, duration, seed, augment=None, stream=0):
        self.duration = duration
        self.seed = seed
        # Layers keep padding by themselves, and may stretch a clip.
        self.masks = not hasattr(augment, "augment")
        self.augment = None
        if augment is not None:
            # AutoGraph, which takes a second, is for what others wrote.
            self.augment = tf.function(getattr(augment, "augment", augment))
        self.stream = stream
        lengths = features.lengths
        # The last row is what padded frames point to.
        frames = np.concatenate([*features.arrays, features.arrays[0][:1] * 0])
        # Held by the host, whatever the accelerator: tf.data runs there.
        with tf.device("CPU"):
            self.frames = tf.constant(frames)
            self.lengths = tf.constant(lengths, tf.int32)
            self.starts = tf.constant(np.cumsum(lengths) - lengths, tf.int32)
            self.steps = tf.range(self.duration)

    def spare(self, rows):
        """Frames by which utterances exceed the duration, int32 `(batch,)`."""
        length = tf.gather(self.lengths, rows)
        return tf.maximum(length - self.duration, 0)

    def __call__(self, number, step, rows, offset):
        """Batch `(batch, time, features, 1)`.

        Args:
            number: Of the pass.
            step: Of the batch within the pass.
            rows: Utterances, int32 `(batch,)`.
            offset: First frame taken of each, int32 `(batch,)`.
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


def crop_offset(spare, position, random):
    """First frame of a crop, int32 `(batch,)`.

    Args:
        spare: Frames more than the crop has, int32 `(batch,)`.
        position: Of a random crop, floats from 0 to below 1, `(batch,)`.
        random: Whether the crop is random, or the middle.
    """
    if not random:
        return spare // 2
    # `position` is below 1, but float32 may round the product up.
    offset = tf.cast(position * tf.cast(spare + 1, "float32"), "int32")
    return tf.minimum(offset, spare)


class GatherStreams:
    """One `Gather` for each stream, over the same seconds of each clip.

    The crop is drawn in the stream of the highest frame rate; the others begin
    at their frame that is nearest to the same second.

    Args:
        features: `FeatureStreams`.
        durations: Dict from name to frames.
        random: Whether crops are random, or the middle.
        seed: Integer of the augmentation.
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
        # One frame a clip is a summary, whatever its rate: not what is cropped.
        self.finest = max(
            rates, key=lambda k: (features.streams[k].max_length > 1, rates[k])
        )
        # Without a rate a stream has one frame, or none of it is cropped.
        self.ratios = {
            name: rate / (rates[self.finest] or 1)
            for name, rate in rates.items()
        }

    def __call__(self, number, step, rows, position):
        finest = self.gather[self.finest]
        offset = crop_offset(finest.spare(rows), position, self.random)
        seconds = tf.cast(offset, tf.float32)
        batch = {}
        for name, gather in self.gather.items():
            first = offset
            if name != self.finest:
                first = tf.cast(seconds * self.ratios[name] + 0.5, tf.int32)
                first = tf.minimum(first, gather.spare(rows))
            batch[name] = gather(number, step, rows, first)
        return batch
