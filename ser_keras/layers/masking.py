"""Which frames of a padded batch are real."""

import keras
import tensorflow as tf


class FrameLayer(keras.layers.Layer):
    """A layer whose callers pass `mask` themselves.

    Keras would attach the input's mask to the output, where time may run at
    another rate; returning none here keeps the explicit one the only one.
    """

    def compute_mask(self, inputs, previous_mask):
        return None


def frame_mask(features):
    """Finds the real frames of features whose padding is exactly zero.

    A clip ends with its last frame that is not zero throughout: zero frames
    in its middle (as time masking makes them) belong to it. A clip without
    any such frame keeps its first one, so that no average is empty.

    Args:
        features: `(batch, time, features)` or `(batch, time, features, 1)`.

    Returns:
        Booleans, `(batch, time)`.

    Example:
    >>> x = np.zeros((2, 4, 3, 1), "float32")
    >>> x[0, 2] = 1
    >>> frame_mask(x).numpy().astype(int).tolist()
    [[1, 1, 1, 0], [1, 0, 0, 0]]
    """
    features = tf.convert_to_tensor(features)
    axes = list(range(2, features.shape.rank))
    sounding = tf.reduce_max(tf.abs(features), axes) > 0
    frames = tf.range(tf.shape(features)[1])
    last = tf.reduce_max(tf.where(sounding, frames, 0), axis=1)
    return frames <= last[:, None]


def zero_padding(x, mask):
    """Sets frames outside the mask to zero; `mask=None` changes nothing."""
    if mask is None:
        return x
    if mask.dtype == tf.bool:
        mask = mask_factor(mask, x)
    return x * mask


def mask_factor(mask, x):
    """The mask as a factor of `x`, for `zero_padding` of several like it."""
    if mask is None:
        return None
    # With one unknown size at most a reshape needs no arithmetic of shapes.
    sizes = [mask.shape[0], mask.shape[1]]
    if None in sizes:
        sizes = [tf.shape(mask)[0], sizes[1] or -1]
    return tf.reshape(
        tf.cast(mask, x.dtype), [*sizes, *[1] * (x.shape.rank - 2)]
    )
