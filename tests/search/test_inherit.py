"""Derived networks which start from the supernet's weights."""

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.search.inherit import derive_network


def decided_supernet(seed, **arguments):
    """A supernet of random weights whose alphas are almost one-hot."""
    space = ser.SearchSpace(num_nodes=1, edges_per_node=2)
    supernet = ser.SuperNet(
        space,
        (16, 8, 1),
        3,
        filters=2,
        num_cells=3,
        recurrent_filters=4,
        **arguments,
    )
    rng = np.random.default_rng(seed)
    for variable in supernet.network.variables:
        if "seed" not in variable.path:
            value = rng.uniform(0.3, 1.0, variable.shape)
            if not variable.path.endswith("variance"):
                value *= rng.choice([-1, 1], variable.shape)
            variable.assign(value)
    genotype = space.sample(seed)
    for kind, alpha in supernet.architecture.alphas.items():
        value = np.zeros(alpha.shape, "float32")
        for i, (source, target, names) in enumerate(space.edges(kind)):
            for edge in getattr(genotype, kind).edges:
                if (edge.source, edge.target) == (source, target):
                    value[i, names.index(edge.op)] = 40
        alpha.assign(value)
    return supernet, genotype


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inherited_network_is_the_decided_supernet(seed):
    supernet, genotype = decided_supernet(seed)
    assert supernet.derive() == genotype
    network = derive_network(supernet)
    x = np.random.default_rng(9).normal(size=(4, 16, 8, 1)).astype("float32")
    x[1, 9:] = 0
    expected = supernet(x).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)
    fresh = derive_network(supernet, inherit=False)
    assert np.abs(fresh(x) - expected).max() > 1e-2


def test_other_sizes_and_spaces_are_refused():
    supernet, genotype = decided_supernet(0)
    with pytest.raises(ValueError, match="networks of one size"):
        derive_network(supernet, filters=4)
    foreign = ser.SearchSpace(num_nodes=2).sample(0)
    with pytest.raises(ValueError, match="search space"):
        derive_network(supernet, foreign)
    assert derive_network(supernet, genotype, dropout=0.5).dropout == 0.5
