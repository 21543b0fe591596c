"""nEMO: 4481 Polish clips of nine actors."""

from ser_keras.corpora.manifest import SEXES
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import check_audio
from ser_keras.corpora.parsers._reading import corpus_folder
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_table
from ser_keras.corpora.parsers._reading import wrong_layout
from ser_keras.corpora.parsers._source import CC_BY_NC_SA
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(CC_BY_NC_SA, "https://github.com/amu-cai/nEMO")

LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "surprise")
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
    folder = corpus_folder(root, "nEMO", _LAYOUT)
    table = folder / "data.tsv"
    if not table.is_file():
        raise wrong_layout(folder, "nEMO", _LAYOUT)
    utterances = []
    for line, row in read_table(table, _COLUMNS, "\t", "file_id"):
        if row["emotion"] not in _LABEL_OF:
            raise CorpusError(
                f"{table}, line {line}: unknown emotion {row['emotion']!r}. "
                f"Known: {sorted(_LABEL_OF)}"
            )
        sex = row.get("gender") or row.get("sex")
        name = row["file_id"].removesuffix(".wav")
        utterances.append(
            Utterance(
                id=name,
                path=str(folder / "samples" / f"{name}.wav"),
                label=_LABEL_OF[row["emotion"]],
                speaker=row["speaker_id"],
                sex=sex if sex in SEXES else None,
                text=row["raw_text"],
                corpus="nemo",
            )
        )
    check_audio(folder, utterances)
    return corpus_manifest(utterances, labels, LABELS, LABELS)
