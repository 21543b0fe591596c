"""Atomic writes, and logs of JSON lines: files that survive a kill.

A process may be killed at any moment, and the next one has only the files to
resume from. So a file is replaced in one step, a log loses at most its last
line, and whoever writes several files must be able to resume after each of
them.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable
from collections.abc import Iterable

#: For tests: called with the path of each file or folder that is complete. A
#: copy of the folder made then is what a kill at this moment leaves behind.
after_write = []

# What some disk or shell does not take in a name, or takes for a pattern: a
# checkpoint in a folder `a[1]` is not found again.
_UNSAFE = re.compile(r'[<>:"/\\|?*\[\]]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_OURS = re.compile(r"~[0-9a-f]{8}$")
_LONGEST = 100  # Bytes; a disk takes 255, but other names are made of this.
_READABLE = 40  # Characters of an unsafe name that are kept.


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Names of files or folders for names that come from outside.

    Speakers, corpora and files of other people have any name. A harmless one is
    unchanged; of another, what is readable is kept, with a hash: one that has a
    separator, pattern or control character, blanks or dots at an end, that is
    reserved, long, or the same as another but for case.

    Args:
        names: Names that are to be unique in one folder.

    Returns:
        Dict from each name to a safe one, different for each.

    >>> safe_names(["03", "spk/a", ".."])
    {'03': '03', 'spk/a': 'spk_a~...', '..': '_~...'}
    """
    names = list(dict.fromkeys(names))
    alike = collections.Counter(map(_folded, names))
    return {
        name: name
        if _harmless(name) and alike[_folded(name)] == 1
        else _hashed(name)
        for name in names
    }


def safe_name(name: str) -> str:
    """The one of `safe_names` for a single name.

    >>> safe_name("results"), safe_name("con")
    ('results', 'con~...')
    """
    return safe_names([name])[name]


def _folded(name):
    """Names that are equal so are one file on some disks."""
    return unicodedata.normalize("NFKC", name).casefold()


def _harmless(name):
    return (
        name.isprintable()
        and name == name.strip(" ")
        and name[:1] not in ("", ".")
        and name[-1] != "."
        and len(name.encode()) <= _LONGEST
        and not _UNSAFE.search(name)
        and not _RESERVED.fullmatch(name)
        # Or it might be the name that another one gets.
        and not _OURS.search(name)
    )


def _hashed(name):
    content = name.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(content).hexdigest()[:8]
    readable = re.sub(r"[^\w+=-]+", "_", name, flags=re.ASCII)[:_READABLE]
    return f"{readable}~{digest}"


def replace_file(
    path: str | os.PathLike[str], write: Callable[[pathlib.Path], object]
) -> None:
    """Writes a file in one step, replacing an existing one.

    Args:
        path: The file. Missing parent folders are made.
        write: `write(temporary)` writes it to another path, in the same folder
            and with the same ending. If it raises, the file stays as it was.

    >>> file = getfixture("tmp_path") / "a.txt"
    >>> replace_file(file, lambda temporary: temporary.write_text("a"))
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that a remainder after a kill is not taken for a file; with
    # the process id, as another process may write the same file at the same
    # time; and with the ending, by which Keras and Matplotlib choose a format.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    written(path)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file of this content, as `replace_file` does."""
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Writes a file of this text in UTF-8, with line ends as they are.

    >>> file = getfixture("tmp_path") / "a.txt"
    >>> write_text(file, "a\n")
    >>> file.read_text()
    'a\n'
    """
    write_bytes(path, text.encode("utf-8"))


def read_json(path):
    """Content of a JSON file, or None if there is no such file.

    Raises:
        ValueError: It is not valid JSON; the message names the file.

    >>> print(read_json("no_such_file.json"))
    None
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def append_row(path: str | os.PathLike[str], row: dict) -> None:
    """Appends a row to a log of JSON lines.

    A kill may cut the line short. Such a remainder, and all rows from the
    epoch of `row` on, are dropped before the next append.

    Args:
        path: The log; it is created if it is missing.
        row: JSON types, with an `epoch`.

    >>> file = getfixture("tmp_path") / "metrics.jsonl"
    >>> append_row(file, {"epoch": 1, "loss": 0.5})
    >>> read_rows(file)
    [{'epoch': 1, 'loss': 0.5}]
    """
    path = pathlib.Path(path)
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        drop_rows(path, after=row["epoch"] - 1)
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(json.dumps(row) + "\n")
    written(path)


def read_rows(path: str | os.PathLike[str]) -> list:
    """Rows of a log of JSON lines, oldest first.

    A last line that a kill cut short is left out. A missing file has no rows.

    Raises:
        ValueError: A line is not JSON; the message names it.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    *lines, _ = text.split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return rows


def drop_rows(path: str | os.PathLike[str], after: int) -> None:
    """Drops the rows of all epochs after `after`, which will run again."""
    if pathlib.Path(path).exists():
        rows = [row for row in read_rows(path) if row["epoch"] <= after]
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def written(path: str | os.PathLike[str]) -> None:
    """Reports that a file or folder is complete that another writer made."""
    for call in after_write:
        call(pathlib.Path(path))
