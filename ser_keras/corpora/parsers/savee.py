"""SAVEE: 480 clips of four English actors, all male."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    "for research, after registration",
    "http://kahlan.eps.surrey.ac.uk/savee",
)

LABELS = ("neutral", *BASIC_EMOTIONS)
RELEASE = Release(dict.fromkeys(LABELS, 60) | {"neutral": 120}, speakers=4)
_LABEL_OF = {
    "n": "neutral",
    "h": "happiness",
    "sa": "sadness",
    "a": "anger",
    "f": "fear",
    "d": "disgust",
    "su": "surprise",
}
_NAME = re.compile(r"(DC|JE|JK|KL)_(n|h|sa|a|f|d|su)(\d\d)")
_LAYOUT = (
    "the folders DC/, JE/, JK/ and KL/ with files such as sa07.wav, in "
    "`AudioData/` or directly in the folder, or files such as DC_sa07.wav."
)


def load(root, labels=None):
    """Reads SAVEE from its file names.

    Args:
        root: Folder with `AudioData/`, with the speakers' folders, or with
            files whose names begin with the speaker.
        labels: Labels to keep, in this order. None means all seven.

    Returns:
        `Manifest`. Ids are `DC_sa07` in every layout; text is the number of
        the sentence, which differs from emotion to emotion.

    Raises:
        CorpusError: The folder has no such files.

    References:
        Haq and Jackson, "Speaker-dependent audio-visual emotion recognition",
        AVSP 2009.
    """
    utterances, reading = read_names(
        root, "SAVEE", _LAYOUT, _utterance, RELEASE, id_of=_id
    )
    return corpus_manifest(utterances, labels, LABELS, LABELS, reading, RELEASE)


def _id(path):
    folder = path.parent.name
    alone = "_" not in path.stem and len(folder) == 2
    return f"{folder}_{path.stem}" if alone else path.stem


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match:
        return None
    speaker, label, number = match.groups()
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[label],
        speaker=speaker,
        sex="male",
        text=f"{label}{number}",
        corpus="savee",
    )
