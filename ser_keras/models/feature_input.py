"""Check of a network's input."""

import tensorflow as tf


def as_features(inputs, feature_shape, name="inputs"):
    """A network's input as a tensor of the right shape.

    The convolutions do not always raise an error for another shape: those of
    oneDNN abort the process.

    Args:
        inputs: `(batch, time, features, 1)`.
        feature_shape: `(time, features, 1)` of the network; any number of
            frames is accepted.
        name: Name of the input in error messages.

    Returns:
        Tensor of the same shape.

    Raises:
        ValueError: It has another rank, another size of the last two axes, or
            no frame. In a graph with an unknown number of frames, the call
            raises `tf.errors.InvalidArgumentError` if there is none.

    Example:
    >>> as_features(np.zeros((1, 184, 40)), (None, 40, 1))
    Traceback (most recent call last):
    ...
    ValueError: `inputs` must be (batch, time, 40, 1) with at least one frame.
    Received: inputs of shape (1, 184, 40)
    """
    x = tf.convert_to_tensor(inputs)
    _, *last = feature_shape
    wanted = tf.TensorShape([None, None, *last])
    advice = (
        f"`{name}` must be (batch, time, {last[0]}, {last[1]}) with at least "
        f"one frame. Received: {name} of shape"
    )
    if not wanted.is_compatible_with(x.shape):
        raise ValueError(f"{advice} {tuple(x.shape)}")
    frames = x.shape[1] if x.shape.rank else None
    if frames == 0:
        raise ValueError(f"{advice} {tuple(x.shape)}")
    if frames is None:
        tf.debugging.assert_positive(tf.shape(x)[1], f"{advice} (batch, 0, ..)")
    return x
