"""A table of answers that grows as they come."""

from __future__ import annotations

import csv
import io
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from ser_keras._files import write_text

_FIRST, _LAST = ("file", "label"), ("note", "warning", "error")


def columns_of(labels: Sequence[str]) -> list[str]:
    """Columns of a table of answers."""
    return [*_FIRST, *labels, *_LAST]


def table_of(rows: Iterable[dict[str, Any]], labels: Sequence[str]) -> str:
    """Rows as CSV.

    Args:
        rows: Dicts with `file`, and `label` and `probabilities`, or `error`.
        labels: Names of the classes.

    >>> row = {"file": "a.wav", "label": "joy", "probabilities": {"joy": 1.0}}
    >>> print(table_of([row], ["joy"]).strip())
    file,label,joy,note,warning,error
    a.wav,joy,1.0,,,
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(labels), extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow(_flat(row))
    return text.getvalue()


def labels_in(path: str | os.PathLike[str]) -> list[str] | None:
    """Classes of a table of answers; None if there is no such file."""
    if not os.path.exists(path):
        return None
    with open(path, newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file), [])
    return columns[len(_FIRST) : -len(_LAST)]


class AnswerFile:
    """CSV file of answers, to which each is added as it comes.

    Answers that are in it already are kept, and those that were errors are
    tried again.

    Args:
        path: The file.
        labels: Names of the classes.

    Attributes:
        answered: Dict from file to row, of those in it.

    Raises:
        ValueError: The file is another table.
    """

    def __init__(self, path: str | os.PathLike[str], labels: Sequence[str]):
        self._path = pathlib.Path(path)
        self._columns = columns_of(labels)
        self.answered: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            self._read(labels)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, table_of(self.answered.values(), labels))

    def _read(self, labels):
        with open(self._path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != self._columns:
                raise ValueError(
                    f"{self._path} is a table of something else, or of a model "
                    "of other classes. Choose another --output."
                )
            for row in reader:
                # The last one may have been cut off.
                if None in row.values() or row["error"] or not row["label"]:
                    continue
                said = {k: row[k] for k in ("note", "warning") if row[k]}
                self.answered[row["file"]] = {
                    "file": row["file"],
                    "label": row["label"],
                    "probabilities": {x: float(row[x]) for x in labels},
                    **said,
                }

    def add(self, row: dict[str, Any]) -> None:
        """Writes an answer, at once."""
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writerow(_flat(row))


def _flat(row):
    return {**row, **row.get("probabilities", {})}
