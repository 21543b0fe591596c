"""nEMO: 4481 Polish clips of nine actors."""

from ser_keras.corpora.manifest import SEXES
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import check_audio
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import find_audio
from ser_keras.corpora.parsers._reading import find_root
from ser_keras.corpora.parsers._reading import read_table
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import CC_BY_NC_SA
from ser_keras.corpora.parsers._source import Source
from ser_keras.corpora.reading import Reading

SOURCE = Source(CC_BY_NC_SA, "https://github.com/amu-cai/nEMO")

LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "surprise")
RELEASE = Release(
    {
        "neutral": 809,
        "happiness": 749,
        "sadness": 769,
        "anger": 749,
        "fear": 736,
        "surprise": 669,
    },
    speakers=9,
)
# The table has "surprised", the release's description both spellings.
_LABEL_OF = {label: label for label in LABELS} | {"surprised": "surprise"}
_COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id")
_LAYOUT = "the repository's data.tsv and samples/<file_id>.wav."


def load(root, labels=None):
    """Reads nEMO from its table.

    Args:
        root: Folder with `data.tsv` and `samples/`.
        labels: Labels to keep, in this order. None means all six.

    Returns:
        `Manifest` with speaker, sex and text.

    Raises:
        CorpusError: The folder has another layout, the table lacks a column,
            has an unknown label or a clip twice, or audio is missing.

    References:
        Christop, "nEMO: Dataset of emotional speech in Polish", LREC-COLING
        2024.
    """
    folder = find_root(
        root, "nEMO", _LAYOUT, lambda here: (here / "data.tsv").is_file()
    )
    table = folder / "data.tsv"
    rows = read_table(table, _COLUMNS, "\t", "file_id", optional=("raw_text",))
    listed = {row["file_id"].removesuffix(".wav") for _, row in rows}
    audio, left_out = find_audio(folder, wanted=lambda name, _: name in listed)
    utterances = []
    for line, row in rows:
        if row["emotion"] not in _LABEL_OF:
            raise CorpusError(
                f"{table}, line {line}: unknown emotion {row['emotion']!r}. "
                f"Known: {sorted(_LABEL_OF)}"
            )
        sex = (row.get("gender") or row.get("sex") or "").lower()
        name = row["file_id"].removesuffix(".wav")
        utterances.append(
            Utterance(
                id=name,
                path=str(audio.get(name, folder / "samples" / f"{name}.wav")),
                label=_LABEL_OF[row["emotion"]],
                speaker=row["speaker_id"],
                sex=sex if sex in SEXES else None,
                text=row["raw_text"] or None,
                corpus="nemo",
            )
        )
    check_audio(folder, utterances)
    left_out["audio that is not in data.tsv"] = len(audio.keys() - listed)
    return corpus_manifest(
        utterances, labels, LABELS, LABELS, Reading().add(left_out), RELEASE
    )
