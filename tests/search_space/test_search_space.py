"""Search spaces: what is derived is what the numbers say."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.search_space import SEQUENCES
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import softmax

SPACE = SearchSpace(num_nodes=3, num_recurrent_nodes=2)
# A grid on which sums and differences are exact.
NUMBERS = st.integers(-64, 64).map(lambda n: n / 16)
properties = hypothesis.settings(
    max_examples=60, deadline=None, database=None, derandomize=True
)


def constant(space, value=0.0):
    return {
        kind: [[value] * len(names) for _, _, names in space.edges(kind)]
        for kind in space.kinds
    }


@st.composite
def genotypes(draw, space=SPACE):
    cells = {}
    for kind in space.kinds:
        edges = []
        ops = [op for op in space.candidates(kind) if op != "none"]
        for target in space.concat(kind):
            sources = draw(
                st.lists(
                    st.integers(0, target - 1),
                    min_size=space.edges_per_node,
                    max_size=space.edges_per_node,
                    unique=True,
                )
            )
            edges += [
                Edge(source, target, draw(st.sampled_from(ops)))
                for source in sorted(sources)
            ]
        cells[kind] = CellGenotype(edges, space.concat(kind))
    return Genotype(**cells)


@st.composite
def alphas(draw, space=SPACE):
    return {
        kind: [[draw(NUMBERS) for _ in names] for _, _, names in edges]
        for kind in space.kinds
        for edges in [space.edges(kind)]
    }


@properties
@hypothesis.given(genotypes())
def test_one_hot_alphas_give_their_genotype(genotype):
    numbers = constant(SPACE)
    for kind, cell in genotype.cells.items():
        chosen = {(e.source, e.target): e.op for e in cell.edges}
        for row, (source, target, names) in zip(
            numbers[kind], SPACE.edges(kind), strict=True
        ):
            row[names.index(chosen.get((source, target), "none"))] = 9.0
    assert SPACE.contains(genotype)
    assert SPACE.derive(numbers) == genotype


@properties
@hypothesis.given(alphas(), st.data())
def test_a_constant_on_an_edge_changes_nothing(numbers, data):
    before = SPACE.derive(numbers)
    kind = data.draw(st.sampled_from(SPACE.kinds))
    row = data.draw(st.sampled_from(numbers[kind]))
    offset = data.draw(NUMBERS)
    row[:] = [value + 8 * offset for value in row]
    assert SPACE.derive(numbers) == before


@properties
@hypothesis.given(alphas())
def test_derive_against_numpy(numbers):
    """The rule of DARTS, written down again with arrays."""
    genotype = SPACE.derive(numbers)
    assert SPACE.contains(genotype)
    assert genotype.count("none") == 0
    for kind, cell in genotype.cells.items():
        weights = np.exp(numbers[kind])
        weights /= weights.sum(1, keepdims=True)
        names = SPACE.candidates(kind)
        usable = np.delete(weights, names.index("none"), 1)
        pairs = [(s, t) for s, t, _ in SPACE.edges(kind)]
        strength = {p: usable[i].max() for i, p in enumerate(pairs)}
        for edge in cell.edges:
            pair = (edge.source, edge.target)
            row = weights[pairs.index(pair)]
            np.testing.assert_allclose(
                row[names.index(edge.op)], strength[pair]
            )
        for target in SPACE.concat(kind):
            kept = {e.source for e in cell.edges if e.target == target}
            left = set(range(target)) - kept
            weakest = min(strength[s, target] for s in kept)
            assert all(
                strength[s, target] <= weakest * (1 + 1e-12) for s in left
            )


def test_edges_are_ranked_by_softmax_and_not_by_raw_alphas():
    space = SearchSpace(cnn=(), recurrent=("rnn_1", "lstm_1"), num_nodes=2)
    numbers = constant(space)
    # Raw 9 beside 9 is an undecided edge; 3 beside 0 a decided one.
    numbers["recurrent"][2:] = [[9.0, 9.0], [3.0, 0.0], [0.0, 3.0]]
    edges = space.derive(numbers).recurrent.edges
    assert [e for e in edges if e.target == 3] == [
        Edge(1, 3, "rnn_1"),
        Edge(2, 3, "lstm_1"),
    ]


def test_none_never_survives_and_takes_its_share():
    space = SearchSpace(cnn=(), recurrent=("rnn_1", "none"), num_nodes=2)
    numbers = constant(space)
    numbers["recurrent"] = [[0.0, 99.0]] * 5
    assert space.derive(numbers).count("rnn_1") == 4
    # The edge from state 1 is nearly all "none": it is the one to go.
    numbers["recurrent"][2:] = [[0.0, 0.0], [5.0, 9.0], [0.0, 0.0]]
    edges = space.derive(numbers).recurrent.edges
    assert [e.source for e in edges if e.target == 3] == [0, 2]


def test_ties_go_to_the_lower_source_and_the_earlier_candidate():
    genotype = SPACE.derive(constant(SPACE))
    assert genotype == SPACE.derive(constant(SPACE, 3.5))
    for kind, cell in genotype.cells.items():
        first = SPACE.candidates(kind)[0]
        expected = [
            Edge(source, target, first)
            for target in SPACE.concat(kind)
            for source in (0, 1)
        ]
        assert list(cell.edges) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_raise(value):
    numbers = constant(SPACE)
    numbers["reduce"][1][2] = value
    with pytest.raises(ValueError, match=r"alphas\['reduce'\].*diverged"):
        SPACE.derive(numbers)


def test_huge_alphas_do_not_overflow():
    numbers = constant(SPACE, -1e300)
    numbers["normal"][0][4] = 1e300
    edges = SPACE.derive(numbers).normal.edges
    assert Edge(0, 2, CNN_OPERATIONS[4]) in edges


def test_wrong_kinds_and_shapes_raise():
    numbers = constant(SPACE)
    with pytest.raises(ValueError, match="kinds"):
        SPACE.derive({"normal": numbers["normal"]})
    for rows in (numbers["normal"][:-1], [[0.0] * 7] * 9, []):
        with pytest.raises(ValueError, match=r"shape \(9, 8\)"):
            SPACE.derive({**numbers, "normal": rows})


def test_samples_are_contained_deterministic_and_varied():
    samples = [SPACE.sample(seed) for seed in range(30)]
    assert samples == [SPACE.sample(seed) for seed in range(30)]
    assert all(SPACE.contains(sample) for sample in samples)
    assert len(set(samples)) == 30
    used = {e.op for s in samples for e in s.normal.edges}
    assert used == set(CNN_OPERATIONS) - {"none"}


def test_what_a_space_does_not_contain():
    sample = SPACE.sample(0)
    assert not SearchSpace(num_nodes=2).contains(sample)
    assert not SearchSpace.emodarts("rnn", num_nodes=3).contains(sample)
    fewer = SearchSpace(num_nodes=3, num_recurrent_nodes=2, edges_per_node=1)
    assert not fewer.contains(sample)
    assert not SearchSpace(recurrent=(), num_nodes=3).contains(sample)
    nothing = CellGenotype((Edge(0, 2, "none"), Edge(1, 2, "rnn_1")), (2,))
    one = SearchSpace(cnn=(), num_nodes=1)
    assert not one.contains(Genotype(recurrent=nothing))


def test_subsets_of_emodarts():
    expected = {
        "all": 14,
        "lstm": 6,
        "lstm_att": 4,
        "rnn": 6,
        "rnn_att": 4,
    }
    assert {name: len(ops) for name, ops in SEQUENCES.items()} == expected
    for name, ops in SEQUENCES.items():
        space = SearchSpace.emodarts(name)
        assert space.candidates("recurrent") == ops
        assert ops[-2:] == ("skip_connect", "none")
        family = {o.rsplit("_", 1)[0] for o in ops[:-2]}
        all_families = {"lstm", "lstm_att", "rnn", "rnn_att"}
        assert family == (all_families if name == "all" else {name})
        assert space.candidates("normal") == CNN_OPERATIONS
        assert space.num_edges("normal") == space.num_edges("recurrent") == 14
        assert space.kinds == ("normal", "reduce", "recurrent")
        assert space.contains(space.sample(3))
    assert set(SEQUENCES["all"]) == set(RECURRENT_OPERATIONS)
    with pytest.raises(ValueError, match="sequence='gru'"):
        SearchSpace.emodarts("gru")


def test_edges_are_all_pairs_by_target():
    space = SearchSpace(recurrent=(), num_nodes=2)
    pairs = [(s, t) for s, t, _ in space.edges("reduce")]
    assert pairs == [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert space.edges("recurrent") == []
    assert space.concat("normal") == [2, 3]
    edges = space.edges("normal")
    edges[0][2].clear()
    assert space.edges("normal")[0][2] == list(CNN_OPERATIONS)


def test_config_round_trip_and_equality():
    config = json.loads(json.dumps(SPACE.get_config()))
    copy = SearchSpace(**config)
    assert copy == SPACE
    assert hash(copy) == hash(SPACE)
    assert copy != SearchSpace()
    assert SPACE != "space"
    assert "num_recurrent_nodes" in repr(SPACE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_nodes": 0}, "`num_nodes`"),
        ({"num_nodes": 2.0}, "`num_nodes`"),
        ({"num_recurrent_nodes": -1}, "`num_recurrent_nodes`"),
        ({"edges_per_node": 0}, "`edges_per_node`"),
        ({"cnn": (), "recurrent": ()}, "needs candidates"),
        ({"cnn": ("conv",)}, "Unknown operation 'conv'"),
        ({"cnn": ("lstm_1",)}, "Unknown operation 'lstm_1'"),
        ({"recurrent": ("rnn_1", "rnn_1")}, "twice"),
        ({"recurrent": ("none",)}, "besides 'none'"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace(**arguments)


@properties
@hypothesis.given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_softmax(row):
    expected = np.exp(row) / np.exp(row).sum()
    np.testing.assert_allclose(softmax(row), expected, rtol=1e-12)
