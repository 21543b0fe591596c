import itertools

import numpy as np
import pytest

from ser_keras.reports import cell_layout
from ser_keras.search_space import SearchSpace


@pytest.mark.parametrize("nodes", [1, 4, 7])
def test_states_and_labels_do_not_overlap(nodes):
    for seed in range(4):
        cell = SearchSpace(num_nodes=nodes).sample(seed).normal
        at = cell_layout.place_states(cell)
        assert set(at) == {0, 1, "output", *range(2, nodes + 2)}
        for edge in cell.edges:  # Arrows go from left to right.
            assert at[edge.source][0] < at[edge.target][0]
        for a, b in itertools.combinations(at.values(), 2):
            assert np.hypot(*np.subtract(a, b)) > 0.5
        lines = [(edge.source, edge.target) for edge in cell.edges]
        places = cell_layout.place_labels(at, lines)
        for (source, target), place in zip(lines, places, strict=True):
            a, b = np.array(at[source]), np.array(at[target])
            assert abs(np.linalg.det([b - a, place - a])) < 1e-6
        if nodes == 4:
            for a, b in itertools.combinations(places, 2):
                dx, dy = np.abs(np.subtract(a, b))
                assert dx > 0.8 or dy > 0.12, (seed, a, b)
