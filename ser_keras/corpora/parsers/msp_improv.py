"""MSP-IMPROV: dialogues of twelve actors in six sessions."""

import re

from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._reading import corpus_manifest
from ser_keras.corpora.parsers._reading import find_audio
from ser_keras.corpora.parsers._reading import find_root
from ser_keras.corpora.parsers._reading import read_annotations
from ser_keras.corpora.parsers._reading import visible
from ser_keras.corpora.parsers._release import Release
from ser_keras.corpora.parsers._source import Source
from ser_keras.corpora.reading import Reading

SOURCE = Source(
    "by agreement with its owners",
    "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html",
)

LABELS = ("neutral", "happiness", "sadness", "anger")
SCENARIOS = {
    "P": "speech between the takes",
    "R": "the target sentence, read",
    "S": "improvised turns without the target sentence",
    "T": "the target sentence, improvised",
}
_LABEL_OF = {
    "N": "neutral",
    "H": "happiness",
    "S": "sadness",
    "A": "anger",
    "O": "other",
}
_NO_AGREEMENT = "X"
# Of `other` and of clips without agreement, 640 in all.
RELEASE = Release(
    {"neutral": 3477, "happiness": 2644, "sadness": 885, "anger": 792},
    speakers=12,
    sessions=6,
)
_SEX_OF = {"F": "female", "M": "male"}
# "UTD-IMPROV-S01A-F01-S-FM01.avi; N; A:3.0; V:3.5; D:3.0 ; N:4.2;". All other
# lines are ratings of single raters.
_LINE = re.compile(
    r"(?:UTD|MSP)-IMPROV-(?P<id>\S+)\.(?:avi|wav)\s*;\s*(?P<label>\w+)\s*;"
)
_ID = re.compile(
    r"S(?P<session>\d\d)(?P<target>[A-Z])-(?P<speaker>[FM]\d\d)-"
    r"(?P<scenario>[PRST])-\w+"
)
_LAYOUT = (
    "Evalution.txt (or Evaluation.txt) and files such as "
    "session1/S01A/S/MSP-IMPROV-S01A-F01-S-FM01.wav, in `Audio/` or directly "
    "in the folder."
)


def load(root, labels=None, scenarios="PRST"):
    """Reads MSP-IMPROV from its original release.

    Clips on which the raters do not agree (`X`) are left out.

    Args:
        root: Folder with the evaluation file.
        labels: Labels to keep, in this order; `"all"` for all five. None
            means `LABELS`, without `other`.
        scenarios: Letters of the scenarios to keep, keys of `SCENARIOS`.

    Returns:
        `Manifest`. The speaker is `"F01"` ... `"M06"`; a session is a pair
        of them.

    Raises:
        CorpusError: The folder has another layout, the evaluation file has an
            unknown label or a clip twice, a clip has two files, or evaluated
            clips have no audio.

    References:
        Busso et al., "MSP-IMPROV: An acted corpus of dyadic interactions to
        study emotion perception", IEEE Trans. Affective Computing 8(1), 2017.
    """
    unknown = sorted(set(scenarios) - set(SCENARIOS))
    if unknown or not scenarios:
        raise ValueError(
            f"`scenarios` must be letters among {sorted(SCENARIOS)}. "
            f"Received: scenarios={scenarios!r}"
        )
    folder = find_root(root, "MSP-IMPROV", _LAYOUT, _tables)
    tables = _tables(folder)
    # The annotations do not name the session's folder: one listing finds all.
    found, left_out = find_audio(
        folder,
        id_of=lambda path: path.stem.split("IMPROV-")[-1],
        wanted=lambda name, path: _ID.fullmatch(name),
    )
    if not found:
        raise CorpusError(
            f"{folder} has {tables[0].name}, but no audio. Unpack the release "
            "again, with all of its sessions."
        )
    places = {}
    every = list(_read(tables[0], found, places))
    utterances = [
        u for u in every if _ID.fullmatch(u.id)["scenario"] in scenarios
    ]
    left_out |= {
        "audio without an evaluation": len(found.keys() - places.keys()),
        f"no agreement of the raters ({_NO_AGREEMENT})": len(places)
        - len(every),
        "clips of other scenarios": len(every) - len(utterances),
    }
    known = tuple(_LABEL_OF.values())
    return corpus_manifest(
        utterances,
        labels,
        known,
        LABELS,
        Reading().add(left_out),
        RELEASE,
        every,
    )


def _tables(folder):
    return sorted(visible(folder, "[Ee]val*tion.txt"))


def _read(table, found, places):
    missing, utterances = [], []
    for name, label in read_annotations(
        table, _LINE, _ID, _LABEL_OF, _NO_AGREEMENT, places
    ):
        if name[0] not in found:
            missing.append(name[0])
            continue
        utterances.append(
            Utterance(
                id=name[0],
                path=str(found[name[0]]),
                label=label,
                speaker=name["speaker"],
                session=name["session"],
                sex=_SEX_OF[name["speaker"][0]],
                text=name["target"],
                corpus="msp_improv",
            )
        )
    if missing:
        raise CorpusError(
            f"{len(missing)} of {len(missing) + len(utterances)} evaluated "
            f"clips have no audio beside {table}, the first are "
            f"{', '.join(missing[:3])}. Unpack the release again, all sessions."
        )
    return utterances
