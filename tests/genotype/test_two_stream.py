"""Genotypes and search spaces of two streams: plain data, as of one."""

import json
import pathlib

import pytest

from ser_keras.genotype import FUSIONS
from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.genotype import load_genotype
from ser_keras.reports.cell_drawing import draw_genotype
from ser_keras.search_space import SearchSpace
from ser_keras.search_space import TwoStreamSearchSpace
from ser_keras.search_space import search_space_from_config

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
SPACE = TwoStreamSearchSpace(
    SearchSpace.emodarts("lstm", num_nodes=2),
    SearchSpace.emodarts("rnn", num_nodes=3, cnn=()),
)


def constant(space):
    return {
        kind: [[0.0] * len(names) for _, _, names in space.edges(kind)]
        for kind in space.kinds
    }


def test_files_of_either_kind_are_read(tmp_path):
    genotype = SPACE.sample(4)
    genotype.save(tmp_path / "two.json")
    genotype.deep.save(tmp_path / "one.json")
    assert TwoStreamGenotype.load(tmp_path / "two.json") == genotype
    assert load_genotype(tmp_path / "two.json") == genotype
    assert load_genotype(tmp_path / "one.json") == genotype.deep
    assert Genotype.load(tmp_path / "one.json") == genotype.deep
    with pytest.raises(ValueError, match="two.json: Not a genotype"):
        Genotype.load(tmp_path / "two.json")
    with pytest.raises(ValueError, match="one.json: Not a genotype of two"):
        TwoStreamGenotype.load(tmp_path / "one.json")
    old = RECIPES / "genotypes" / "ravdess.json"
    assert load_genotype(old) == Genotype.load(old)


def test_a_genotype_is_its_streams_and_their_fusion():
    genotype = SPACE.sample(4)
    assert len({genotype, SPACE.sample(4), SPACE.sample(5)}) == 2
    assert set(genotype.cells) == {
        "handcrafted_normal",
        "handcrafted_reduce",
        "handcrafted_recurrent",
        "deep_recurrent",
    }
    edges = [edge.op for cell in genotype.cells.values() for edge in cell.edges]
    assert genotype.count("rnn_1") == edges.count("rnn_1")
    recurrent = [genotype.handcrafted.recurrent, genotype.deep.recurrent]
    assert genotype.count("skip_connect", "recurrent") == sum(
        edge.op == "skip_connect" for cell in recurrent for edge in cell.edges
    )
    assert genotype.deep.count("skip_connect", "normal") == 0
    text = genotype.describe()
    assert text.count("_recurrent") == 2
    assert text.endswith(f"fusion\n  {genotype.fusion}")


def test_nonsense_is_refused():
    genotype = SPACE.sample(0)
    with pytest.raises(ValueError, match="`fusion` must be one of"):
        TwoStreamGenotype(genotype.handcrafted, genotype.deep, "sum")
    with pytest.raises(ValueError, match="`deep` must be a Genotype"):
        TwoStreamGenotype(genotype.handcrafted, None, "late")
    config = genotype.to_dict()
    del config["streams"]["deep"]
    with pytest.raises(ValueError, match="two streams"):
        TwoStreamGenotype.from_dict(config)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_derive_takes_the_strongest_of_each_stream(fusion):
    genotype = SPACE.sample(7)
    alphas = constant(SPACE)
    for kind, cell in genotype.cells.items():
        decided = {(e.source, e.target): e.op for e in cell.edges}
        for i, (source, target, names) in enumerate(SPACE.edges(kind)):
            if (source, target) in decided:
                op = decided[source, target]
                alphas[kind][i][names.index(op)] = 5.0
    alphas["fusion"][0][FUSIONS.index(fusion)] = 0.1
    derived = SPACE.derive(alphas)
    assert derived.handcrafted == genotype.handcrafted
    assert derived.deep == genotype.deep
    assert derived.fusion == fusion


def test_alphas_that_do_not_fit_are_refused():
    for change, message in (
        ({"fusion": [[0.0] * 3]}, "5 numbers"),
        ({"fusion": [[float("nan")] * 5]}, "diverged"),
        ({"deep_recurrent": [[0.0]]}, "must have the shape"),
        ({"normal": []}, "must have the kinds"),
    ):
        with pytest.raises(ValueError, match=message):
            SPACE.derive({**constant(SPACE), **change})


def test_samples_are_of_the_space():
    samples = [SPACE.sample(seed) for seed in range(30)]
    assert all(SPACE.contains(sample) for sample in samples)
    assert {sample.fusion for sample in samples} == set(FUSIONS)
    smaller = TwoStreamSearchSpace(SPACE.handcrafted, SPACE.deep, ("late",))
    assert [smaller.contains(s) for s in samples] == [
        s.fusion == "late" for s in samples
    ]
    assert "fusion" not in smaller.kinds
    assert smaller.sample(0).fusion == "late"
    assert not SPACE.contains(samples[0].deep)
    assert not SPACE.deep.contains(samples[0])


def test_config_round_trip():
    for space in (SPACE, SPACE.deep):
        config = json.loads(json.dumps(space.get_config()))
        copy = search_space_from_config(config)
        assert copy == space
        assert hash(copy) == hash(space)
        assert copy.get_config() == space.get_config()
    for fusions in ((), ("late", "late"), ("sum",)):
        with pytest.raises(ValueError, match="fusion"):
            TwoStreamSearchSpace(fusions=fusions)


def test_cells_of_both_streams_are_drawn(tmp_path):
    draw_genotype(SPACE.sample(0), tmp_path / "a.png", tmp_path / "a.dot")
    assert (tmp_path / "a.png").stat().st_size
    text = (tmp_path / "a.dot").read_text()
    assert text.count("subgraph") == 4
