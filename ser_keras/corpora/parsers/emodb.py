"""Berlin Database of Emotional Speech (EMO-DB): 535 clips, 10 actors."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._reading import unknown_code
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0",
    "https://audeering.github.io/datasets/datasets/emodb.html",
    audb=("emodb", "1.4.1"),
)

LABELS = (
    "anger",
    "boredom",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
)

RELEASE = Release(
    {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    },
    speakers=10,
)

# First letters of the German words: Wut, Langeweile, Ekel, Angst, Freude ...
_LABEL_OF = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
_MALE = frozenset({"03", "10", "11", "12", "15"})
_FEMALE = frozenset({"08", "09", "13", "14", "16"})
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<label>[A-Z])[a-z]")
_LAYOUT = (
    "files named SSTTTEv (speaker, text, emotion, version) such as "
    "wav/03a01Fa.wav, in `wav/` or directly in the folder, .wav, .flac or .ogg."
)


def load(root, labels=None):
    """Reads EMO-DB from its file names.

    Args:
        root: Folder with `wav/`, or with the audio files themselves.
        labels: Labels to keep, in this order. None means those of the seven
            that the folder has, such as four in the built-in corpus.

    Returns:
        `Manifest` with speaker, sex and the code of the sentence as text.

    Raises:
        CorpusError: The folder has no such files, or one with an unknown
            emotion.

    References:
        Burkhardt et al., "A database of German emotional speech",
        Interspeech 2005.
    """
    utterances, reading = read_names(
        root, "EMO-DB", _LAYOUT, _utterance, RELEASE
    )
    found = {utterance.label for utterance in utterances}
    default = [label for label in LABELS if label in found]
    absent = [label for label in RELEASE.labels if label not in found]
    if labels is None and absent:
        text = f"no utterances of {', '.join(absent)}"
        reading = reading.add(missing=(text,))
    return corpus_manifest(
        utterances, labels, LABELS, default, reading, RELEASE
    )


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match:
        return None
    if match["label"] not in _LABEL_OF:
        raise unknown_code(path, match["label"], _LABEL_OF)
    speaker = match["speaker"]
    sex = "male" if speaker in _MALE else None
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[match["label"]],
        speaker=speaker,
        sex="female" if speaker in _FEMALE else sex,
        text=match["text"],
        corpus="emodb",
    )
