import gc
import weakref

import keras
import tensorflow as tf

from ser_keras._graphs import graph_of

traces = []


def infer(layer, x):
    traces.append(x.shape)
    return layer(x)


def other(layer, x):
    return 2 * layer(x)


def test_one_graph_for_a_layer_and_a_call():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    signature = [tf.TensorSpec((None, 3))]
    traces.clear()
    for batch in (1, 2, 5):
        graph = graph_of(layer, infer, input_signature=signature)
        y = graph(tf.ones((batch, 3)))
        assert y.shape == (batch, 2)
    assert len(traces) == 1
    doubled = graph_of(layer, other)(tf.ones((5, 3)))
    assert bool(tf.reduce_all(doubled == 2 * y))


def test_layers_are_freed():
    layer = keras.layers.Dense(2)
    graph_of(layer, other)(tf.ones((1, 3)))
    alive = weakref.ref(layer)
    del layer
    gc.collect()
    assert alive() is None
