"""Files appear whole, and tests are told of each."""

import os

import pytest

from ser_keras import _files


@pytest.fixture
def told():
    """Content of each file that a hook was told of, when it was."""
    contents = []

    def read(path):
        contents.append((path.name, path.read_text()))

    _files.after_write.append(read)
    yield contents
    _files.after_write.remove(read)


def test_a_file_is_there_when_it_is_told_of(tmp_path, told):
    file = tmp_path / "new" / "a.jsonl"
    _files.write_text(file, "1\r\n")
    _files.append_line(file, "ä")
    assert told == [("a.jsonl", "1\n"), ("a.jsonl", "1\nä\n")]
    assert file.read_bytes() == "1\r\nä\n".encode()


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, told):
    file = tmp_path / "a.txt"
    file.write_text("before")

    def half(temporary):
        # Nobody takes it for a file of its own, nor another process's.
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
    assert told == []
