"""Graphs that are traced anew on purpose."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def new_graphs():
    """Keeps TensorFlow from warning of functions that are often traced.

    It counts the traces of all networks of a process together, and from the
    fifth fold on takes each new network for a mistake.

    >>> with new_graphs():
    ...     tf.get_logger().warning("1 call triggered tf.function retracing.")
    """
    logger = tf.get_logger()
    logger.addFilter(_is_other)
    try:
        yield
    finally:
        logger.removeFilter(_is_other)


def _is_other(record):
    return "triggered tf.function retracing" not in record.getMessage()
