"""What parsers share: finding files, reading tables, building manifests."""

import collections
import csv
import io
import pathlib

from ser_keras.corpora.manifest import Manifest

AUDIO_SUFFIXES = (".wav", ".flac", ".aiff", ".aif", ".ogg")


#: The six basic emotions of Ekman, in the order that parsers use.
BASIC_EMOTIONS = (
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
)


class CorpusError(ValueError):
    """A folder does not have the expected corpus."""


def corpus_folder(root, corpus, layout):
    """The folder of a corpus, checked to exist and not to be empty.

    Args:
        root: The folder.
        corpus: Name of the corpus in messages.
        layout: Its expected layout, in messages.

    Returns:
        `pathlib.Path`.

    Raises:
        CorpusError: There is no such folder, or it is empty.
    """
    folder = pathlib.Path(root).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise CorpusError(f"{folder} {what}. Expected {corpus}: {layout}")
    if next(visible(folder), None) is None:
        raise CorpusError(f"{folder} is empty. Expected {corpus}: {layout}")
    return folder


def visible(folder, pattern="*"):
    """Paths that match, without hidden ones (macOS adds `._*` to archives)."""
    return (p for p in folder.glob(pattern) if not p.name.startswith("."))


def audio_by_stem(folder, patterns, id_of=lambda path: path.stem):
    """Audio files of a corpus by utterance id, sorted.

    A recording may be there in two layouts or formats: the first pattern is
    preferred, and then the first of `AUDIO_SUFFIXES`.

    Args:
        folder: Folder of the corpus.
        patterns: Glob patterns, the preferred one first.
        id_of: Function from a path to the utterance's id.

    Returns:
        Dict from id to path.

    Raises:
        CorpusError: Two files of one format and layout have the same id.
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
    """Utterances of a corpus whose file names have all annotations.

    Args:
        root: Folder of the corpus.
        corpus: Its name in messages.
        layout: Its expected layout, in messages.
        patterns: As in `audio_by_stem`.
        utterance_of: `utterance_of(id, path)` returns an `Utterance`, or None
            for a file that is not part of the corpus.
        **options: Of `audio_by_stem`.

    Returns:
        List of `Utterance`.

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
        CorpusError: It has another encoding; the message names the line.
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
        path: The file.
        columns: Required columns.
        delimiter: Character between two columns.
        key: Column whose values must be unique; `a` and `a.wav` are the same.

    Returns:
        List of `(line number, dict)`.

    Raises:
        CorpusError: The file or a column is missing, a row is too short or
            occurs twice, or the file is not UTF-8.
    """
    if not path.is_file():
        raise CorpusError(
            f"{path} does not exist. It must be a table with the columns "
            f"{list(columns)}."
        )
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
            check_unique(places, row[key].removesuffix(".wav"), place)
        rows.append((reader.line_num, row))
    return rows


def _parsed(reader, path):
    try:
        yield from reader
    except csv.Error as error:
        raise CorpusError(
            f"{path}, line {reader.reader.line_num}: {error}"
        ) from error


def read_annotations(file, line, name, labels, no_agreement, places):
    """Annotations of a text file with one line for each utterance.

    Lines that do not match are comments or ratings of single raters. Utterances
    on which the raters do not agree are left out.

    Args:
        file: The file.
        line: Compiled pattern of an annotation, with groups `id` and `label`.
        name: Compiled pattern of an id.
        labels: Dict from the label in the file to our label.
        no_agreement: Label of an utterance on which the raters do not agree.
        places: Dict of ids read before, see `check_unique`; it is changed.

    Yields:
        `(match of the id, our label)`.

    Raises:
        CorpusError: A label is unknown, or an id is malformed or occurs twice.
    """
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, row in enumerate(text.splitlines(), start=1):
        match = line.match(row)
        if not match:
            continue
        place = f"{file}, line {number}"
        check_unique(places, match["id"], place)
        if match["label"] == no_agreement:
            continue
        parts = name.fullmatch(match["id"])
        if not parts or match["label"] not in labels:
            raise CorpusError(
                f"{place}: cannot read the annotation {row!r}. Known labels: "
                f"{', '.join(labels)}, {no_agreement}."
            )
        yield parts, labels[match["label"]]


def check_unique(places, name, place):
    """Raises `CorpusError` if a name occurs a second time.

    Args:
        places: Dict from name to its first place; the new one is added.
        name: Of an utterance, or of a speaker.
        place: Such as `"labels.csv, line 3"`.

    Raises:
        CorpusError: The name occurs twice; the message names both places.
    """
    if name in places:
        raise CorpusError(
            f"{name!r} occurs twice: {places[name]}, and {place}. Remove one "
            "of them."
        )
    places[name] = place


def check_audio(folder, utterances):
    """Raises `CorpusError` if annotated utterances have no audio."""
    # One listing of each folder: a query for each file is slow on NFS.
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
    """The error for an unknown code of the emotion in a file name.

    Args:
        path: The file.
        code: The code in its name.
        known: Dict from code to label.
    """
    codes = ", ".join(f"{code} ({label})" for code, label in known.items())
    return CorpusError(
        f"{path}: unknown emotion {code!r} in the name. Known are {codes}. "
        "Correct the name, or move the file away."
    )


def wrong_layout(folder, corpus, layout):
    """The error for a folder that has other files than the corpus."""
    names = sorted(path.name for path in visible(folder))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return CorpusError(
        f"{folder} does not look like {corpus}. Expected {layout} Found: "
        f"{', '.join(names[:5])}{more}."
    )


def corpus_manifest(utterances, labels, known, default):
    """Manifest of the utterances that have one of the selected labels.

    Args:
        utterances: List of `Utterance`.
        labels: Selected labels, `"all"`, or None for `default`.
        known: All labels of the corpus, in order.
        default: Labels if `labels` is None.

    Raises:
        ValueError: The corpus has no such label.
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
