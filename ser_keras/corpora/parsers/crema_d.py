"""CREMA-D: 7442 clips of 91 actors, with intended and perceived emotion."""

import dataclasses
import pathlib
import re

from ser_keras.corpora.manifest import SEXES
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import find_files
from ser_keras.corpora.parsers._reading import read_names
from ser_keras.corpora.parsers._reading import read_table
from ser_keras.corpora.parsers._reading import visible
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source

SOURCE = Source(
    "Open Database License 1.0, https://opendatacommons.org/licenses/odbl",
    "https://github.com/CheyneyComputerScience/CREMA-D (git lfs)",
)

LABELS = ("neutral", "happiness", "sadness", "anger", "fear", "disgust")
RELEASE = Release(dict.fromkeys(LABELS, 1271) | {"neutral": 1087}, speakers=91)
VOTES = {
    "intended": None,
    "voice": "VoiceVote",
    "face": "FaceVote",
    "multimodal": "MultiModalVote",
}
_LABEL_OF = {
    "N": "neutral",
    "H": "happiness",
    "S": "sadness",
    "A": "anger",
    "F": "fear",
    "D": "disgust",
}
_NAME = re.compile(
    r"(?P<actor>1\d{3})_(?P<text>[A-Z]{3})_(?P<label>[NHSAFD])[A-Z]{2}_\w+"
)
_LAYOUT = (
    "files named AAAA_TTT_EEE_LL (actor, sentence, emotion, level) such as "
    "AudioWAV/1001_DFA_ANG_XX.wav, in `AudioWAV/` or directly in the folder; "
    "VideoDemographics.csv for the sex of the actors; "
    "processedResults/summaryTable.csv for voted labels."
)


def load(root, labels=None, votes="intended"):
    """Reads CREMA-D, with the acted or the perceived emotions.

    Args:
        root: Folder with `AudioWAV/`, or with the audio files.
        labels: Labels to keep, in this order. None means all six.
        votes: `"intended"` for the acted emotion; `"voice"`, `"face"` or
            `"multimodal"` for the one that most raters perceived in the audio,
            the silent video or both. Clips with a tie are left out.

    Returns:
        `Manifest` with speaker, the code of the sentence as text, and sex if
        `VideoDemographics.csv` is there.

    Raises:
        CorpusError: The folder has no such files, or votes are missing or
            occur twice.

    References:
        Cao et al., "CREMA-D: Crowd-sourced emotional multimodal actors
        dataset", IEEE Trans. Affective Computing 5(4), 2014.
    """
    if votes not in VOTES:
        raise ValueError(
            f"`votes` must be one of {tuple(VOTES)}. Received: votes={votes!r}"
        )
    every, reading = read_names(root, "CREMA-D", _LAYOUT, _utterance, RELEASE)
    sexes = _sexes(root)
    utterances = every = [
        dataclasses.replace(u, sex=sexes.get(u.speaker)) for u in every
    ]
    if VOTES[votes]:
        utterances = _voted(root, every, VOTES[votes])
        tied = len(every) - len(utterances)
        reading = reading.add({f"clips with a tie of the {votes} votes": tied})
    return corpus_manifest(
        utterances, labels, LABELS, LABELS, reading, RELEASE, every
    )


def _utterance(name, path):
    match = _NAME.fullmatch(name)
    if not match:
        return None
    return Utterance(
        id=name,
        path=str(path),
        label=_LABEL_OF[match["label"]],
        speaker=match["actor"],
        text=match["text"],
        corpus="crema_d",
    )


def _sexes(root):
    file = next(_find(root, "VideoDemographics.csv"), None)
    if file is None:
        return {}
    rows = read_table(
        file, ("ActorID", "Sex"), key="ActorID", optional=("Sex",)
    )
    for line, row in rows:
        if row["Sex"] and row["Sex"].lower() not in SEXES:
            raise CorpusError(
                f"{file}, line {line}: unknown sex {row['Sex']!r}. Known: "
                f"{SEXES}"
            )
    return {row["ActorID"]: row["Sex"].lower() or None for _, row in rows}


def _voted(root, utterances, column):
    file = next(_find(root, "summaryTable.csv"), None)
    if file is None:
        raise CorpusError(
            f"Voted labels need processedResults/summaryTable.csv in {root}. "
            "It is part of the release; or use votes='intended'."
        )
    votes = {}
    for line, row in read_table(file, ("FileName", column), key="FileName"):
        letters = row[column].split(":")
        unknown = [letter for letter in letters if letter not in _LABEL_OF]
        if unknown:
            raise CorpusError(f"{file}, line {line}: unknown votes {unknown}")
        votes[row["FileName"]] = letters
    without = [u.id for u in utterances if u.id not in votes]
    if without:
        raise CorpusError(
            f"{file} has no vote for {len(without)} of {len(utterances)} "
            f"clips, such as {', '.join(without[:3])}."
        )
    return [
        dataclasses.replace(u, label=_LABEL_OF[votes[u.id][0]])
        for u in utterances
        if len(votes[u.id]) == 1
    ]


def _find(root, name):
    """Tables of this name in the release, beside its audio or above it."""
    folder = pathlib.Path(root).expanduser()
    yield from (x for x in find_files(folder) if x.name == name)
    for above in ("..", "../processedResults"):
        yield from visible(folder, f"{above}/{name}")
