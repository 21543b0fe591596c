"""Gather: batches of clips from the frames of all utterances, in `tf.data`."""

import numpy as np
import tensorflow as tf

from ser_keras.audio.augmentation.base import fold_in
from ser_keras.features.mapped_frames import block_of
from ser_keras.features.mapped_frames import block_tensor
from ser_keras.features.mapped_frames import first_row


def fold_seed(seed, data):
    """Stateless seed, int32 `(2,)`, derived from another one and a number."""
    return fold_in(seed, data)


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
        blocks = _blocks(features.arrays)
        # In host memory, where tf.data runs, also with an accelerator.
        with tf.device("CPU"):
            self.frames = [x for x, _, _ in blocks]
            self.lengths = tf.constant(features.lengths, tf.int32)
            starts = np.zeros(len(features), np.int64)
            number = np.zeros(len(features), np.int32)
            for i, (_, rows, firsts) in enumerate(blocks):
                starts[rows], number[rows] = firsts, i
            # Of more frames than 32 bits can count, the rows are of 64.
            most = max(len(x) for x in self.frames)
            self.index_type = tf.int32 if most < 2**31 else tf.int64
            self.starts = tf.constant(starts, self.index_type)
            self.number = tf.constant(number)
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
        first = tf.gather(self.starts, rows)
        first += tf.cast(offset, self.index_type)
        inside = self.steps < length[:, None]
        index = first[:, None] + tf.cast(self.steps, self.index_type)
        x = self._frames(rows, index, inside)
        if self.augment is not None:
            seed = fold_seed(pass_seed(self.seed, number), 2)
            seed = fold_seed(seed, step)
            if self.stream:
                seed = fold_seed(seed, self.stream)
            x = self.augment(x, seed)
            if self.masks:
                x = tf.where(inside[..., None], x, 0.0)
        return x[..., None]

    def _frames(self, rows, index, inside):
        """Frames of each clip, `(batch, time, features)`, zero outside."""

        def frames(block, index, inside):
            # The last row of every block is zero.
            padding = tf.shape(block, self.index_type)[0] - 1
            return tf.gather(block, tf.where(inside, index, padding))

        if len(self.frames) == 1:
            return frames(self.frames[0], index, inside)
        number = tf.gather(self.number, rows)
        count = len(self.frames)
        places, indices, insides = (
            tf.dynamic_partition(x, number, count)
            for x in (tf.range(tf.size(rows)), index, inside)
        )
        x = tf.dynamic_stitch(
            places,
            [
                frames(*x)
                for x in zip(self.frames, indices, insides, strict=True)
            ],
        )
        return tf.ensure_shape(x, (*index.shape, x.shape[-1]))


def _blocks(arrays):
    """Frames of all clips: few tensors, the last row of which is zero.

    Clips of a store are gathered from its files; those in memory are copied.

    Args:
        arrays: Sequence of float32 arrays `(time, features)`.

    Returns:
        List of `(tensor, rows, firsts)`: the clips of the tensor, and the
        first frame of each.
    """
    found, memory = {}, []
    for row, array in enumerate(arrays):
        block = block_of(array)
        if block is None:
            memory.append(row)
        else:
            flat, _ = block
            rows, firsts = found.setdefault(id(flat), (flat, [], []))[1:]
            rows.append(row)
            firsts.append(first_row(array, flat))
    blocks = [
        (block_tensor(x), rows, firsts) for x, rows, firsts in found.values()
    ]
    if memory:
        parts = [arrays[row] for row in memory]
        lengths = np.array([len(x) for x in parts])
        with tf.device("CPU"):
            frames = tf.constant(
                np.concatenate([*parts, np.zeros_like(parts[0][:1])])
            )
        blocks.append((frames, memory, np.cumsum(lengths) - lengths))
    return blocks


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
