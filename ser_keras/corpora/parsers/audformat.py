"""Corpora in audEERING's audformat, such as those that audb loads."""

import pathlib

from ser_keras._errors import needs_extra
from ser_keras.corpora.manifest import SEXES
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import find_root
from ser_keras.corpora.reading import Reading

SOURCE = None  # A format of many corpora.
_LAYOUT = "an audformat database: db.yaml, its tables, and the audio."


def load(
    root,
    labels=None,
    tables="emotion",
    emotion="emotion",
    speaker="speaker",
    sex="gender",
    speakers="files",
):
    """Reads a database in audformat; needs the extra `ser_keras[audformat]`.

    Args:
        root: Folder with `db.yaml`, such as one that `audb.load` has made.
        labels: Labels to keep, in this order. None means all labels of the
            tables, sorted.
        tables: Name of the table with the emotions, or a list of such tables,
            such as `["emotion.train", "emotion.test"]`. Of several tables, the
            name is the `partition` of its utterances.
        emotion: Column of the emotion in these tables.
        speaker: Column of the speaker in the table `speakers`.
        sex: Key of the speaker's sex in the scheme of `speaker`, if it has
            one.
        speakers: Name of the table with the speakers.

    Returns:
        `Manifest`. Rows without an emotion are left out.

    Raises:
        ImportError: There is a database, but audformat is not installed.
        CorpusError: There is no such database, table or column, a file has
            no speaker, or audio is missing.
    """
    folder = find_root(
        root,
        "an audformat database",
        _LAYOUT,
        lambda here: (here / "db.yaml").is_file(),
    )
    with needs_extra("Reading an audformat database", "audformat"):
        import audformat
    try:
        database = audformat.Database.load(folder)
    except Exception as error:  # Of YAML, CSV or Parquet: no common base.
        raise CorpusError(
            f"{folder / 'db.yaml'} or one of its tables cannot be read: "
            f"{error!r}. Load the database again."
        ) from error
    tables = [tables] if isinstance(tables, str) else list(tables)
    who = _column(database, speakers, speaker, folder).dropna()
    scheme = database[speakers].columns[speaker].scheme_id
    known = database.schemes[scheme].labels if scheme else None
    utterances, without = [], 0
    for table in tables:
        column = _column(database, table, emotion, folder)
        without += int(column.isna().sum())
        rows = audformat.utils.to_segmented_index(column.dropna())
        for (file, start, end), label in rows.items():
            person = who.get(file)
            if person is None:
                raise CorpusError(
                    f"{folder}: table {speakers!r} has no {speaker} of {file}"
                )
            entry = known.get(person) if isinstance(known, dict) else None
            entry = entry if isinstance(entry, dict) else {}
            whole = end != end  # NaT: to the end of the file.
            begin = start.total_seconds()
            part = f":{begin:g}" if not whole or begin else ""
            utterances.append(
                Utterance(
                    id=str(pathlib.PurePosixPath(file).with_suffix("")) + part,
                    path=str(folder / file),
                    label=str(label).strip(),
                    speaker=str(person).strip(),
                    sex=entry.get(sex) if entry.get(sex) in SEXES else None,
                    start=begin or None,
                    end=None if whole else end.total_seconds(),
                    corpus=database.name,
                    partition=table if len(tables) > 1 else None,
                )
            )
    missing = [u.path for u in utterances if not pathlib.Path(u.path).is_file()]
    if missing or not utterances:
        raise CorpusError(
            f"{folder}: {len(missing)} of {len(utterances)} utterances have no "
            f"audio, such as {missing[:3]}. Load the database with its media."
        )
    known = sorted({u.label for u in utterances})
    reading = Reading().add({f"rows without {emotion}": without})
    return corpus_manifest(utterances, labels, known, known, reading)


def _column(database, table, column, folder):
    for what, name, names in (
        ("table", table, list(database)),
        (
            "column",
            column,
            list(database[table].columns) if table in database else [],
        ),
    ):
        if name not in names:
            raise CorpusError(
                f"{folder}: the database {database.name!r} must have the "
                f"{what} {name!r}. Received: {names}"
            )
    return database[table][column].get()
