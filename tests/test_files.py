"""Atomic writes and logs of JSON lines."""

import os

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
