"""Masks of padded batches: which frames of a clip are real."""

import keras
import tensorflow as tf


class FrameLayer(keras.layers.Layer):
    """Base class of layers whose callers pass `mask` explicitly.

    Keras would attach the mask of a layer's input to its output, although the
    two may have different frame rates. Returning no mask leaves the explicit
    argument as the only one.
    """

    def compute_mask(self, inputs, previous_mask):
        return None

    def get_config(self):
        # Without this method, Keras takes the arguments of a subclass without
        # arguments of its own as they were passed: a policy is not JSON.
        return super().get_config()


def frame_mask(features: tf.Tensor) -> tf.Tensor:
    """Mask of the real frames of features whose padding is exactly zero.

    A clip ends with its last frame that is not zero in every feature. Zero
    frames before it (such as those of time masking) belong to the clip. A
    clip of zeros alone keeps its first frame, so that no average is empty.

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
    nonzero = tf.reduce_max(tf.abs(features), axes) > 0
    frames = tf.range(tf.shape(features)[1])
    last = tf.reduce_max(tf.where(nonzero, frames, 0), axis=1)
    return frames <= last[:, None]


def strided_mask(mask, strides):
    """Mask of the output of a layer with strides over time.

    Args:
        mask: `(batch, time)`, the mask of the layer's input, or `None`.
        strides: Strides of the layer over time.

    Returns:
        `(batch, ceil(time / strides))`, or `None`.

    Example:
    >>> mask = tf.constant([[True, True, True, False, False]])
    >>> strided_mask(mask, 2).numpy().tolist()
    [[True, True, False]]
    """
    return mask if mask is None or strides == 1 else mask[:, ::strides]


def zero_padding(x, mask):
    """Sets frames outside the mask to zero.

    Args:
        x: `(batch, time, ...)`.
        mask: `(batch, time)`; or its `mask_factor`; or `None`, which changes
            nothing.
    """
    if mask is None:
        return x
    if mask.dtype == tf.bool:
        mask = mask_factor(mask, x)
    return x * mask


def mask_factor(mask, x):
    """The mask as a factor, for `zero_padding` of several tensors like `x`.

    Args:
        mask: `(batch, time)`, or `None`.
        x: Any tensor of the rank and the type of those to be masked.

    Returns:
        `(batch, time, 1, ...)` with the type of `x`, or `None`.
    """
    if mask is None:
        return None
    # With at most one unknown size a reshape needs no arithmetic of shapes.
    sizes = [mask.shape[0], mask.shape[1]]
    if None in sizes:
        sizes = [tf.shape(mask)[0], sizes[1] or -1]
    return tf.reshape(
        tf.cast(mask, x.dtype), [*sizes, *[1] * (x.shape.rank - 2)]
    )
