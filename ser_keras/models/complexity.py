"""What a network costs, whatever it is made of."""

import math

import tensorflow as tf

_CONVOLUTIONS = ("Conv2D", "Conv1D", "Conv3D")
_PRODUCTS = ("MatMul", "BatchMatMulV2")
_LOOPS = ("While", "StatelessWhile")


def count_macs(model, input_shape):
    """Multiply-accumulates of convolutions and matrix products for one clip.

    They are counted in the graph of a prediction, so that any layer will do.
    Those at a clip's edges, where a kernel reaches into the padding, count.

    Args:
        model: A Keras model from features `(batch, time, features, 1)`.
        input_shape: Of one clip, without the batch; all sizes known.

    Returns:
        Integer.

    Raises:
        ValueError: A size is not known, or the network has a loop, such as a
            recurrent layer's, whose turns cannot be read off the graph.

    Example:
    >>> from ser_keras import LightSERNet
    >>> count_macs(LightSERNet.published(4), (184, 40, 1)) / 1e6
    159.32544
    """
    spec = tf.TensorSpec((1, *input_shape), tf.float32)
    function = tf.function(lambda x: model(x, training=False), autograph=False)
    graph = function.get_concrete_function(spec).graph
    macs = 0
    for operation in graph.get_operations():
        if operation.type in _LOOPS:
            raise ValueError(
                f"The network {model.name!r} must have no loop. Received one "
                f"with {operation.name}"
            )
        if operation.type in _CONVOLUTIONS:
            *window, inputs, _ = operation.inputs[1].shape
            terms = math.prod(_known(window, operation)) * inputs
        elif operation.type == "DepthwiseConv2dNative":
            terms = math.prod(_known(operation.inputs[1].shape[:2], operation))
        elif operation.type in _PRODUCTS:
            first = operation.inputs[0].shape
            flipped = operation.node_def.attr[
                "transpose_a" if operation.type == "MatMul" else "adj_x"
            ].b
            terms = first[-2 if flipped else -1]
        else:
            continue
        outputs = operation.outputs[0].shape.as_list()
        macs += terms * math.prod(_known(outputs, operation))
    return macs


def _known(sizes, operation):
    if None in list(sizes):
        raise ValueError(
            "`input_shape` must give all sizes of one clip. Received one with "
            f"which those of {operation.name} are unknown: {list(sizes)}"
        )
    return sizes
