import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.genotype import Genotype
from ser_keras.reports import cell_layout
from ser_keras.reports import figures
from ser_keras.search_space import SearchSpace


def check_image(path):
    """It can be read, has a white border and something in it."""
    pixels = imread(path)[..., :3]
    assert (pixels[[0, -1]] > 0.99).all() and (pixels[:, [0, -1]] > 0.99).all()
    assert pixels.std() > 0.02


@pytest.fixture(autouse=True)
def no_global_state():
    before = matplotlib.rcParams.copy()
    yield
    assert matplotlib.rcParams == before


@pytest.fixture
def genotype():
    return SearchSpace().sample(1)


def test_draw_genotype(genotype, tmp_path):
    figures.draw_genotype(
        genotype, tmp_path / "cells.png", tmp_path / "cells.dot"
    )
    check_image(tmp_path / "cells.png")
    dot = (tmp_path / "cells.dot").read_text()
    assert dot.count("subgraph") == 3 and dot.count("{") == dot.count("}")
    for edge in genotype.normal.edges:
        line = f'normal_{edge.source} -> normal_{edge.target} [label="{edge.op}'
        assert line in dot


def test_every_edge_is_in_the_picture(genotype, tmp_path):
    only = Genotype(normal=None, reduce=None, recurrent=genotype.recurrent)
    figures.draw_genotype(only, tmp_path / "cell.svg")
    svg = (tmp_path / "cell.svg").read_text()
    for edge in only.recurrent.edges:
        assert f"<!-- {edge.op} -->" in svg
    assert "Recurrent cell" in svg and "Normal cell" not in svg


@pytest.mark.parametrize("nodes", [1, 4, 7])
def test_nothing_hides_a_state(nodes):
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


def history(epochs, space):
    random = np.random.default_rng(0)
    result = {}
    for kind in space.kinds:
        edges = space.edges(kind)
        shape = (epochs, len(edges), len(edges[0][2]))
        result[kind] = {
            "alphas": random.normal(size=shape),
            "candidates": edges[0][2],
            "edges": [edge[:2] for edge in edges],
        }
    return result


@pytest.mark.parametrize(("epochs", "nodes"), [(12, 4), (1, 1)])
def test_plot_alphas(tmp_path, epochs, nodes):
    given = history(epochs, SearchSpace(num_nodes=nodes))
    figures.plot_alphas(given, tmp_path / "alphas.png")
    check_image(tmp_path / "alphas.png")


def test_plot_alphas_names_the_winner_and_its_softmaxed_weight(tmp_path):
    alphas = np.zeros((3, 1, 4))
    alphas[-1, 0, 2] = np.log(6)  # Softmax: 6 / 9.
    given = {
        "normal": {
            "alphas": alphas,
            "candidates": ["a", "b", "c", "d"],
            "edges": ["one edge"],
        }
    }
    figures.plot_alphas(given, tmp_path / "alphas.svg")
    svg = (tmp_path / "alphas.svg").read_text()
    assert "c 0.67" in svg and "one edge" in svg
    given["normal"]["candidates"] = ["a"]
    with pytest.raises(ValueError, match=r"\(epochs, 1, 1\).*\(3, 1, 4\)"):
        figures.plot_alphas(given, tmp_path / "alphas.png")


def test_plot_learning_curves(tmp_path):
    rows = [
        {
            "epoch": i + 1,
            "loss": 1 / (i + 1),
            "val_loss": None if i == 2 else 1.5 / (i + 1),
            "uar": 0.3 + 0.1 * i,
            "val_uar": [0.3, 0.6, 0.5][i],
            "learning_rate": 0.1,
            "seconds": 3.0,
        }
        for i in range(3)
    ]
    figures.plot_learning_curves(rows, tmp_path / "curves.png")
    check_image(tmp_path / "curves.png")
    figures.plot_learning_curves(rows, tmp_path / "curves.svg")
    svg = (tmp_path / "curves.svg").read_text()
    assert "best: 0.600, epoch 2" in svg and "seconds" not in svg
    figures.plot_learning_curves(rows[:1], tmp_path / "one.png")
    with pytest.raises(ValueError, match="Received keys: .'epoch'"):
        figures.plot_learning_curves([{"epoch": 1}], tmp_path / "none.png")


@pytest.mark.parametrize("classes", [2, 8])
def test_plot_confusion(tmp_path, classes):
    labels = np.arange(30) % (classes - 1)  # The last class has no example.
    predictions = Predictions(
        ids=map(str, range(30)),
        speakers="s" * 30,
        sexes=[None] * 30,
        labels=labels,
        probabilities=np.eye(classes)[(labels + np.arange(30) % 2) % classes],
        label_names=[f"emotion {i}" for i in range(classes)],
    )
    scores = score(predictions)
    figures.plot_confusion(scores, tmp_path / "confusion.png")
    check_image(tmp_path / "confusion.png")
    figures.plot_confusion(scores, tmp_path / "confusion.svg")
    svg = (tmp_path / "confusion.svg").read_text()
    assert f"UAR {scores.uar:.3f}, WA {scores.wa:.3f}, 30 utt" in svg
    assert "emotion 1" in svg
