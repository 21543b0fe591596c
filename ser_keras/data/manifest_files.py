"""Any corpus that comes with a table: CSV, TSV or JSON lines."""

import csv
import dataclasses
import json
import pathlib

from ser_keras.data.manifest import Manifest
from ser_keras.data.manifest import Utterance

_FIELDS = tuple(field.name for field in dataclasses.fields(Utterance))
_NEEDED = ("path", "label", "speaker")
_NUMBERS = ("start", "end")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SEX_OF = {"f": "female", "m": "male", "w": "female"}
_SHOWN = 5


def load(root, labels=None, columns=None, corpus=None):
    r"""Reads a manifest from a table of the user's own.

    Args:
        root: File that ends in `.csv`, `.tsv`, `.jsonl` or `.json` (JSON
            lines). A CSV has a header line. Each row is an utterance with the
            fields of `Utterance`, of which `path`, `label` and `speaker` are
            needed. Without an `id` the path is the id. Other columns are
            ignored. What `Manifest.save` wrote is read as well.
        labels: Labels to keep, in this order. None means all that are there,
            sorted (or in the order of a saved manifest).
        columns: Dict from a field to the name of its column, where they
            differ: `{"label": "emotion"}`.
        corpus: Name of the corpus where a row has none.

    Returns:
        `Manifest`. Paths that are not absolute are taken from the table's
        folder.

    Raises:
        ValueError: A column or a value is missing, an id is there twice, a
            label is not among `labels`' known ones, or an audio file is not
            there; the message names the file and its lines.

    Example:
    >>> import tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "a.wav").touch()
    >>> table = folder / "mine.csv"
    >>> _ = table.write_text("path,emotion,speaker\na.wav,anger,anna\n")
    >>> load(table, columns={"label": "emotion"})
    <Manifest: 1 utterances, 1 speakers, labels ('anger',)>
    """
    file = pathlib.Path(root).expanduser()
    column_of = {name: name for name in _FIELDS} | dict(columns or {})
    unknown = sorted(set(column_of) - set(_FIELDS))
    if unknown:
        raise ValueError(
            f"`columns` must name fields of an utterance, {_FIELDS}. "
            f"Received unknown fields: {unknown}"
        )
    if not file.is_file():
        raise ValueError(f"{file} is no file. Expected a table of utterances.")
    if file.suffix in _DELIMITERS:
        rows, order = _csv_rows(file, column_of), None
    elif file.suffix in (".jsonl", ".json"):
        rows, order = _json_rows(file)
    else:
        raise ValueError(f"{file} must end in .csv, .tsv, .jsonl or .json.")
    utterances, lines = [], {}
    for line, row in rows:
        utterance = _utterance(file, line, row, column_of, corpus)
        if utterance.id in lines:
            raise ValueError(
                f"{file}: the id {utterance.id!r} is there twice, in lines "
                f"{lines[utterance.id]} and {line}. Ids must be unique."
            )
        lines[utterance.id] = line
        utterances.append(utterance)
    if not utterances:
        raise ValueError(f"{file} has no utterances.")
    _check_files(file, utterances, lines)
    manifest = Manifest(utterances, order)
    return manifest if labels is None else manifest.select(labels=labels)


def _csv_rows(file, column_of):
    with open(file, newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(
            stream, delimiter=_DELIMITERS[file.suffix], strict=True
        )
        found = reader.fieldnames or []
        missing = [
            column_of[name] for name in _NEEDED if column_of[name] not in found
        ]
        if missing:
            raise ValueError(
                f"{file} must have the columns "
                f"{[column_of[name] for name in _NEEDED]}. Missing: {missing}. "
                f"Received: {found}. `columns` says what they are called."
            )
        try:
            return [(reader.line_num, row) for row in reader]
        except csv.Error as error:
            raise ValueError(
                f"{file}, line {reader.reader.line_num}: {error}"
            ) from error


def _json_rows(file):
    rows, order = [], None
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{file}, line {number}: expected an object with the fields "
                f"of an utterance. Received: {line[:60]}"
            )
        if number == 1 and "labels" in row:
            order = tuple(row["labels"])
        else:
            rows.append((number, row))
    return rows, order


def _utterance(file, line, row, column_of, corpus):
    values = {name: row.get(column_of[name]) for name in _FIELDS}
    values = {name: x for name, x in values.items() if x not in (None, "")}
    missing = [column_of[name] for name in _NEEDED if name not in values]
    if missing:
        raise ValueError(f"{file}, line {line}: nothing in {missing}")
    path = str(values["path"])
    values["path"] = str(file.parent / pathlib.Path(path).expanduser())
    values.setdefault("id", path)
    if corpus is not None:
        values.setdefault("corpus", corpus)
    if "sex" in values:
        sex = str(values["sex"]).lower()
        values["sex"] = _SEX_OF.get(sex, sex)
    try:
        for name in values:
            kind = float if name in _NUMBERS else str
            values[name] = kind(values[name])
        return Utterance(**values)
    except ValueError as error:
        raise ValueError(f"{file}, line {line}: {error}") from error


def _check_files(file, utterances, lines):
    missing = [u for u in utterances if not pathlib.Path(u.path).is_file()]
    if missing:
        shown = "; ".join(
            f"{u.path} (line {lines[u.id]})" for u in missing[:_SHOWN]
        )
        raise ValueError(
            f"{file}: {len(missing)} of {len(utterances)} audio files are not "
            f"there, such as {shown}. Paths that are not absolute are taken "
            f"from {file.parent}."
        )
