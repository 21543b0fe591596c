"""Class numbers of a batch, checked while it is computed."""

import tensorflow as tf


def valid_class_numbers(labels, classes):
    """Raises if a class number is out of range; in XLA, says which ones are.

    XLA has no assertions, so that the caller must make NaN of those that are
    not valid, as Keras' own cross-entropy does: their one-hot labels are zeros,
    and a loss of 0 would look like success.

    Args:
        labels: Class numbers of any shape and type of number.
        classes: Number of classes.

    Returns:
        Boolean tensor of the shape of `labels`: whether they are in range.

    Raises:
        tf.errors.InvalidArgumentError: One is not, outside of XLA.

    Example:
    >>> valid_class_numbers([0, 1], 2).numpy()
    array([ True,  True])
    """
    labels = tf.convert_to_tensor(labels)
    if not labels.dtype.is_floating:
        labels = tf.cast(labels, tf.int64)  # Booleans cannot be compared.
    valid = (labels >= 0) & (labels < classes)  # Neither is true of NaN.
    wanted = f"`y_true` must be class numbers from 0 to {classes - 1}."
    if tf.executing_eagerly():
        if not tf.reduce_all(valid):
            low, high = tf.reduce_min(labels), tf.reduce_max(labels)
            raise tf.errors.InvalidArgumentError(
                None, None, f"{wanted} Received: from {low} to {high}"
            )
        return valid
    # Not an assertion, whose text is a tensor of strings: a step for TPUs may
    # have none. XLA takes this for an identity.
    mark = tf.where(valid, 0.0, float("nan"))
    mark = tf.debugging.check_numerics(mark, f"{wanted} Received others")
    valid = tf.equal(mark, 0.0)
    return valid
