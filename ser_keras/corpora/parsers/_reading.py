"""What parsers share: finding files, reading tables, building manifests."""

import codecs
import collections
import contextlib
import csv
import filecmp
import io
import os
import pathlib

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.reading import Reading

#: The preferred one first: without loss before with.
AUDIO_SUFFIXES = (
    ".wav",
    ".flac",
    ".aiff",
    ".aif",
    ".ogg",
    ".opus",
    ".mp3",
)
_DEPTH = 5  # Levels of folders that are looked at.


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
    """A folder does not have the expected corpus.

    Args:
        message: What is wrong.
        likely: Whether there is something of the corpus, so that the folder is
            probably meant to be it.
    """

    def __init__(self, message: str, likely: bool = True):
        super().__init__(message)
        self.likely = likely


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
        raise CorpusError(
            f"{folder} {what}. Expected {corpus}: {layout}", likely=False
        )
    if next(visible(folder), None) is None:
        raise CorpusError(
            f"{folder} is empty. Expected {corpus}: {layout}", likely=False
        )
    return folder


def visible(folder, pattern="*"):
    """Paths that match, without hidden ones (macOS adds `._*` to archives)."""
    return (p for p in folder.glob(pattern) if not p.name.startswith("."))


def find_files(folder, depth=_DEPTH):
    """Files below a folder, without hidden ones, the nearest first.

    Archives nest a corpus in folders of any names, and macOS adds `__MACOSX`.

    Args:
        folder: The folder.
        depth: How many levels of folders below it are looked at.

    Yields:
        `pathlib.Path`, of the folder before those of its folders, sorted.
    """
    level, seen = [folder], set()
    for _ in range(depth + 1):
        below = []
        for here in level:
            place = os.path.realpath(here)
            if place in seen:  # Linked to one that was listed.
                continue
            seen.add(place)
            with os.scandir(here) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                path = here / entry.name
                if entry.is_dir():
                    below.append(path)
                else:
                    yield path
        level = below


def find_audio(
    folder,
    id_of=lambda path: path.stem,
    wanted=lambda name, path: True,
    depth=_DEPTH,
):
    """Audio files of a corpus by utterance id, wherever they are.

    A recording may be there more than once: in folders within folders, as
    archives have it, or in several formats. The first of `AUDIO_SUFFIXES` is
    preferred, and then the one nearest to the folder.

    Args:
        folder: Folder of the corpus.
        id_of: Function from a path to the utterance's id.
        wanted: `wanted(id, path)`, whether a file is one of the corpus, so
            that it matters which one is taken.
        depth: See `find_files`.

    Returns:
        Dict from id to path, sorted, and a dict from what is left out to the
        number of files.

    Raises:
        CorpusError: Two files of one format with the same id are different.
    """
    rank = {suffix: number for number, suffix in enumerate(AUDIO_SUFFIXES)}
    found, left_out = {}, collections.Counter()
    for path in find_files(folder, depth):
        suffix = path.suffix.lower()
        if suffix not in rank:
            continue
        if not path.is_file():
            left_out["links to audio that is not there"] += 1
            continue
        name = id_of(path)
        other = found.setdefault(name, path)
        if other is path or not wanted(name, path):
            continue
        if suffix == other.suffix.lower():
            if not filecmp.cmp(path, other, shallow=False):
                raise CorpusError(
                    f"Two different files have the id {name!r}: {other} and "
                    f"{path}. Remove one of them, or give the folder of one."
                )
            left_out["copies of an audio file"] += 1
            continue
        if rank[suffix] < rank[other.suffix.lower()]:
            found[name], path = path, other
        format_ = path.suffix.lower().removeprefix(".")
        left_out[f"copies in another format ({format_})"] += 1
    return dict(sorted(found.items())), left_out


def find_root(root, corpus, layout, matches):
    """The folder of a corpus, also if one above it is given.

    Args:
        root: The folder that was given.
        corpus: Name of the corpus in messages.
        layout: Its expected layout, in messages.
        matches: `matches(folder)`, whether a folder is that of the corpus.

    Returns:
        `pathlib.Path` of the folder itself or of the nearest one below.

    Raises:
        CorpusError: There is none, or there are several at the same distance.
            A folder of the corpus below its own is told the latter.
    """
    folder = corpus_folder(root, corpus, layout)
    level = [folder]
    for _ in range(_DEPTH):
        found = [path for path in level if matches(path)]
        if len(found) > 1:
            raise CorpusError(
                f"{folder} has {len(found)} folders of {corpus}. Give one of "
                f"them: {', '.join(map(str, found))}"
            )
        if found:
            return found[0]
        level = [
            path
            for here in level
            for path in sorted(visible(here))
            if path.is_dir() and path.name != "__MACOSX"
        ]
    for parent in list(folder.resolve().parents)[:3]:
        if matches(parent):
            raise CorpusError(
                f"{folder} is a part of {corpus}. Give the folder {parent}"
            )
    raise wrong_layout(folder, corpus, layout)


def read_names(root, corpus, layout, utterance_of, release, **options):
    """Utterances of a corpus whose file names have all annotations.

    Args:
        root: Folder of the corpus, or one above it.
        corpus: Its name in messages.
        layout: Its expected layout, in messages.
        utterance_of: `utterance_of(id, path)` returns an `Utterance`; or, of a
            file that is no part of the corpus, what it is, or None.
        release: `Release`; if something of it is missing, the folder above is
            looked at.
        **options: Of `find_audio`.

    Returns:
        List of `Utterance`, and the `Reading` so far.

    Raises:
        CorpusError: The folder has no such files.
    """
    folder = corpus_folder(root, corpus, layout)

    def wanted(name, path):
        return isinstance(utterance_of(name, path), Utterance)

    files, left_out = find_audio(folder, wanted=wanted, **options)
    found, other = [], []
    for name, path in files.items():
        utterance = utterance_of(name, path)
        if isinstance(utterance, Utterance):
            found.append(utterance)
        elif utterance is None:
            other.append(path.name)
        else:
            left_out[utterance] += 1
    if not found:
        raise wrong_layout(folder, corpus, layout, left_out)
    if other:
        left_out[f"audio files of other names (such as {other[0]})"] = len(
            other
        )
    missing = ()
    if release.lacks(found, release.labels):
        above = folder.resolve().parent
        more = 0
        # Some other folder there may be nobody's business.
        with contextlib.suppress(OSError):
            more = _count_beside(above, files, utterance_of, **options)
        if more:
            missing = (
                f"{more} more files of {corpus} are in the folder above; give "
                f"{above}",
            )
    return found, Reading().add(left_out, missing)


def _count_beside(above, files, utterance_of, **options):
    """Number of files of the corpus in the folder above, and below that."""
    beside, _ = find_audio(
        above, wanted=lambda name, path: False, depth=1, **options
    )
    more = 0
    for name, path in beside.items():
        # What is wrong with them is not this folder's.
        with contextlib.suppress(CorpusError):
            more += name not in files and isinstance(
                utterance_of(name, path), Utterance
            )
    return more


def read_text(path):
    """Text of a UTF-8 file, or of a UTF-16 one with a byte order mark.

    Raises:
        CorpusError: It has another encoding; the message names the line.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}, line {line}: the byte {content[error.start]:#04x} is "
            "not UTF-8. Save the file as UTF-8."
        ) from error


def read_table(path, columns, delimiter=",", key=None, optional=()):
    """Rows of a table with a header line, as dicts, with their line numbers.

    Blanks around cells are dropped: nEMO pads its speakers' names.

    Args:
        path: The file.
        columns: Required columns.
        delimiter: Character between two columns.
        optional: Those of them that may be empty.
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
    found = reader.fieldnames = [x.strip() for x in reader.fieldnames or ()]
    missing = [name for name in columns if name not in found]
    if missing:
        raise CorpusError(
            f"{path} must have the columns {list(columns)}. Missing: "
            f"{missing}. Received: {found}"
        )
    rows, places = [], {}
    for row in _parsed(reader, path):
        place = f"{path}, line {reader.line_num}"
        row = {
            name: cell.strip() if isinstance(cell, str) else cell
            for name, cell in row.items()
        }
        empty = [x for x in columns if not row[x] and x not in optional]
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


def wrong_layout(folder, corpus, layout, left_out=None):
    """The error for a folder that has other files than the corpus.

    Args:
        folder: The folder.
        corpus: Name of the corpus in messages.
        layout: Its expected layout, in messages.
        left_out: What there is of the corpus, but not used.
    """
    names = sorted(path.name for path in visible(folder))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    found = (left_out or {}).items()
    unused = "".join(f" Left out: {what} {n}." for what, n in found)
    return CorpusError(
        f"{folder} does not look like {corpus}. Expected {layout} Found: "
        f"{', '.join(names[:5])}{more}.{unused}",
        likely=bool(left_out),
    )


def corpus_manifest(
    utterances, labels, known, default, reading=None, release=None, every=None
):
    """Manifest of the utterances that have one of the selected labels.

    Args:
        utterances: List of `Utterance`.
        labels: Selected labels, `"all"`, or None for `default`.
        known: All labels of the corpus, in order.
        default: Labels if `labels` is None.
        reading: `Reading` so far.
        release: `Release`, by which an incomplete corpus is found.
        every: Utterances to compare with it, if options have left out some.

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
    counts = collections.Counter(u.label for u in utterances)
    if not chosen:
        raise CorpusError(
            f"No utterance has one of the labels {list(labels)}. Received: "
            f"{len(utterances)} utterances {dict(counts)}"
        )
    left_out = {
        f"label {x}": counts[x] for x in sorted(counts) if x not in labels
    }
    reading = (reading or Reading()).add(left_out)
    if release is not None:
        every = utterances if every is None else every
        reading = reading.add(missing=release.lacks(every, labels))
    chosen.sort(key=lambda utterance: utterance.id)
    return Manifest(chosen, tuple(labels), reading)
