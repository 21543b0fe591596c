"""What every network of features asks of its input."""

import tensorflow as tf


def as_features(inputs, feature_shape, name="inputs"):
    """A network's input as a tensor, once its shape has been checked.

    What convolutions of another shape do is not always an error: oneDNN's end
    the process.

    Args:
        inputs: `(batch, time, features, 1)`.
        feature_shape: `(time, features, 1)` that the network was made for;
            any other time will do.
        name: What the caller calls the input.

    Returns:
        Tensor of the same shape.

    Raises:
        ValueError: It has another rank, another size of the last two axes, or
            no frame. In a graph that leaves the time open, having no frame is
            an `InvalidArgumentError` of the call.

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
