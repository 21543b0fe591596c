"""Corpora described by a table of your own: CSV, TSV or JSON lines."""

import csv
import dataclasses
import io
import json
import pathlib

from ser_keras._errors import shortened
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.manifest import check_rows
from ser_keras.corpora.manifest import label_order
from ser_keras.corpora.parsers._reading import read_text

SOURCE = None  # A format of many corpora.
_FIELDS = tuple(field.name for field in dataclasses.fields(Utterance))
_NEEDED = ("path", "label", "speaker")
_NUMBERS = ("start", "end")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SEX_OF = {"f": "female", "m": "male", "w": "female"}


def load(root, labels=None, columns=None, corpus=None):
    r"""Reads a manifest from a table of your own.

    Args:
        root: File that ends in `.csv`, `.tsv`, `.jsonl` or `.json` (JSON
            lines). A CSV has a header line. Each row is an utterance with the
            fields of `Utterance`, of which `path`, `label` and `speaker` are
            required. Without an `id` the path is the id. Other columns are
            ignored. Files of `Manifest.save` are read as well.
        labels: Labels to keep, in this order. None means all labels of the
            table, sorted (or in the order of a saved manifest).
        columns: Dict from a field to the name of its column, where they
            differ: `{"label": "emotion"}`.
        corpus: Name of the corpus for rows without one.

    Returns:
        `Manifest`. Relative paths are resolved from the folder of the table.

    Raises:
        ValueError: The file is not UTF-8, a row has missing or surplus values,
            an id or a column occurs twice, a label is not among those of a
            saved manifest's first line, a speaker has two sexes, or an audio
            file is missing; the message names the file and its lines. Or the
            table has no label of `labels`.

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
        raise ValueError(
            f"{file} is not a file. Expected a table of utterances."
        )
    if file.suffix in _DELIMITERS:
        rows, order = _csv_rows(file, column_of), None
    elif file.suffix in (".jsonl", ".json"):
        rows, order = _json_rows(file)
    else:
        raise ValueError(f"{file} must end in .csv, .tsv, .jsonl or .json.")
    lines = [line for line, _ in rows]
    utterances = [
        _utterance(file, line, row, column_of, corpus) for line, row in rows
    ]
    if not utterances:
        raise ValueError(f"{file} has no utterances.")
    try:
        check_rows(utterances, order, lines)
        manifest = Manifest(utterances, order)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    _check_sexes(file, utterances, lines)
    _check_files(file, utterances, lines)
    return manifest if labels is None else manifest.select(labels=labels)


def _csv_rows(file, column_of):
    delimiter = _DELIMITERS[file.suffix]
    reader = csv.DictReader(
        io.StringIO(read_text(file), newline=""),
        delimiter=delimiter,
        strict=True,
    )
    try:
        found = reader.fieldnames or []
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(
            f"{file}, line {reader.reader.line_num}: {error}"
        ) from error
    missing = [
        column_of[name] for name in _NEEDED if column_of[name] not in found
    ]
    if missing:
        raise ValueError(
            f"{file} must have the columns "
            f"{[column_of[name] for name in _NEEDED]}. Missing: {missing}. "
            f"Received: {found}. Give other names with `columns`."
        )
    twice = [name for name in column_of.values() if found.count(name) > 1]
    if twice:
        raise ValueError(
            f"{file}, line 1: columns must be unique, but {twice} occur "
            f"twice. Received: {found}"
        )
    for line, row in rows:
        if None in row:  # `DictReader`'s key of values without a column.
            raise ValueError(
                f"{file}, line {line}: {len(found)} columns, but also the "
                f"values {row[None]}. Quote values with {delimiter!r} in them."
            )
    return rows


def _json_rows(file):
    rows, order = [], None
    # Not `splitlines`, which splits at U+2028 in transcriptions.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
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
        if number == 1 and set(row) == {"labels"}:
            try:
                order = label_order(row["labels"])
            except ValueError as error:
                raise ValueError(f"{file}, line 1: {error}") from error
        else:
            rows.append((number, row))
    return rows, order


def _utterance(file, line, row, column_of, corpus):
    values = {name: row.get(column_of[name]) for name in _FIELDS}
    values = {name: x for name, x in values.items() if x not in (None, "")}
    missing = [column_of[name] for name in _NEEDED if name not in values]
    if missing:
        raise ValueError(f"{file}, line {line}: no value in {missing}")
    path = str(values["path"])
    values["path"] = str(file.parent / pathlib.Path(path).expanduser())
    values.setdefault("id", path)
    if corpus is not None:
        values.setdefault("corpus", corpus)
    if "sex" in values:
        sex = str(values["sex"]).lower()
        values["sex"] = _SEX_OF.get(sex, sex)
    wrong = [k for k, x in values.items() if isinstance(x, bool | dict | list)]
    if wrong:
        raise ValueError(
            f"{file}, line {line}: {wrong} must be text or numbers. Received: "
            f"{[values[name] for name in wrong]}"
        )
    try:
        for name in values:
            kind = float if name in _NUMBERS else str
            values[name] = kind(values[name])
        return Utterance(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}, line {line}: {error}") from error


def _check_sexes(file, utterances, lines):
    """Raises if a speaker has two sexes: two people, or a mistake."""
    known = {}
    for utterance, line in zip(utterances, lines, strict=True):
        if utterance.sex is None:
            continue
        who = utterance.corpus, utterance.speaker
        sex, first = known.setdefault(who, (utterance.sex, line))
        if sex != utterance.sex:
            raise ValueError(
                f"{file}: the speaker {utterance.speaker!r} is {sex} in line "
                f"{first} and {utterance.sex} in line {line}. Correct one of "
                "them, or give two speakers two names."
            )


def _check_files(file, utterances, lines):
    missing = [
        f"{u.path} (line {line})"
        for u, line in zip(utterances, lines, strict=True)
        if not pathlib.Path(u.path).is_file()
    ]
    if missing:
        raise ValueError(
            f"{file}: {len(missing)} of {len(utterances)} audio files are "
            f"missing: {shortened(missing)}. Relative paths are resolved from "
            f"{file.parent}."
        )
