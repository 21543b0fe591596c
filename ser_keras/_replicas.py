"""Gradients of the global batch, under any `tf.distribute` strategy.

Keras' losses divide by the number of replicas, so the sum over replicas of
their gradients is the gradient of the global batch's mean loss. Keras'
optimizers compute this sum too, but clip before it: each replica's gradient by
itself, which is another function. Here gradients are summed and clipped first,
then divided by the number of replicas, so that the optimizer's sum restores
them.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING
from typing import Any

import tensorflow as tf

if TYPE_CHECKING:
    import keras


def num_replicas() -> int:
    """Number of replicas in sync; 1 outside replica context."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def uses_strategy(model: keras.Model) -> bool:
    """Whether a Keras model was made under a `tf.distribute` strategy."""
    default = tf.distribute.get_strategy()
    return (
        tf.distribute.has_strategy() or model.distribute_strategy is not default
    )


def num_workers(model: keras.Model) -> int:
    """Number of processes that train a Keras model together."""
    strategy = model.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(cluster.get(job, ())) for job in ("chief", "worker"))


def is_tpu(model: keras.Model) -> bool:
    """Whether a Keras model is on a TPU."""
    return isinstance(model.distribute_strategy, tf.distribute.TPUStrategy)


def all_reduce(tensors: list) -> list:
    """Sums each tensor over the replicas."""
    if num_replicas() == 1:
        return tensors
    context = tf.distribute.get_replica_context()
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, tensors))


_local = threading.local()


@contextlib.contextmanager
def part_of_batch(batch):
    """This replica's part of a batch, with a clip of zeros if it has none.

    Of a batch with fewer clips than replicas some get none, which not every
    kernel computes. Within the context batch norms leave that clip out of
    their statistics, and `batch_share` is 0.

    Args:
        batch: Nested tensors whose first axis is the replica's batch.

    Yields:
        The batch with at least one clip, and how many are real, a scalar, or
        None if the batch is as it was.
    """
    size = tf.nest.flatten(batch)[0].shape[0]
    if num_replicas() == 1 or size:  # Known, unless it is 0 or None.
        yield batch, None
        return
    rows = tf.shape(tf.nest.flatten(batch)[0])[0]
    missing = tf.cast(tf.equal(rows, 0), tf.int32)

    def filled(x):
        return tf.pad(x, [[0, missing], *[[0, 0]] * (x.shape.rank - 1)])

    before = getattr(_local, "rows", None)
    _local.rows = rows  # A replica is a thread.
    try:
        yield tf.nest.map_structure(filled, batch), rows
    finally:
        _local.rows = before


def presence(dtype):
    """1, or 0 where this replica's batch has no real clip; None if it must."""
    rows = getattr(_local, "rows", None)
    return None if rows is None else tf.cast(tf.minimum(rows, 1), dtype)


def batch_share(batch):
    """Size of this replica's batch relative to the mean size of all replicas'.

    Keras' losses are means over a replica's batch, divided by the number of
    replicas: of 13 clips on two replicas, the mean of 7 and that of 6 have the
    same weight. Times this factor, every clip has the same weight.

    Args:
        batch: Tensors whose first axis is the replica's batch.

    Returns:
        A float32 scalar; 1 where all replicas have equally many.
    """
    if num_replicas() == 1:
        return tf.constant(1.0)
    size = tf.cast(tf.shape(tf.nest.flatten(batch)[0])[0], tf.float32)
    present = presence(tf.float32)
    if present is not None:
        size *= present
    (total,) = all_reduce([size])
    return size * num_replicas() / total


def global_gradients(
    gradients: list, values: list, decay: float = 0.0, clip_norm: Any = None
) -> list:
    """This replica's share of the decayed and clipped global gradient.

    Args:
        gradients: This replica's gradients.
        values: The tensors they belong to.
        decay: Factor of `values` to add: coupled L2 decay.
        clip_norm: Largest global norm, or `None`.

    Returns:
        Gradients whose sum over replicas is the global gradient.
    """
    gradients = all_reduce(gradients)
    if decay:
        decay = tf.constant(decay, gradients[0].dtype)
        gradients = [
            _decayed(gradient, value, decay)
            for gradient, value in zip(gradients, values, strict=True)
        ]
    # One factor for both: a large network has hundreds of gradients.
    factor = 1.0 / num_replicas()
    if clip_norm is not None:
        norm = tf.linalg.global_norm(gradients)
        factor *= clip_norm / tf.maximum(norm, clip_norm)
    elif factor == 1.0:
        return gradients
    return [gradient * factor for gradient in gradients]


def _decayed(gradient, value, decay):
    # Else the decay of all weights may be computed before there is a gradient,
    # and be in memory with the weights.
    with tf.control_dependencies([gradient]):
        return gradient + decay * value
