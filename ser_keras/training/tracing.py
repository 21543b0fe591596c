"""Suppressing TensorFlow's warnings of retracing."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def new_graphs():
    """Context without TensorFlow's warnings of retracing.

    TensorFlow counts the traces of all networks of a process together, and
    from the fifth fold on warns of each new network.

    >>> with new_graphs():
    ...     tf.get_logger().warning("1 call triggered tf.function retracing.")
    """
    logger = tf.get_logger()
    logger.addFilter(_is_unrelated)
    try:
        yield
    finally:
        logger.removeFilter(_is_unrelated)


def _is_unrelated(record):
    return "triggered tf.function retracing" not in record.getMessage()
