"""TESS: 2800 clips of two Canadian actresses."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    "CC BY-NC-ND 4.0, https://creativecommons.org/licenses/by-nc-nd/4.0",
    "https://tspace.library.utoronto.ca/handle/1807/24487",
)

LABELS = ("neutral", *BASIC_EMOTIONS)
RELEASE = Release(dict.fromkeys(LABELS, 400), speakers=2)
_LABEL_OF = {
    "neutral": "neutral",
    "happy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "fear": "fear",
    "disgust": "disgust",
    "ps": "surprise",  # Pleasant surprise.
}
# One file of the release is named OA_bite_neutral.wav.
_NAME = re.compile(r"(?P<speaker>OAF?|YAF)_(?P<word>[a-z]+)_(?P<label>[a-z]+)")
_LAYOUT = (
    "files such as OAF_angry/OAF_back_angry.wav, in folders of any name or "
    "directly in the folder."
)


def load(root, labels=None):
    """Reads TESS from its file names.

    TESS has two speakers, so each fold of a speaker-independent protocol tests
    a single one.

    Args:
        root: Folder with `OAF_angry/` and so on, or with the files.
        labels: Labels to keep, in this order. None means all seven.

    Returns:
        `Manifest`; text is the word that follows "Say the word".

    Raises:
        CorpusError: The folder has no such files.

    References:
        Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)",
        2020, doi 10.5683/SP2/E8H2MF.
    """
    utterances, reading = read_names(root, "TESS", _LAYOUT, _utterance, RELEASE)
    return corpus_manifest(utterances, labels, LABELS, LABELS, reading, RELEASE)


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match or match["label"] not in _LABEL_OF:
        return None
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[match["label"]],
        speaker="YAF" if match["speaker"] == "YAF" else "OAF",
        sex="female",
        text=match["word"],
        corpus="tess",
    )
