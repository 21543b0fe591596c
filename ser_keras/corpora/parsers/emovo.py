"""EMOVO: 588 Italian clips of six actors."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    "for research, see its page",
    "http://voice.fub.it/activities/corpora/emovo/index.html",
)

LABELS = ("neutral", *BASIC_EMOTIONS)
RELEASE = Release(dict.fromkeys(LABELS, 84), speakers=6)
# First letters of the Italian words: gioia, tristezza, rabbia, paura ...
_LABEL_OF = {
    "neu": "neutral",
    "gio": "happiness",
    "tri": "sadness",
    "rab": "anger",
    "pau": "fear",
    "dis": "disgust",
    "sor": "surprise",
}
_NAME = re.compile(
    r"(?P<label>[a-z]{3})-(?P<speaker>[fm][1-3])-(?P<text>[bdln]\d)"
)
_LAYOUT = (
    "files such as f1/gio-f1-b1.wav (emotion, speaker, sentence), in the "
    "speakers' folders or directly in the folder."
)


def load(root, labels=None):
    """Reads EMOVO from its file names.

    Args:
        root: Folder with `f1/` ... `m3/`, or with the files.
        labels: Labels to keep, in this order. None means all seven.

    Returns:
        `Manifest` with speaker, sex and the code of the sentence as text.

    Raises:
        CorpusError: The folder has no such files.

    References:
        Costantini et al., "EMOVO Corpus: an Italian emotional speech
        database", LREC 2014.
    """
    utterances, reading = read_names(
        root, "EMOVO", _LAYOUT, _utterance, RELEASE
    )
    return corpus_manifest(utterances, labels, LABELS, LABELS, reading, RELEASE)


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match or match["label"] not in _LABEL_OF:
        return None
    speaker = match["speaker"]
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[match["label"]],
        speaker=speaker,
        sex="female" if speaker[0] == "f" else "male",
        text=match["text"],
        corpus="emovo",
    )
