"""Networks that start from those of another corpus."""

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.models.transfer import transfer_weights


def test_a_network_starts_from_another_corpus():
    genotype = ser.SearchSpace(num_nodes=1).sample(2)
    options = {"filters": 2, "num_cells": 3, "recurrent_filters": 4}
    source = ser.CellNetwork(genotype, (16, 8, 1), 4, **options)
    network = ser.CellNetwork(genotype, (16, 8, 1), 4, **options)
    x = np.random.default_rng(1).normal(size=(2, 16, 8, 1)).astype("float32")
    before = network.classifier.get_weights()
    assert np.abs(source.encode(x)[0] - network.encode(x)[0]).max() > 1e-3
    transfer_weights(source, network)
    np.testing.assert_array_equal(source.encode(x)[0], network.encode(x)[0])
    for old, new in zip(before, network.classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    other = ser.CellNetwork(genotype, (16, 8, 1), 4, **options | {"filters": 4})
    with pytest.raises(ValueError, match="one architecture and size"):
        transfer_weights(source, other)
    small = ser.LightSERNet((16, 8, 1), 4, width=0.25)
    with pytest.raises(ValueError, match="network=LightSERNet of [0-9]+ par"):
        transfer_weights(source, small)
