"""Atomic writes and logs of JSON lines."""

import os
import re
import unicodedata

import pytest

from ser_keras import _files


@pytest.fixture
def reported():
    """Names and contents of the files that were reported as written."""
    contents = []

    def read(path):
        contents.append((path.name, path.read_text()))

    _files.after_write.append(read)
    yield contents
    _files.after_write.remove(read)


def test_files_are_complete_when_they_are_reported(tmp_path, reported):
    file = tmp_path / "new" / "a.jsonl"
    _files.write_text(file, "\r\n")
    assert file.read_bytes() == b"\r\n"
    _files.append_row(tmp_path / "b.jsonl", {"epoch": 1})
    assert reported == [("a.jsonl", "\n"), ("b.jsonl", '{"epoch": 1}\n')]


UNSAFE = (
    "spk/a",
    "a\\b",
    "C:",
    "why?",
    "a*",
    "a[1]",
    "a|b",
    "<a>",
    '"a"',
    "..",
    ".",
    "",
    ".hidden",
    "SJB.",
    " SJB",
    "SJB ",
    "a\nb",
    "a\0b",
    "a\u2028b",
    "\ud800",
    "con",
    "NUL.txt",
    "lpt1",
    "x" * 101,
    "ß" * 51,
    "a~01234567",
    "/etc/passwd",
    "../../a",
)


def test_unsafe_names_become_short_names_of_one_folder(tmp_path):
    safe = _files.safe_names(UNSAFE)
    assert list(safe) == list(UNSAFE)
    for name, folder in safe.items():
        assert folder != name
        (tmp_path / folder).mkdir()  # Also shows that they differ.
        assert (tmp_path / folder).parent == tmp_path
    assert len({folder.casefold() for folder in safe.values()}) == len(UNSAFE)
    assert max(map(len, safe.values())) < 60
    for folder in safe.values():
        assert re.fullmatch(r"[\w+=-]*~[0-9a-f]{8}", folder, re.ASCII)
    # Readable, and the same whatever other names there are.
    assert safe["spk/a"].startswith("spk_a~")
    assert _files.safe_name("spk/a") == safe["spk/a"]


@pytest.mark.parametrize(
    "name", ["03", "Ses05", "1001+1002", "x" * 100, "Zoë", "a b", "a.b", "-"]
)
def test_harmless_names_are_unchanged(name):
    """So that runs of before go on in their folders."""
    assert _files.safe_name(name) == name


def test_names_that_are_one_file_on_some_disks_differ():
    names = ["A", "a", "é", "e\u0301", "b"]
    safe = _files.safe_names(names)
    folded = {unicodedata.normalize("NFC", x).casefold() for x in safe.values()}
    assert len(folded) == len(names)
    assert safe["b"] == "b"


def test_log_after_a_kill(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert _files.read_rows(file) == []
    _files.drop_rows(file, after=1)
    assert not file.exists()
    for epoch in (1, 2, 3):
        _files.append_row(file, {"epoch": epoch, "loss": 1 / epoch})
    _files.drop_rows(file, after=2)
    assert [row["epoch"] for row in _files.read_rows(file)] == [1, 2]
    with file.open("a") as log:
        log.write('{"epoch": 3, "lo')
    assert [row["epoch"] for row in _files.read_rows(file)] == [1, 2]
    # Epoch 2 runs again: the row of before and the remainder are dropped.
    _files.append_row(file, {"epoch": 2, "loss": 0.25})
    assert _files.read_rows(file) == [
        {"epoch": 1, "loss": 1.0},
        {"epoch": 2, "loss": 0.25},
    ]
    file.write_text("{\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1: "):
        _files.read_rows(file)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, reported):
    file = tmp_path / "a.txt"
    file.write_text("before")

    def half(temporary):
        # Not taken for a result, nor for another process' file.
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".{os.getpid()}.")
        assert temporary.suffix == ".txt"
        temporary.write_text("aft")
        assert file.read_text() == "before"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        _files.replace_file(file, half)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
    assert reported == []
