"""The README: short, its code runs, its table is that of the records."""

import os
import re

import pytest

from tests import forks
from tests.conftest import UNOPTIMISED


@pytest.fixture
def readme(repository):
    return (repository / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_in_order(repository, readme, tmp_path):
    """A reader who copies every ```python block in turn gets no error."""
    # Blank lines before each block keep the README's line numbers.
    program = UNOPTIMISED
    for match in re.finditer(r"^```python\n(.*?)^```$", readme, re.M | re.S):
        line = readme.count("\n", 0, match.start(1))
        program += "\n" * (line - program.count("\n")) + match.group(1)
    script = tmp_path / "README.py"
    script.write_text(program, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = forks.run([script], environment, tmp_path)
    assert process.returncode == 0, process.stderr[-4000:]
    assert "Epoch 2/2" in process.stdout


def test_it_is_short(readme):
    assert readme.count("\n") <= 200


def test_its_table_is_that_of_the_records(repository, readme, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "docs/_ext"))
    import readme_table

    found = readme_table.rendered(readme)
    assert "| openSMILE ComParE, RBF SVM |" in found
    assert found == readme, "run: python docs/_ext/readme_table.py"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(repository, name):
    text = (repository / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        if "://" not in link:
            assert (repository / link.partition("#")[0]).exists(), link
