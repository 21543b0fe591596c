"""Batches of features in `tf.data`, reproducible and resumable."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras.corpora.manifest import Manifest
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import check_finite
from ser_keras.features.gather import Gather
from ser_keras.features.gather import GatherStreams
from ser_keras.features.gather import crop_offset
from ser_keras.features.gather import fold_seed
from ser_keras.features.gather import pass_seed
from ser_keras.features.streams import FeatureStreams
from ser_keras.protocols.splits import SpeakerOverlapError

_PREFETCHED = 8  # Batches that are made before they are asked for.
# Without AutoGraph, which takes a second in each process.
_as_written = tf.autograph.experimental.do_not_convert


def make_dataset(
    features: FeatureSet | FeatureStreams | dict[str, FeatureSet],
    batch_size: int,
    *,
    duration_frames: int | Mapping[str, int] | None = None,
    crop: str | None = None,
    shuffle: bool = False,
    seed: int = 0,
    first_epoch: int = 0,
    steps_per_epoch: int | None = None,
    augment: Any = None,
    drop_remainder: bool = False,
    class_weights: np.ndarray | None = None,
    targets: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Dataset of batches `(x, y)` for training or prediction.

    Short clips are zero-padded at the end, long ones are cropped. Features of
    a cache or store are gathered from its files and take no memory; those that
    are in memory are copied once. With
    `shuffle=False` the dataset is one pass in the manifest's order. With
    `shuffle=True` it is endless, so `fit` needs `steps_per_epoch`; every pass
    has another order and other crops. They are a function of `seed`, the pass
    and the utterance: a run that was killed in epoch 7 and is resumed with
    `first_epoch=7` gets the same batches as an uninterrupted one.

    Args:
        features: `FeatureSet`, as `Preprocessor.compute` returns it for a
            `Manifest`; or several streams, as `FeatureStreams` or a dict from
            the name of a stream to its `FeatureSet`.
        batch_size: Utterances in a batch.
        duration_frames: Frames of every clip. None means those of the longest
            clip of the set. For several streams, a dict; or the frames of the
            first one, from which the others are computed for the same seconds.
        crop: `"random"` or `"center"`: which part of a longer clip is used.
            None means random when shuffling.
        shuffle: Whether to shuffle and repeat.
        seed: Integer seed of the order, the crops and the augmentation.
        first_epoch: Epoch at which the dataset starts.
        steps_per_epoch: Batches in an epoch, which determine where epoch
            `first_epoch` starts. None means one pass. In a search, the
            architecture half needs the number of the weight half.
        augment: Augmentation layer such as `SpecAugment`, or a function
            `(x, seed) -> x` of a batch `(batch, time, features)` and a
            stateless seed, int32 `(2,)`, after which the padding is zeroed
            again. For several streams, a dict; or that of the first one.
        drop_remainder: Whether to leave out a last batch that is not full,
            so that all shapes are static.
        class_weights: Weights in the order of the labels; batches are then
            `(x, y, sample_weight)`. See `class_weights`.
        targets: What y is in place of the labels, float32 `(utterances,
            values)`.

    Returns:
        `tf.data.Dataset` of x, float32 `(batch, time, features, 1)`, and y,
        int32 `(batch,)`. It has the attributes `steps_per_epoch`,
        `first_epoch` and `speakers`. For several streams, x is a dict from name
        to such batches, each with its own time axis; they are crops of the
        same seconds, to within half a frame of the coarser stream.

    Raises:
        ValueError: An argument is invalid, or a feature is NaN or infinite.

    >>> from ser_keras.features.feature_set import FeatureSet
    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> clips = FeatureSet(manifest, [np.ones((5, 2), "float32")])
    >>> dataset = make_dataset(clips, 1, duration_frames=8)
    >>> [x.numpy()[0, :, 0, 0].tolist() for x, y in dataset]
    [[1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    if isinstance(features, Manifest):
        raise ValueError(
            "`features` must be a FeatureSet: Preprocessor(MFCC()).compute("
            f"manifest) makes one. Received: features={features}"
        )
    if isinstance(features, dict):
        features = FeatureStreams(features)
    if isinstance(features, FeatureSet):  # `FeatureStreams` checks its own.
        check_finite(features)
    crop = crop or ("random" if shuffle else "center")
    size = len(features)
    passes = -(-size // batch_size) if batch_size > 0 else 0
    if drop_remainder and batch_size > 0:
        passes = size // batch_size
    _check(features, batch_size, crop, passes)
    steps_per_epoch = steps_per_epoch or passes
    first_pass, skipped = divmod(first_epoch * steps_per_epoch, passes)

    order = _orders(size, shuffle, first_pass, seed)
    batches = order.flat_map(
        _as_written(
            lambda number, rows, position: tf.data.Dataset.zip(
                tf.data.Dataset.from_tensors(number).repeat(),
                tf.data.Dataset.from_tensor_slices((rows, position))
                .batch(batch_size, drop_remainder)
                .enumerate(),
            )
        )
    )
    if shuffle:
        batches = batches.apply(
            tf.data.experimental.assert_cardinality(
                tf.data.INFINITE_CARDINALITY
            )
        ).skip(skipped)
    else:
        batches = batches.apply(tf.data.experimental.assert_cardinality(passes))
    gather = _gatherer(features, duration_frames, crop, seed, augment)
    weights = None
    if class_weights is not None:
        weights = _weights(class_weights, features.manifest)
    with tf.device("CPU"):
        labels = tf.constant(
            features.manifest.label_ids if targets is None else targets
        )

    @_as_written
    def to_batch(number, batch):
        step, (rows, position) = batch
        x = gather(number, step, rows, position)
        y = tf.gather(labels, rows)
        if weights is None:
            return x, y
        return x, y, tf.gather(weights, rows)

    dataset = batches.map(to_batch, num_parallel_calls=tf.data.AUTOTUNE)
    # Not AUTOTUNE, which may keep hundreds of batches.
    dataset = dataset.prefetch(_PREFETCHED)
    options = tf.data.Options()
    # They would put a copy of all frames into a rewritten graph.
    options.experimental_optimization.apply_default_optimizations = False
    dataset = dataset.with_options(options)
    dataset.steps_per_epoch = steps_per_epoch
    dataset.first_epoch = first_epoch
    dataset.speakers = frozenset(features.manifest.speakers)
    return dataset


def bilevel(
    weights: tf.data.Dataset, architecture: tf.data.Dataset
) -> tf.data.Dataset:
    """Pairs the batches of the two halves of a search (bilevel optimization).

    Args:
        weights: Dataset of the half that trains the weights.
        architecture: Dataset of the half that trains the architecture; it is
            repeated as often as needed.

    Returns:
        `tf.data.Dataset` of `((x, y), (x, y))`, as long as `weights`, with its
        attributes `steps_per_epoch` and `first_epoch`.

    Raises:
        SpeakerOverlapError: Both are from `make_dataset` and share a speaker,
            and there are others.
        ValueError: They do not resume at the same step.
    """
    one, other = (
        frozenset(getattr(half, "speakers", ()))
        for half in (weights, architecture)
    )
    shared = one & other
    # `halves` warns of a single training speaker, who is in both.
    if shared and len(one | other) > 1:
        raise SpeakerOverlapError(
            "The halves of a search must have different speakers. Received "
            f"shared speakers: {sorted(shared)}"
        )
    first = [_first_step(half) for half in (weights, architecture)]
    if None not in first and first[0] != first[1]:
        raise ValueError(
            "Both halves must resume at the same step: make the architecture "
            "half with the same `first_epoch` and with "
            "`steps_per_epoch=weights.steps_per_epoch`. Received: weights at "
            f"step {first[0]}, architecture at step {first[1]}"
        )
    dataset = tf.data.Dataset.zip((weights, architecture.repeat()))
    for name in ("steps_per_epoch", "first_epoch"):
        if hasattr(weights, name):
            setattr(dataset, name, getattr(weights, name))
    return dataset


def class_weights(manifest: Manifest) -> np.ndarray:
    """Class weights by inverse frequency.

    The weight of class c is N / (K N_c) for N utterances, K classes and N_c
    utterances of class c, so that the weights of all utterances sum to N.

    Args:
        manifest: `Manifest`.

    Returns:
        Float32 array `(classes,)`.

    Raises:
        ValueError: A class has no utterance.
    """
    counts = manifest.counts()
    missing = [label for label, count in counts.items() if not count]
    if missing:
        raise ValueError(
            "`manifest` must have utterances of every class. Missing: "
            f"{missing}. Received counts: {counts}"
        )
    counts = np.array(list(counts.values()))
    return (len(manifest) / (len(counts) * counts)).astype("float32")


def _gatherer(features, duration_frames, crop, seed, augment):
    """Function from `(pass, step, rows, positions of crops)` to a batch."""
    random = crop == "random"
    if isinstance(features, FeatureStreams):
        if not isinstance(augment, dict):
            augment = {next(iter(features.streams)): augment}
        if not augment.keys() <= features.streams.keys():
            raise ValueError(
                "`augment` must name streams of "
                f"{list(features.streams)}. Received: {list(augment)}"
            )
        durations = features.durations(duration_frames)
        return GatherStreams(features, durations, random, seed, augment)
    if duration_frames is not None and duration_frames < 1:
        raise ValueError(
            "`duration_frames` must be a positive integer or None. Received: "
            f"duration_frames={duration_frames}"
        )
    duration = duration_frames or features.max_length
    gather = Gather(features, duration, seed, augment)

    def cut(number, step, rows, position):
        offset = crop_offset(gather.surplus(rows), position, random)
        return gather(number, step, rows, offset)

    return cut


def _orders(size, shuffle, first_pass, seed):
    """Dataset of `(pass, rows, positions of crops)`, one element a pass."""
    rows = tf.range(size)
    if not shuffle:
        numbers = tf.data.Dataset.from_tensors(
            tf.constant(first_pass, tf.int64)
        )
    else:
        numbers = tf.data.Dataset.counter(first_pass)

    @_as_written
    def order(number):
        state = pass_seed(seed, number)
        # Drawn in the manifest's order: the crop of an utterance does not
        # depend on its position in the shuffled order.
        position = tf.random.stateless_uniform([size], fold_seed(state, 1))
        shuffled = rows
        if shuffle:
            shuffled = tf.random.experimental.stateless_shuffle(
                rows, fold_seed(state, 0)
            )
        return number, shuffled, tf.gather(position, shuffled)

    return numbers.map(order)


def _weights(weights, manifest):
    weights = np.asarray(weights, "float32")
    if weights.shape != (len(manifest.labels),):
        raise ValueError(
            "`class_weights` must have one weight for each label of "
            f"{manifest.labels}. Received: class_weights={weights}"
        )
    with tf.device("CPU"):
        return tf.constant(weights[manifest.label_ids])


def _first_step(dataset):
    if not hasattr(dataset, "steps_per_epoch"):
        return None
    return dataset.first_epoch * dataset.steps_per_epoch


def _check(features, batch_size, crop, passes):
    if batch_size < 1 or passes < 1:
        raise ValueError(
            "`batch_size` must be at least 1 and, with `drop_remainder`, at "
            f"most the number of utterances, {len(features)}. Received: "
            f"batch_size={batch_size}"
        )
    if crop not in ("random", "center"):
        raise ValueError(
            "`crop` must be 'random', 'center' or None. "
            f"Received: crop={crop!r}"
        )
