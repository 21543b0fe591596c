"""Every command that the README and the pages show has such options."""

import importlib.util
import re
import shlex
import sys

import pytest

import ser_keras.cli
import ser_keras.cli.main
from tests.conftest import REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "notebooks/from_corpus_to_served_model.ipynb",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs").glob("*/*.md")),
]


def commands(page):
    """Command lines of a page's ```sh blocks, without shell and comments."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = text.replace('\\n",\n    "', "\n").replace('    "```', "```")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.rstrip(" &|"), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and (
                words[0] == "ser_keras"
                or (words[0] == "python" and words[1].startswith("recipes/"))
            ):
                yield words


FOUND = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
]


def test_there_are_commands():
    shown = {words.values[0][1] for words in FOUND}
    assert {"train", "search", "export", "serve", "report"} <= shown


@pytest.mark.parametrize("words", FOUND)
def test_a_command_is_understood(words, monkeypatch, tmp_path):
    if "--help" in words or any("completion" in word for word in words):
        words = [word for word in words if word != "--help"]
    parsed = []
    if words[0] == "ser_keras":
        monkeypatch.setattr(
            ser_keras.cli.main, "_run", lambda *found: parsed.append(found)
        )
        if len(words) == 1 or words[1].startswith("--"):
            return  # Help of the whole program.
        monkeypatch.chdir(tmp_path)
        configuration(words, tmp_path)
        ser_keras.cli.main.main(words[1:])
    else:
        path = REPOSITORY / words[1]
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        parsed.append(ser_keras.cli.parse(module.Config, words[2:]))
    assert parsed


def configuration(words, folder):
    """Writes the file that `--config` names, which a run would have made."""
    if "--config" in words:
        file = folder / words[words.index("--config") + 1]
        file.parent.mkdir(parents=True)
        file.write_text("{}")
