"""Corpora described by a table of your own: CSV, TSV or JSON."""

import collections
import csv
import dataclasses
import io
import json
import pathlib
import re

from ser_keras._errors import shortened
from ser_keras.corpora.manifest import UNKNOWN_SPEAKER
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.manifest import check_rows
from ser_keras.corpora.manifest import label_order
from ser_keras.corpora.parsers._reading import read_text
from ser_keras.corpora.reading import Reading
from ser_keras.corpora.spelling import one_spelling

SOURCE = None  # A format of many corpora.
_FIELDS = tuple(field.name for field in dataclasses.fields(Utterance))
_NEEDED = ("path", "label", "speaker")
_TIMES = ("start", "end")
#: Other names of columns, as other tools write them.
_ALIASES = {
    "path": ("file", "filename", "file_name", "filepath", "wav", "audio"),
    "label": ("emotion", "class", "category"),
    "speaker": ("speaker_id", "speakerid", "spkrid", "spk", "actor"),
    "sex": ("gender",),
    "session": ("session_id",),
    "partition": ("split", "split_set"),
    "text": ("transcript", "transcription"),
}
_SEX_OF = {"f": "female", "m": "male", "w": "female"}
# As pandas and audformat write that there is no value.
_NOTHING = {"", "nan", "nat", "<na>", "null", "n/a"}
# "0 days 00:00:01.5" of pandas, "0:00:01.5" of Python, "01:30".
_TIME = re.compile(
    r"(?:(?P<days>\d+) days?,? ?)?"
    r"(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d*)?)"
)


def load(root, labels=None, columns=None, corpus=None, speakers=None):
    r"""Reads a manifest from a table of your own.

    Args:
        root: File that ends in `.csv`, `.tsv`, `.txt` (a table with a header
            line), `.jsonl` or `.json` (JSON lines, or one array). Each row is
            an utterance with the fields of `Utterance`, of which `path`,
            `label` and `speaker` are required. Without an `id` the path is
            the id, with the start if a file has several. Other columns are
            ignored. Files of `Manifest.save` are read as well, and tables of
            nkululeko and audformat, whose columns are called otherwise and
            whose times are time deltas.
        labels: Labels to keep, in this order. None means all labels of the
            table, sorted (or in the order of a saved manifest).
        columns: Dict from a field to the name of its column, where they
            differ and the name is not a usual one: `{"label": "mood"}`.
        corpus: Name of the corpus for rows without one.
        speakers: `"unknown"` for a list that does not say who speaks; then
            all utterances are those of `UNKNOWN_SPEAKER`, and only random
            folds can be made, whose scores are no estimate for new speakers.

    Returns:
        `Manifest`. Relative paths are resolved from the folder of the table.
        Rows without a label are left out, and labels that mean the same get
        one spelling; `reading` says so.

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
    >>> _ = table.write_text("file,mood,speaker\na.wav,anger,anna\n")
    >>> load(table, columns={"label": "mood"})
    <Manifest: 1 utterances, 1 speakers, labels ('anger',)>
    """
    file = pathlib.Path(root).expanduser()
    columns = dict(columns or {})
    unknown = sorted(set(columns) - set(_FIELDS))
    if unknown:
        raise ValueError(
            f"`columns` must name fields of an utterance, {_FIELDS}. "
            f"Received unknown fields: {unknown}"
        )
    if speakers not in (None, "unknown"):
        raise ValueError(
            f"`speakers` must be 'unknown' or None. Received: {speakers!r}"
        )
    if not file.is_file():
        raise ValueError(
            f"{file} is not a file. Expected a table of utterances."
        )
    order = None
    if file.suffix.lower() in (".csv", ".tsv", ".txt"):
        rows, found = _csv_rows(file)
    elif file.suffix.lower() in (".jsonl", ".json"):
        rows, found, order = _json_rows(file)
    else:
        raise ValueError(
            f"{file} must end in .csv, .tsv, .txt, .jsonl or .json."
        )
    if found:
        column_of = _columns(file, found, columns, speakers)
    if not rows:
        raise ValueError(f"{file} has no utterances.")
    return _manifest(file, rows, order, column_of, labels, corpus, speakers)


def _manifest(file, rows, order, column_of, labels, corpus, speakers):
    reading = Reading(
        notes=tuple(
            f"{file.name}: the {name} is the column {column!r}"
            for name, column in column_of.items()
            if name != column
        )
    )
    values = [
        (line, _values(file, line, row, column_of, speakers))
        for line, row in rows
    ]
    without = [line for line, row in values if "label" not in row]
    values = [(line, row) for line, row in values if "label" in row]
    if without:
        many = f"{len(without)} rows" if len(without) > 1 else "1 row"
        reading = reading.add(
            {"rows without a label": len(without)},
            (f"{many} without a label, lines {shortened(without)}",),
        )
    if not values:
        raise ValueError(
            f"{file}: no row has a label in the column {column_of['label']!r}, "
            f"first line {without[0]}"
        )
    if order is None:
        reading = _spell([row for _, row in values], reading)
    lines = [line for line, _ in values]
    times = collections.Counter(row["path"] for _, row in values)
    utterances = [
        _utterance(file, line, row, corpus, times[row["path"]] > 1)
        for line, row in values
    ]
    try:
        check_rows(utterances, order, lines)
        manifest = Manifest(utterances, order, reading)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    _check_sexes(file, utterances, lines)
    _check_files(file, utterances, lines)
    if labels is None:
        return manifest
    chosen = manifest.select(labels=labels)
    left = {
        f"label {label}": number
        for label, number in manifest.counts().items()
        if label not in chosen.labels
    }
    return dataclasses.replace(chosen, reading=reading.add(left))


def _spell(rows, reading):
    """Gives labels that mean the same one spelling, in place."""
    spelling = one_spelling(row["label"] for row in rows)
    changed = {old: new for old, new in spelling.items() if old != new}
    for row in rows:
        row["label"] = spelling[row["label"]]
    if not changed:
        return reading
    pairs = ", ".join(f"{old!r} as {new!r}" for old, new in changed.items())
    return reading.add(notes=(f"labels of one meaning: {pairs}",))


def _csv_rows(file):
    text = read_text(file)
    delimiter = _delimiter(file, text)
    reader = csv.DictReader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,
    )
    try:
        found = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = found
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(
            f"{file}, line {reader.reader.line_num}: {error}"
        ) from error
    twice = [x for x in dict.fromkeys(found) if x and found.count(x) > 1]
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
    return rows, found


def _delimiter(file, text):
    """What is between two columns: what the header line has most often."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    header = text.partition("\n")[0]
    return max(",;\t|", key=header.count)


def _json_rows(file):
    text = read_text(file)
    array = text.lstrip()[:1] == "[" and file.suffix.lower() == ".json"
    rows, order = [], None
    for number, row in (_array if array else _lines)(file, text):
        if not isinstance(row, dict):
            raise ValueError(
                f"{file}, line {number}: expected an object with the fields "
                f"of an utterance. Received: {str(row)[:60]}"
            )
        if number == 1 and set(row) == {"labels"}:
            try:
                order = label_order(row["labels"])
            except ValueError as error:
                raise ValueError(f"{file}, line 1: {error}") from error
        else:
            rows.append((number, row))
    found = list(dict.fromkeys(name for _, row in rows for name in row))
    return rows, found, order


def _lines(file, text):
    # Not `splitlines`, which splits at U+2028 in transcriptions.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ValueError(f"{file}, line {number}: {error}") from error


def _array(file, text):
    """Entries of one array, with the numbers of their lines."""
    decoder, place = json.JSONDecoder(), text.index("[") + 1
    number = 1
    while True:
        gap = re.compile(r"[\s,]*").match(text, place)
        number += text.count("\n", place, gap.end())
        place = gap.end()
        if text[place : place + 1] == "]":
            return
        try:
            row, end = decoder.raw_decode(text, place)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from error
        yield number, row
        number += text.count("\n", place, end)
        place = end


def _columns(file, found, columns, speakers):
    """Name of the column of each field that the table has."""
    column_of = {}
    lower = collections.defaultdict(list)
    for name in found:
        lower[name.lower()].append(name)
    for field in _FIELDS:
        if field in columns:
            if columns[field] in found:
                column_of[field] = columns[field]
            continue
        if field in found:
            column_of[field] = field
            continue
        for alias in (field, *_ALIASES.get(field, ())):
            # Not two of them, of which one may be meant.
            if len(lower[alias]) == 1:
                column_of[field] = lower[alias][0]
                break
    needed = _NEEDED[:2] if speakers == "unknown" else _NEEDED
    missing = [columns.get(x, x) for x in needed if x not in column_of]
    absent = [
        columns[x] for x in columns if x not in column_of and x not in needed
    ]
    if missing or absent:
        option = " ".join(f"{x}=NAME" for x in needed if x not in column_of)
        way = f"Say which they are with `columns` (--columns {option})"
        if "speaker" in needed and "speaker" not in column_of:
            way += ", or, of a list that has no speakers, --speakers unknown"
        raise ValueError(
            f"{file} must have the columns "
            f"{[columns.get(name, name) for name in needed]}. Missing: "
            f"{missing + absent}. Received: {found}. {way}."
        )
    return column_of


def _values(file, line, row, column_of, speakers):
    """Fields of a row that have a value."""
    values = {}
    for name, column in column_of.items():
        value = row.get(column)
        if isinstance(value, bool | dict | list):
            raise ValueError(
                f"{file}, line {line}: [{column!r}] must be text or numbers. "
                f"Received: [{value!r}]"
            )
        text = "" if value is None else str(value).strip()
        nothing = _NOTHING if name not in ("id", "path", "text") else {""}
        if text.lower() in nothing or (name == "label" and text == "None"):
            continue
        if name in _TIMES:
            value = _seconds(file, line, column, text)
        values[name] = value if name in _TIMES else text
    if speakers == "unknown":
        values["speaker"] = UNKNOWN_SPEAKER
    missing = [column_of[x] for x in ("path", "speaker") if x not in values]
    if missing:
        raise ValueError(
            f"{file}, line {line}: no value in {missing}. Fill it in, or take "
            "the row out."
        )
    return values


def _seconds(file, line, column, text):
    try:
        return float(text)
    except ValueError:
        parts = _TIME.fullmatch(text)
    if not parts:
        raise ValueError(
            f"{file}, line {line}, column {column!r}: cannot read {text!r} as "
            "a time. Expected seconds, such as 1.5, or 0:00:01.5."
        )
    days, hours, minutes, seconds = (float(x or 0) for x in parts.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _utterance(file, line, values, corpus, several):
    path = values["path"]
    audio = file.parent / pathlib.Path(path).expanduser()
    if "\\" in path and not audio.exists():  # Written on Windows.
        path = pathlib.PureWindowsPath(path).as_posix()
        audio = file.parent / path
    values = values | {"path": str(audio)}
    begin = values.get("start", 0.0)
    values.setdefault(
        "id", f"{path}:{begin:g}" if several and "start" in values else path
    )
    if corpus is not None:
        values.setdefault("corpus", corpus)
    if "sex" in values:
        sex = values["sex"].lower()
        values["sex"] = _SEX_OF.get(sex, sex)
    try:
        return Utterance(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}, line {line}: {error}") from error


def _check_sexes(file, utterances, lines):
    """Raises if a speaker has two sexes: two people, or a mistake."""
    known = {}
    for utterance, line in zip(utterances, lines, strict=True):
        if utterance.sex is None or utterance.speaker == UNKNOWN_SPEAKER:
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
            f"{file.parent.resolve()}"
        )
