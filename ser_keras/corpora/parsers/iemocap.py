"""IEMOCAP: dialogues of ten actors in five sessions."""

import dataclasses
import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import check_audio
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import find_root
from ser_keras.corpora.parsers._reading import read_annotations
from ser_keras.corpora.parsers._reading import visible
from ser_keras.corpora.parsers._reading import wrong_layout
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source
from ser_keras.corpora.reading import Reading

SOURCE = Source("by agreement with its owners", "https://sail.usc.edu/iemocap")

LABELS = ("neutral", "happiness", "sadness", "anger")
"""The four classes of most published results, and their order here."""

SCRIPTS = ("all", "improvised", "scripted")

_LABEL_OF = {
    "neu": "neutral",
    "hap": "happiness",
    "sad": "sadness",
    "ang": "anger",
    "exc": "excitement",
    "fru": "frustration",
    "sur": "surprise",
    "fea": "fear",
    "dis": "disgust",
    "oth": "other",
}
_NO_AGREEMENT = "xxx"
RELEASE = Release(
    {
        "neutral": 1708,
        "happiness": 595,
        "sadness": 1084,
        "anger": 1103,
        "excitement": 1041,
        "frustration": 1849,
        "surprise": 107,
        "fear": 40,
        "disgust": 2,
        "other": 3,
    },
    speakers=10,
    sessions=5,
)
_SEX_OF = {"F": "female", "M": "male"}
# "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]". All other
# lines are comments and ratings of single raters.
_LINE = re.compile(
    r"\[[\d.]+ - [\d.]+\]\t(?P<id>Ses\d\d[FM]_\S+_[FM]\S*)\t"
    r"(?P<label>[^\t]*)\t\["
)
_ID = re.compile(
    r"(?P<session>Ses\d\d)[FM]_(?P<part>impro|script)\S*_(?P<sex>[FM])\w*"
)
_SPOKEN = re.compile(r"(?P<id>Ses\S+) \[[\d.]+-[\d.]+\]: (?P<text>.*)")
_LAYOUT = (
    "the original release's IEMOCAP_full_release/ with "
    "Session1/sentences/wav/<dialogue>/<utterance>.wav and "
    "Session1/dialog/EmoEvaluation/<dialogue>.txt, Session2/, ..."
)


def load(root, labels=None, scripts="all", merge_excited=True):
    """Reads IEMOCAP from its original release.

    With the defaults: the 5531 utterances of four classes of most published
    results. Utterances on which the raters do not agree (`xxx`) are left out.

    Args:
        root: Folder with `Session1/` ... `Session5/`.
        labels: Labels to keep, in this order; `"all"` for all ten (nine when
            excitement is merged). None means `LABELS`.
        scripts: `"all"`, `"improvised"` or `"scripted"` dialogues.
        merge_excited: Whether excitement counts as happiness.

    Returns:
        `Manifest`. The speaker of `Ses01F_impro01_M003` is `"Ses01M"`: the
        first letter says only who wore the motion capture markers. Utterances
        have a text if the folder has the transcriptions.

    Raises:
        CorpusError: The folder has another layout, an annotation has an
            unknown label, or annotated utterances occur twice or have no
            audio.

    References:
        Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture
        database", Language Resources and Evaluation 42(4), 2008.
    """
    if scripts not in SCRIPTS:
        raise ValueError(
            f"`scripts` must be one of {SCRIPTS}. Received: scripts={scripts!r}"
        )
    folder = find_root(root, "IEMOCAP", _LAYOUT, _is_root)
    utterances, places = [], {}
    for session in sorted(visible(folder, "Session*")):
        annotations = session / "dialog" / "EmoEvaluation"
        for file in sorted(visible(annotations, "Ses*.txt")):
            utterances += _dialogue(session, file, places)
    if not utterances:
        raise wrong_layout(folder, "IEMOCAP", _LAYOUT)
    reading = Reading().add(
        {
            f"no agreement of the raters ({_NO_AGREEMENT})": len(places)
            - len(utterances)
        }
    )
    known, release = list(_LABEL_OF.values()), RELEASE
    if merge_excited:
        known.remove("excitement")
        utterances = [
            dataclasses.replace(u, label="happiness")
            if u.label == "excitement"
            else u
            for u in utterances
        ]
        release = release.merged({"excitement": "happiness"})
    every = utterances
    if scripts != "all":
        part = "_impro" if scripts == "improvised" else "_script"
        utterances = [u for u in utterances if part in u.id]
        other = len(every) - len(utterances)
        reading = reading.add({f"dialogues that are not {scripts}": other})
    manifest = corpus_manifest(
        utterances, labels, known, LABELS, reading, release, every
    )
    check_audio(folder, manifest)
    return manifest


def _is_root(folder):
    return next(folder.glob("Session*/dialog/EmoEvaluation"), None) is not None


def _dialogue(session, file, places):
    texts = _texts(session / "dialog" / "transcriptions" / file.name)
    audio = session / "sentences" / "wav" / file.stem
    for name, label in read_annotations(
        file, _LINE, _ID, _LABEL_OF, _NO_AGREEMENT, places
    ):
        yield Utterance(
            id=name[0],
            path=str(audio / f"{name[0]}.wav"),
            label=label,
            speaker=name["session"] + name["sex"],
            session=name["session"],
            sex=_SEX_OF[name["sex"]],
            text=texts.get(name[0]),
            corpus="iemocap",
        )


def _texts(file):
    if not file.is_file():
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    spoken = (_SPOKEN.match(line) for line in lines)
    return {m["id"]: m["text"].strip() for m in spoken if m}
