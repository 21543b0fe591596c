"""Every network says so when its input has another shape."""

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace


def light_sernet():
    return LightSERNet((None, 9, 1), 4, width=0.25)


def cell_network():
    space = SearchSpace(cnn=(), recurrent=("lstm_1", "none"), num_nodes=1)
    return CellNetwork(
        space.sample(seed=0),
        (None, 9, 1),
        num_classes=4,
        num_cells=0,
        recurrent_filters=4,
    )


@pytest.mark.parametrize("make", [light_sernet, cell_network])
def test_other_shapes_are_refused_by_name(make):
    network = make()
    # Without the last axis, oneDNN ended the process.
    for shape in ((2, 20, 9), (2, 20, 8, 1), (2, 20, 9, 2), (2, 0, 9, 1)):
        with pytest.raises(ValueError) as caught:
            network(np.zeros(shape, "float32"))
        assert f"inputs of shape {shape}" in str(caught.value)
        assert "(batch, time, 9, 1)" in str(caught.value)


def test_no_frame_in_a_graph_of_any_length():
    network = light_sernet()
    graph = tf.function(
        lambda x: network(x),
        input_signature=[tf.TensorSpec((None, None, 9, 1))],
    )
    assert graph(np.ones((1, 3, 9, 1), "float32")).shape == (1, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="one frame"):
        graph(np.ones((1, 0, 9, 1), "float32"))


def test_a_stream_is_named():
    recurrent = ("lstm_1", "none")
    space = SearchSpace(cnn=(), recurrent=recurrent, num_nodes=1)
    options = {"num_cells": 0, "recurrent_filters": 4}
    network = TwoStreamNet(
        TwoStreamSearchSpace(space, space).sample(seed=0),
        {"handcrafted": (None, 9, 1), "deep": (None, 6, 1)},
        num_classes=3,
        handcrafted=options,
        deep=options,
    )
    inputs = {
        "handcrafted": np.ones((2, 20, 9, 1), "float32"),
        "deep": np.ones((2, 5, 6), "float32"),
    }
    with pytest.raises(ValueError, match=r"`deep` .* shape \(2, 5, 6\)"):
        network(inputs)
