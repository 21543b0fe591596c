"""MSP-Podcast: turns of podcasts, in the release's own partitions."""

import re
import warnings

from ser_keras.corpora.manifest import SEXES
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import check_audio
from ser_keras.corpora.parsers._reading import check_unique
from ser_keras.corpora.parsers._reading import corpus_folder
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_table
from ser_keras.corpora.parsers._reading import read_text
from ser_keras.corpora.parsers._reading import visible
from ser_keras.corpora.parsers._reading import wrong_layout
from ser_keras.corpora.parsers._source import Source

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
_LAYOUT = (
    "Labels/labels_consensus.csv (labels_concensus.csv in early releases) "
    "and Audios/MSP-PODCAST_*.wav."
)


def load(root, labels=None, version=None):
    """Reads a release of MSP-Podcast.

    Turns on which the raters do not agree (`X`) are left out. The `partition`
    of an utterance is `"train"`, `"development"`, `"test1"` ...; the protocol
    `ser_keras.protocols.Partitions` makes the fold. A `Partitions.txt` must
    agree with the labels, except for Test3, whose labels are not published and
    whose files may be in it alone; a warning counts these.

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
    folder = corpus_folder(root, "MSP-Podcast", _LAYOUT)
    tables = sorted(visible(folder, "Labels/labels_con[sc]ensus.csv"))
    if not tables:
        raise wrong_layout(folder, "MSP-Podcast", _LAYOUT)
    _check_version(folder, version)
    audio = next(visible(folder, "Audio*"), folder / "Audios")
    rows = read_table(tables[0], _COLUMNS, key="FileName")
    for file in visible(folder, "[Pp]artitions.txt"):
        _check_partitions(file, tables[0], rows)
    utterances = [
        _utterance(audio, tables[0], line, row)
        for line, row in rows
        if row["EmoClass"] != _NO_AGREEMENT
    ]
    check_audio(folder, utterances)
    known = tuple(_LABEL_OF.values())
    return corpus_manifest(utterances, labels, known, LABELS)


def _utterance(audio, table, line, row):
    name = row["FileName"].removesuffix(".wav")
    if row["EmoClass"] not in _LABEL_OF:
        raise CorpusError(
            f"{table}, line {line}: unknown label {row['EmoClass']!r}. Known: "
            f"{', '.join(_LABEL_OF)}, {_NO_AGREEMENT}."
        )
    speaker, sex = row["SpkrID"], row["Gender"].lower()
    if speaker.lower() == "unknown":
        _, _, rest = name.partition("_")
        if not rest:
            raise CorpusError(
                f"{table}, line {line}: cannot read the podcast from {name!r}. "
                "Expected a file such as MSP-PODCAST_0001_0008.wav."
            )
        speaker = f"unknown-{rest.split('_')[0]}"
    return Utterance(
        id=name,
        path=str(audio / f"{name}.wav"),
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
    if unlabelled:
        warnings.warn(
            f"{file}: {len(unlabelled)} files of Test3 have no labels in "
            f"{table.name} and are left out.",
            stacklevel=4,
        )
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
