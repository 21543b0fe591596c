"""Files that are there whole or not at all, and the one place to write them.

A process may be killed at any moment. What has been written until then is all
that the next one finds, so whoever writes several files has to be able to go on
after each of them.
"""

import os
import pathlib

#: For tests: called with the path of each file or folder that is now there. A
#: copy of the folder taken here is what a kill at this moment leaves behind.
after_write = []


def replace_file(path, write) -> None:
    """Writes a file in one step, in place of the one that is there.

    Args:
        path: The file. Folders above it are made.
        write: `write(temporary)` writes it to another path, in the same folder
            and with the same ending. What it raises leaves the file as it was.

    >>> file = getfixture("tmp_path") / "a.txt"
    >>> replace_file(file, lambda temporary: temporary.write_text("a"))
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that what a kill leaves of it does not count as a file; of this
    # process, as another may write the same file at the same time; and with
    # the ending, by which Keras and Matplotlib choose a format.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    written(path)


def write_bytes(path, content: bytes) -> None:
    """Writes a file of this content, as `replace_file` does."""
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def write_text(path, text: str) -> None:
    r"""Writes a file of this text in UTF-8, its line ends as they are.

    >>> file = getfixture("tmp_path") / "a.txt"
    >>> write_text(file, "a\n")
    >>> append_line(file, "b")
    >>> file.read_text()
    'a\nb\n'
    """
    write_bytes(path, text.encode("utf-8"))


def append_line(path, line: str) -> None:
    """Adds a line to a file. A kill may leave a part of it without its end."""
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(line + "\n")
    written(path)


def written(path) -> None:
    """Says that a file or folder is there that others have written."""
    for call in after_write:
        call(pathlib.Path(path))
