"""Layers as graphs that are traced once and kept as long as the layer."""

import weakref

import tensorflow as tf

_graphs = weakref.WeakKeyDictionary()


def graph_of(layer, call, **options):
    """A call of a layer as a `tf.function`, the same one for the same layer.

    Args:
        layer: Keras layer or model.
        call: Function of the module level, `call(layer, *inputs)`.
        **options: Of `tf.function`, such as `input_signature`.

    Returns:
        Function of `*inputs`.

    >>> layer = keras.layers.Dense(2)
    >>> function = graph_of(layer, type(layer).__call__)
    >>> function(tf.ones((1, 3))).shape
    TensorShape([1, 2])
    >>> graph_of(layer, type(layer).__call__) is function
    True
    """
    graphs = _graphs.setdefault(layer, {})
    if call not in graphs:
        # Not the layer itself, which otherwise would never be freed.
        reference = weakref.ref(layer)
        graphs[call] = tf.function(
            lambda *inputs: call(reference(), *inputs),
            autograph=False,
            **options,
        )
    return graphs[call]
