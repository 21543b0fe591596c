"""RAVDESS, the speech part: 1440 clips, 24 actors."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import BASIC_EMOTIONS
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._reading import unknown_code
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import CC_BY_NC_SA
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    CC_BY_NC_SA,
    "https://zenodo.org/records/1188976",
    record="1188976",
    file="Audio_Speech_Actors_01-24.zip",
    checksum="md5:bc696df654c87fed845eb13823edef8a",
)

# In the order of the emotion codes 01 ... 08.
LABELS = ("neutral", "calm", *BASIC_EMOTIONS)
RELEASE = Release(dict.fromkeys(LABELS, 192) | {"neutral": 96}, speakers=24)
_TEXTS = {
    "01": "Kids are talking by the door",
    "02": "Dogs are sitting by the door",
}
# Modality 03 is audio only, vocal channel 01 is speech (02 is song).
_NAME = re.compile(r"03-01-(\d\d)-(0[12])-(0[12])-(0[12])-(\d\d)")
_OTHER = {"03-02": "songs", "01-01": "videos", "02-01": "videos"}
_LABEL_OF = {f"{code:02d}": x for code, x in enumerate(LABELS, start=1)}
_LAYOUT = (
    "speech files named 03-01-EE-II-SS-RR-AA such as "
    "Actor_01/03-01-05-01-02-01-01.wav, in `Actor_NN/` or directly in the "
    "folder, .wav or .flac."
)


def load(root, labels=None):
    """Reads the speech part of RAVDESS from its file names.

    Songs and videos in the same folders are left out.

    Args:
        root: Folder with `Actor_01/` ... `Actor_24/`, or with the audio files
            themselves.
        labels: Labels to keep, in this order. None means all eight.

    Returns:
        `Manifest` with speaker (`"01"` ... `"24"`), sex and text.

    Raises:
        CorpusError: The folder has no such files, or one with an unknown
            emotion.

    References:
        Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional
        Speech and Song", PLoS ONE 13(5), 2018.
    """
    utterances, reading = read_names(
        root, "RAVDESS", _LAYOUT, _utterance, RELEASE
    )
    return corpus_manifest(utterances, labels, LABELS, LABELS, reading, RELEASE)


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match:
        return _OTHER.get(name[:5])
    emotion, _, statement, _, actor = match.groups()
    if emotion not in _LABEL_OF:
        raise unknown_code(path, emotion, _LABEL_OF)
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[emotion],
        speaker=actor,
        sex="male" if int(actor) % 2 else "female",
        text=_TEXTS[statement],
        corpus="ravdess",
    )
