import pytest

from ser_keras.genotype import Genotype
from ser_keras.reports import cell_drawing
from ser_keras.search_space import SearchSpace
from tests.reports.conftest import check_image


@pytest.fixture
def genotype():
    return SearchSpace().sample(1)


def test_draw_genotype(genotype, tmp_path):
    cell_drawing.draw_genotype(
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
    cell_drawing.draw_genotype(only, tmp_path / "cell.svg")
    svg = (tmp_path / "cell.svg").read_text()
    for edge in only.recurrent.edges:
        assert f"<!-- {edge.op} -->" in svg
    assert "Recurrent cell" in svg and "Normal cell" not in svg
