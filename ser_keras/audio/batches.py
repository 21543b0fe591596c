"""Features of many clips: of arrays in memory, or of files in `tf.data`."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras._graphs import graph_of
from ser_keras.audio.io import load_many

if TYPE_CHECKING:
    from ser_keras.audio.front_end import FrontEnd


def compute_features(
    waveforms: Sequence[np.ndarray],
    frontend: FrontEnd,
    batch_size: int = 16,
    num_workers: int | None = None,
) -> list[np.ndarray]:
    """Features of many clips, equal to those of each clip alone.

    Clips of similar length are padded to the longest one of their batch; the
    front end gets their `lengths`. It is traced once for all shapes.

    Args:
        waveforms: List of float32 arrays `(samples,)`.
        frontend: `FrontEnd`, such as `MFCC`.
        batch_size: Clips in a batch. Small batches stay in the processor's
            cache.
        num_workers: Threads, each with a batch. None means one a processor.

    Returns:
        List of float32 arrays `(time, features)`, in the order of `waveforms`.

    >>> from ser_keras.audio.mfcc import MFCC
    >>> clips = [np.ones(n, "float32") for n in (8000, 16000)]
    >>> [x.shape for x in compute_features(clips, MFCC())]
    [(47, 40), (97, 40)]
    """
    function = _batch_function(frontend)
    order = sorted(range(len(waveforms)), key=lambda i: len(waveforms[i]))
    groups = [
        order[i : i + batch_size] for i in range(0, len(order), batch_size)
    ]

    def run(group):
        batch, lengths = pad_batch([waveforms[i] for i in group])
        features = function(batch, lengths).numpy()
        frames = frontend.num_frames(lengths)
        # Copies: a view would keep the whole padded batch in memory.
        return [x[:n].copy() for x, n in zip(features, frames, strict=True)]

    results: list[Any] = [None] * len(waveforms)
    workers = num_workers or os.cpu_count()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        # Longest first, so that all threads finish at about the same time.
        for group, features in zip(
            groups[::-1], pool.map(run, groups[::-1]), strict=True
        ):
            for index, value in zip(group, features, strict=True):
                results[index] = value
    return results


def features_from_files(
    paths: Sequence[str | os.PathLike[str]],
    frontend: FrontEnd,
    batch_size: int = 16,
    num_workers: int | None = None,
) -> tf.data.Dataset:
    """Dataset of padded feature batches of audio files.

    Decoding and the front end run in parallel, in the order of `paths`.

    Args:
        paths: List of audio files.
        frontend: `FrontEnd`, such as `MFCC`; files are resampled to its
            `sample_rate`.
        batch_size: Files in a batch.
        num_workers: Batches computed in parallel. None means one a processor.

    Returns:
        `tf.data.Dataset` of `(features, lengths)`: float32 `(batch, time,
        num_features)` and int32 `(batch,)`, frames. Frames after a clip's end
        are not zero; `UtteranceNormalization` zeroes them.

    Raises:
        tf.errors.OpError: While the dataset is read, with the `AudioError` of
            the first bad file in its message.
    """
    function = _batch_function(frontend)

    def load(batch):
        names = [os.fsdecode(name) for name in batch]
        # One thread here: tf.data runs several batches at a time.
        clips, _ = load_many(names, frontend.sample_rate, num_workers=1)
        return pad_batch(clips)

    def compute(batch):
        waveform, lengths = tf.numpy_function(
            load, [batch], (tf.float32, tf.int32)
        )
        waveform.set_shape((None, None))
        lengths.set_shape((None,))
        return function(waveform, lengths), frontend.num_frames(lengths)

    dataset = tf.data.Dataset.from_tensor_slices([str(p) for p in paths])
    dataset = dataset.batch(batch_size)
    dataset = dataset.map(compute, num_workers or os.cpu_count())
    return dataset.prefetch(2)


def pad_batch(waveforms):
    """Stacks clips of different lengths, padded with zeros at the end.

    Args:
        waveforms: List of arrays `(samples,)`.

    Returns:
        `(batch, lengths)`: float32 `(batch, samples)` and int32 `(batch,)`.

    >>> pad_batch([np.ones(1), np.ones(2)])[0].tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    lengths = np.array([len(x) for x in waveforms], np.int32)
    batch = np.zeros((len(waveforms), max(lengths, default=0)), np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return batch, lengths


def _batch_function(frontend):
    """The front end as a graph for all batch sizes and lengths."""
    signature = [
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((None,), tf.int32),
    ]
    return graph_of(frontend, _features, input_signature=signature)


def _features(frontend, waveform, lengths):
    return frontend(waveform, lengths=lengths)
