"""What the pages hold that the build of Sphinx does not check."""

import re
import types

import pytest

import ser_keras
from ser_keras.genotype import load_genotype
from ser_keras.reports.records import read_record
from tests.conftest import REPOSITORY
from tests.test_layering import LAYERS

DOCS = REPOSITORY / "docs"


def test_every_record_is_valid_and_named_by_its_file():
    records = sorted((DOCS / "results").glob("*.json"))
    assert len(records) > 30
    for file in records:
        assert read_record(file)["name"] == file.stem


@pytest.mark.parametrize("page", ["results.md", "benchmarks.md"])
def test_no_figure_is_copied_by_hand(page):
    """Scores and timings come from records: prose has no decimal fractions."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"```\{.*?```", "", text, flags=re.S)
    assert not re.findall(
        r"(?<![\w.])\d+\.\d+(?!\.)", text.replace("0.2.0", "")
    )


def test_every_namespace_is_in_the_reference():
    pages = "".join(
        page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md")
    )
    modules = {
        f"ser_keras.{name}"
        for name in ser_keras.__all__
        if isinstance(getattr(ser_keras, name), types.ModuleType)
    }
    assert len(modules) > 15
    for module in modules:
        assert re.search(
            rf"(package\}}|automodule::) {module}$", pages, re.M
        ), f"{module} is on no page of docs/api"


def test_the_architecture_page_has_every_package():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for row in LAYERS:
        for name in row:
            if (
                not name.startswith("_")
                and (REPOSITORY / "ser_keras" / name).is_dir()
            ):
                assert f"| `{name}`" in text or f", `{name}`" in text, name


def test_the_picture_is_of_the_genotype():
    genotype = load_genotype(REPOSITORY / "recipes/genotypes/ravdess.json")
    picture = DOCS / "_static/cells.svg"
    assert picture.stat().st_size < 200_000
    svg = picture.read_text(encoding="utf-8")
    for cell in (genotype.normal, genotype.reduce):
        for edge in cell.edges:
            assert f"<!-- {edge.op} -->" in svg
    assert svg.count("<!-- dil_conv_3x3 -->") == sum(
        edge.op == "dil_conv_3x3"
        for cell in (genotype.normal, genotype.reduce)
        for edge in cell.edges
    )
