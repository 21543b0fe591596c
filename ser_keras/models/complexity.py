"""Computational cost of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import keras

_CONVOLUTIONS = ("Conv2D", "Conv1D", "Conv3D")
_PRODUCTS = ("MatMul", "BatchMatMulV2")
_LOOPS = ("While", "StatelessWhile")


def count_macs(model: keras.Model, input_shape: Sequence[int]) -> int:
    """Number of multiply-accumulates of a prediction for one clip.

    Those of convolutions and matrix products are counted in the graph of the
    prediction, so that layers of any class are included. At a clip's edges
    the part of a kernel that covers padding is counted too.

    Args:
        model: A Keras model of features `(batch, time, features, 1)`.
        input_shape: Shape of one clip, `(time, features, 1)`, all sizes known.

    Returns:
        Integer.

    Raises:
        ValueError: A size is unknown, or the network has a loop, such as that
            of a recurrent layer, whose number of iterations is not in the
            graph.

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
                f"The network {model.name!r} must not have a loop, whose "
                "iterations cannot be counted. Received a network with "
                f"{operation.name}"
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
            "`input_shape` must have all sizes of one clip. Received: a shape "
            f"with which sizes of {operation.name} are unknown: {list(sizes)}"
        )
    return sizes
