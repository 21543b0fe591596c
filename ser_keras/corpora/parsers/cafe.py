"""CaFE: 936 clips of twelve Canadian French actors."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import CC_BY_NC_SA
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    CC_BY_NC_SA,
    "https://zenodo.org/records/1478765",
    record="1478765",
    file="CaFE_48k.zip",
)

LABELS = ("neutral", *BASIC_EMOTIONS)
# Twelve actors, six sentences, two intensities but of neutral speech.
RELEASE = Release(dict.fromkeys(LABELS, 144) | {"neutral": 72}, speakers=12)
# Colère, Dégoût, Joie, Neutre, Peur, Surprise, Tristesse.
_LABEL_OF = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
# As numbered in the Readme of the release.
_TEXTS = {
    "1": "Un cheval fou dans mon jardin",
    "2": "Deux ânes aigris au pelage brun",
    "3": "Trois cygnes aveugles au bord du lac",
    "4": "Quatre vieilles truies éléphantesques",
    "5": "Cinq pumas fiers et passionnés",
}
_NAME = re.compile(r"(?P<actor>\d\d)-(?P<label>[CDJNPST])-[12]-(?P<text>[1-6])")
_LAYOUT = (
    "files named AA-E-I-S (actor, emotion, intensity, sentence) such as "
    "Colère/Fort/01-C-2-1.wav, .wav or .aiff. Pass the folder of one sample "
    "rate, such as CaFE_48k/."
)


def load(root, labels=None):
    """Reads CaFE from its file names.

    Args:
        root: Folder with `Colère/`, `Dégoût/` and so on, or with the files.
        labels: Labels to keep, in this order. None means all seven.

    Returns:
        `Manifest` with speaker, sex, and text (for the sixth sentence, its
        number).

    Raises:
        CorpusError: The folder has no such files, or two releases.

    References:
        Gournay, Lahaie and Lefebvre, "A Canadian French emotional speech
        dataset", MMSys 2018.
    """
    utterances, reading = read_names(root, "CaFE", _LAYOUT, _utterance, RELEASE)
    return corpus_manifest(utterances, labels, LABELS, LABELS, reading, RELEASE)


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match:
        return None
    actor = match["actor"]
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[match["label"]],
        speaker=actor,
        sex="male" if int(actor) % 2 else "female",
        text=_TEXTS.get(match["text"], match["text"]),
        corpus="cafe",
    )
