"""Finding a corpus' files, with one clear error if they are not there."""

import collections
import csv
import io
import pathlib

from ser_keras.corpora.manifest import Manifest

AUDIO_SUFFIXES = (".wav", ".flac", ".aiff", ".aif", ".ogg")


class CorpusError(ValueError):
    """A folder does not hold the corpus it should hold."""


def corpus_folder(root, corpus, layout):
    """`root` as a path to an existing folder with something in it."""
    folder = pathlib.Path(root).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise CorpusError(f"{folder} {what}. Expected {corpus}: {layout}")
    if next(visible(folder), None) is None:
        raise CorpusError(f"{folder} is empty. Expected {corpus}: {layout}")
    return folder


def visible(folder, pattern="*"):
    """Paths that match, without the `._*` files macOS leaves in archives."""
    return (p for p in folder.glob(pattern) if not p.name.startswith("."))


def audio_by_stem(folder, patterns, id_of=lambda path: path.stem):
    """Dict from id to path of the audio files that match, sorted.

    A file may lie there in two formats or in two layouts: the pattern that
    comes first is taken, and a wav goes before a flac.

    Args:
        folder: Where to look.
        patterns: Glob patterns, the preferred one first.
        id_of: Function from a path to the utterance's id.

    Raises:
        CorpusError: Two files of one format and layout have one id.
    """
    found = {}
    for pattern in patterns:
        for suffix in AUDIO_SUFFIXES:
            here = {}
            for path in sorted(visible(folder, pattern)):
                if path.suffix.lower() == suffix and path.is_file():
                    name = id_of(path)
                    if name in here:
                        raise CorpusError(
                            f"Two files have the id {name!r}: {here[name]} "
                            f"and {path}. Remove one of them."
                        )
                    here[name] = path
            found = {**here, **found}
    return dict(sorted(found.items()))


def read_names(root, corpus, layout, patterns, utterance_of, **options):
    """Utterances of a corpus whose file names say everything.

    Args:
        root: Folder of the corpus.
        corpus: Its name in messages.
        layout: What it looks like, in messages.
        patterns: As in `audio_by_stem`.
        utterance_of: `utterance_of(id, path)`, an `Utterance`, or None for a
            file that belongs to something else.
        **options: Of `audio_by_stem`.

    Raises:
        CorpusError: The folder has no such files.
    """
    folder = corpus_folder(root, corpus, layout)
    files = audio_by_stem(folder, patterns, **options)
    found = [utterance_of(name, path) for name, path in files.items()]
    found = [utterance for utterance in found if utterance is not None]
    if not found:
        raise wrong_layout(folder, corpus, layout)
    return found


def read_text(path):
    """Text of a UTF-8 file, with or without a byte order mark.

    Raises:
        CorpusError: It is in another encoding; the message names the line.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}, line {line}: the byte {content[error.start]:#04x} is "
            "not UTF-8. Save the file as UTF-8."
        ) from error


def read_table(path, columns, delimiter=",", key=None):
    """Rows of a table with a header line, as dicts, with their line numbers.

    Args:
        path: File.
        columns: Columns that must be there.
        delimiter: Between two columns.
        key: The one of them that must differ from row to row; `a` and `a.wav`
            are the same.

    Returns:
        List of `(line number, dict)`.

    Raises:
        CorpusError: The file or a column is missing, a row is too short or is
            there twice, or the file is not UTF-8.
    """
    if not path.is_file():
        raise CorpusError(f"{path} does not exist. It must have {columns}.")
    reader = csv.DictReader(
        io.StringIO(read_text(path), newline=""), delimiter=delimiter
    )
    found = reader.fieldnames or []
    missing = [name for name in columns if name not in found]
    if missing:
        raise CorpusError(
            f"{path} must have the columns {list(columns)}. Missing: "
            f"{missing}. Received: {found}"
        )
    rows, places = [], {}
    for row in _parsed(reader, path):
        place = f"{path}, line {reader.line_num}"
        empty = [name for name in columns if not row[name]]
        if empty:
            raise CorpusError(f"{place}: nothing in {empty}")
        if key:
            check_first(places, row[key].removesuffix(".wav"), place)
        rows.append((reader.line_num, row))
    return rows


def _parsed(reader, path):
    try:
        yield from reader
    except csv.Error as error:
        raise CorpusError(
            f"{path}, line {reader.reader.line_num}: {error}"
        ) from error


def check_first(places, name, place):
    """Keeps where a name was met, and raises if it had been met before.

    Args:
        places: Dict from name to place, which grows.
        name: Of an utterance, or of a speaker.
        place: Such as `"labels.csv, line 3"`.

    Raises:
        CorpusError: It is there twice; the message says where.
    """
    if name in places:
        raise CorpusError(
            f"{name!r} is there twice: {places[name]}, and {place}. Remove "
            "one of them."
        )
    places[name] = place


def check_audio(folder, utterances):
    """Raises `CorpusError` if annotated utterances have no audio."""
    # One listing of each folder; a question for each file is slow on NFS.
    present = {
        parent: {path.name for path in visible(parent)}
        for parent in {pathlib.Path(u.path).parent for u in utterances}
    }
    missing = [
        u.path
        for u in utterances
        if pathlib.Path(u.path).name not in present[pathlib.Path(u.path).parent]
    ]
    if missing:
        raise CorpusError(
            f"{len(missing)} of {len(utterances)} annotated utterances have no "
            f"audio in {folder}, the first are {', '.join(missing[:3])}. "
            "Unpack the release again, with all of its audio."
        )


def unknown_code(path, code, known):
    """The error for a recording of the corpus whose emotion is not known.

    Args:
        path: File.
        code: What its name says.
        known: Dict from code to label.
    """
    codes = ", ".join(f"{code} ({label})" for code, label in known.items())
    return CorpusError(
        f"{path}: unknown emotion {code!r} in the name. Known are {codes}. "
        "Correct the name, or move the file away."
    )


def wrong_layout(folder, corpus, layout):
    """The error for a folder that holds something else."""
    names = sorted(path.name for path in visible(folder))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return CorpusError(
        f"{folder} does not look like {corpus}. Expected {layout} Found: "
        f"{', '.join(names[:5])}{more}."
    )


def corpus_manifest(utterances, labels, known, default):
    """Manifest of the utterances that have one of the asked labels.

    Args:
        utterances: List of `Utterance`.
        labels: Asked labels, `"all"`, or None for `default`.
        known: All labels of the corpus, in order.
        default: Labels that None stands for.

    Raises:
        ValueError: There is no such label.
        CorpusError: No utterance has one of them.
    """
    if labels is None:
        labels = default
    elif labels == "all":
        labels = known
    elif isinstance(labels, str):
        labels = (labels,)
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(
            f"`labels` must be among {tuple(known)}. Received unknown labels: "
            f"{unknown}"
        )
    chosen = [u for u in utterances if u.label in labels]
    if not chosen:
        counts = dict(collections.Counter(u.label for u in utterances))
        raise CorpusError(
            f"No utterance has one of the labels {list(labels)}. Received: "
            f"{len(utterances)} utterances {counts}"
        )
    chosen.sort(key=lambda utterance: utterance.id)
    return Manifest(chosen, tuple(labels))
