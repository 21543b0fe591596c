"""The tutorial does what it says, from the first cell to the last."""

import os
import pathlib
import re

import pytest

from tests.conftest import UNOPTIMISED

NOTEBOOKS = pathlib.Path(__file__).resolve().parent.parent / "notebooks"
(TUTORIAL,) = NOTEBOOKS.glob("*.ipynb")


def test_tutorial_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    # The kernel is a new process, in a folder of its own.
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    book = nbformat.read(TUTORIAL, as_version=4)
    book.cells.insert(0, nbformat.v4.new_code_cell(UNOPTIMISED))
    nbclient.NotebookClient(
        book, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert (tmp_path / "saved_models/tutorial/1/saved_model.pb").exists()
    assert (tmp_path / "tutorial.tflite").stat().st_size < 1e6
    text = "".join(
        output.get("text", "")
        for cell in book.cells
        for output in cell.get("outputs", [])
    )
    assert "339 utterances" in text
    (uar,) = re.findall(r"UAR ([\d.]+) \(", text)
    assert float(uar) > 0.4  # Four classes: chance is 0.25.
    assert "SavedModel: " in text and "LiteRT: " in text
    answers = dict(re.findall("(SavedModel|Server): +([a-z]+)", text))
    assert answers["Server"] == answers["SavedModel"]
    assert os.listdir(NOTEBOOKS) == [TUTORIAL.name]


def test_outputs_are_not_committed():
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(TUTORIAL, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
