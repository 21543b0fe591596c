"""MSP-Podcast: turns of podcasts, in the release's own partitions."""

import json
import re

from ser_keras.corpora.manifest import SEXES
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import check_audio
from ser_keras.corpora.parsers._reading import check_unique
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import find_audio
from ser_keras.corpora.parsers._reading import find_root
from ser_keras.corpora.parsers._reading import read_table
from ser_keras.corpora.parsers._reading import read_text
from ser_keras.corpora.parsers._reading import visible
from ser_keras.corpora.parsers._source import Source
from ser_keras.corpora.reading import Reading

SOURCE = Source(
    "by agreement with its owners",
    "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
)

LABELS = ("neutral", *BASIC_EMOTIONS, "contempt")
_LABEL_OF = {
    "N": "neutral",
    "H": "happiness",
    "S": "sadness",
    "A": "anger",
    "F": "fear",
    "D": "disgust",
    "U": "surprise",
    "C": "contempt",
    "O": "other",
}
_NO_AGREEMENT = "X"
# Its labels are not published: later releases have its audio and list it among
# the partitions, but not among the labels.
_UNLABELLED = "test3"
# Names of partitions in other releases.
_PARTITION_OF = {"validation": "development", "test": "test1"}
_COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set")
_RELEASE = re.compile(r"(?<![\d.])([12]\.\d\d?)(?![\d.])")
_TABLE = re.compile(r"labels_con[sc]ensus\.(csv|json)")
_LAYOUT = (
    "Labels/labels_consensus.csv (labels_concensus.csv in early releases, or "
    ".json) "
    "and Audios/MSP-PODCAST_*.wav."
)


def load(root, labels=None, version=None):
    """Reads a release of MSP-Podcast.

    Turns on which the raters do not agree (`X`) are left out. The `partition`
    of an utterance is `"train"`, `"development"`, `"test1"` ...; the protocol
    `ser_keras.protocols.Partitions` makes the fold. A `Partitions.txt` must
    agree with the labels, except for Test3, whose labels are not published and
    whose files may be in it alone; `reading` counts these.

    An unknown speaker becomes one speaker for each podcast, such as
    `"unknown-0153"`; as a single speaker they would be in every partition.

    Args:
        root: Folder of the release.
        labels: Labels to keep, in this order; `"all"` for all nine. None
            means `LABELS`, without `other`.
        version: Expected release, such as `"1.11"`. None accepts any.

    Returns:
        `Manifest` with speaker, sex and partition.

    Raises:
        CorpusError: The folder has another layout or another release, the
            partitions are of another release, a turn occurs twice, or audio is
            missing.

    References:
        Lotfian and Busso, "Building naturalistic emotionally balanced speech
        corpus by retrieving emotional speech from existing podcast
        recordings", IEEE Trans. Affective Computing 10(4), 2019.
    """
    folder = find_root(root, "MSP-Podcast", _LAYOUT, _tables)
    table = _tables(folder)[0]
    _check_version(folder, version)
    rows = _rows(table)
    unlabelled = 0
    for file in visible(folder, "[Pp]artitions.txt"):
        unlabelled += _check_partitions(file, table, rows)
    listed = {row["FileName"].removesuffix(".wav") for _, row in rows}
    audio, left_out = find_audio(folder, wanted=lambda name, _: name in listed)
    utterances = [
        _utterance(audio, folder, table, line, row)
        for line, row in rows
        if row["EmoClass"] != _NO_AGREEMENT
    ]
    check_audio(folder, utterances)
    left_out |= {
        "files of Test3, whose labels are not published": unlabelled,
        f"no agreement of the raters ({_NO_AGREEMENT})": len(rows)
        - len(utterances),
        f"audio that is not in {table.name}": max(
            0, len(audio.keys() - listed) - unlabelled
        ),
    }
    without = sum(u.speaker.startswith("unknown-") for u in utterances)
    notes = ()
    if without:
        notes = (
            f"utterances without a speaker in {table.name}: {without}; each "
            "podcast is taken for a speaker",
        )
    known = tuple(_LABEL_OF.values())
    reading = Reading().add(left_out, notes=notes)
    return corpus_manifest(utterances, labels, known, LABELS, reading)


def _tables(folder):
    """Tables of labels in a folder or in its `Labels/`, CSV before JSON."""
    return sorted(
        path
        for here in (folder, *visible(folder, "[Ll]abels"))
        for path in visible(here)
        if _TABLE.fullmatch(path.name.lower())
    )


def _rows(table):
    """Rows of the table with the numbers of their lines, or of entries."""
    optional = ("SpkrID", "Gender")
    if table.suffix.lower() == ".csv":
        return read_table(table, _COLUMNS, key="FileName", optional=optional)
    try:
        entries = json.loads(read_text(table)).items()
        return [
            (
                number,
                {"FileName": name}
                | {
                    column: str(entry.get(column, "")).strip()
                    if column in optional
                    else str(entry[column]).strip()
                    for column in _COLUMNS[1:]
                },
            )
            for number, (name, entry) in enumerate(entries, start=1)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorpusError(
            f"{table} must be an object of files, each with {_COLUMNS[1:]}. "
            f"Received: {error!r}"
        ) from error


def _utterance(audio, folder, table, line, row):
    name = row["FileName"].removesuffix(".wav")
    if row["EmoClass"] not in _LABEL_OF:
        raise CorpusError(
            f"{table}, line {line}: unknown label {row['EmoClass']!r}. Known: "
            f"{', '.join(_LABEL_OF)}, {_NO_AGREEMENT}."
        )
    speaker, sex = row["SpkrID"], row["Gender"].lower()
    if speaker.lower() in ("", "unknown"):
        _, _, rest = name.partition("_")
        if not rest:
            raise CorpusError(
                f"{table}, line {line}: cannot read the podcast from {name!r}. "
                "Expected a file such as MSP-PODCAST_0001_0008.wav."
            )
        speaker = f"unknown-{rest.split('_')[0]}"
    return Utterance(
        id=name,
        path=str(audio.get(name, folder / "Audios" / f"{name}.wav")),
        label=_LABEL_OF[row["EmoClass"]],
        speaker=speaker,
        sex=sex if sex in SEXES else None,
        corpus="msp_podcast",
        partition=_partition(row["Split_Set"]),
    )


def _partition(name):
    name = name.strip().lower()
    return _PARTITION_OF.get(name, name)


def _check_version(folder, version):
    if version is None:
        return
    texts = [folder.resolve().name]
    for file in sorted(visible(folder, "[Rr][Ee][Aa][Dd]*.txt")):
        texts.append(file.read_text(encoding="utf-8", errors="replace")[:2000])
    found = [x for text in texts for x in _RELEASE.findall(text)][:1]
    if found != [str(version)]:
        raise CorpusError(
            f"{folder} must hold release {version}. Its name and readme say: "
            f"{found[0] if found else 'nothing'}. Releases differ in their "
            "partitions, so scores on two of them cannot be compared."
        )


def _check_partitions(file, table, rows):
    expected = {
        row["FileName"]: _partition(row["Split_Set"]) for _, row in rows
    }
    found, places = {}, {}
    lines = read_text(file).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = [field.strip() for field in re.split("[;,\t]", line)][:2]
        fields.sort(key=lambda field: field.endswith(".wav"))
        if len(fields) < 2 or not fields[1].endswith(".wav"):
            raise CorpusError(
                f"{file}, line {number}: cannot read {line!r}. Expected a "
                "partition and a .wav file, with a semicolon between."
            )
        check_unique(places, fields[1], f"{file}, line {number}")
        found[fields[1]] = _partition(fields[0]), number
    unlabelled = [
        name
        for name in found.keys() - expected.keys()
        if found[name][0] == _UNLABELLED
    ]
    for name in unlabelled:
        del found[name]
    both = expected.keys() & found.keys()
    for what, wrong in (
        (f"not in {table.name}", sorted(found.keys() - expected.keys())),
        (f"in {table.name} only", sorted(expected.keys() - found.keys())),
        (
            f"in another partition than in {table.name}",
            sorted(name for name in both if found[name][0] != expected[name]),
        ),
    ):
        if wrong:
            name = wrong[0]
            at = f" (line {found[name][1]})" if name in found else ""
            raise CorpusError(
                f"{file} is of another release than {table}: {len(wrong)} of "
                f"{len(expected)} files are {what}, first {name}{at}. Unpack "
                "one release into one folder."
            )
    return len(unlabelled)
