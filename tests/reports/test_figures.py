import numpy as np
import pytest

from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.reports import figures
from ser_keras.search_space import SearchSpace
from tests.reports.conftest import check_image


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


@pytest.mark.parametrize(("epochs", "nodes"), [(12, 2), (1, 1)])
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
