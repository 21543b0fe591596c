"""What is known of published encoders: licences, and emotion corpora heard.

Scores on a corpus that an encoder was trained on with its labels say nothing
of new speech. No table can be complete: a model that is not here may have
heard anything.
"""

from __future__ import annotations

from typing import NamedTuple

# Ma et al., "EmoBox", Interspeech 2024, table 1: those that have a parser here.
_EMOBOX = (
    "cafe",
    "crema_d",
    "emodb",
    "emovo",
    "iemocap",
    "msp_podcast",
    "ravdess",
    "savee",
    "tess",
)


class KnownEncoder(NamedTuple):
    """A published encoder.

    Args:
        name: Part of the names of its folder or on the hub, in lower case.
        licence: Of the weights, and who published them.
        heard: Corpora of emotion that it was trained on, by their names here.
    """

    name: str
    licence: str = ""
    heard: tuple[str, ...] = ()


#: The first whose name is in an encoder's name counts.
KNOWN = (
    # Ma et al., "emotion2vec", ACL Findings 2024; its models "plus" were
    # fine-tuned on EmoBox' corpora, the first one was pre-trained on some.
    KnownEncoder("emotion2vec", heard=_EMOBOX),
    # Wagner et al., "Dawn of the transformer era in speech emotion
    # recognition", TPAMI 2023: fine-tuned on MSP-Podcast.
    KnownEncoder(
        "emotion-msp-dim", "CC BY-NC-SA 4.0 (audEERING)", ("msp_podcast",)
    ),
    # Yang et al., "SUPERB", Interspeech 2021: emotion recognition on IEMOCAP.
    KnownEncoder("superb-er", heard=("iemocap",)),
    KnownEncoder("emotion-recognition-wav2vec2-iemocap", heard=("iemocap",)),
    # Its card on the hub: fine-tuned on RAVDESS.
    KnownEncoder(
        "wav2vec2-lg-xlsr-en-speech-emotion-recognition", heard=("ravdess",)
    ),
    KnownEncoder("whisper", "MIT (OpenAI)"),
)


def known_encoder(name: str) -> KnownEncoder:
    """What is known of an encoder, by the name of its folder or on the hub.

    Args:
        name: Such as `"openai/whisper-base"`; letter case does not matter.

    >>> known_encoder("/models/whisper-base").licence
    'MIT (OpenAI)'
    >>> known_encoder("superb/hubert-base-superb-er").heard
    ('iemocap',)
    >>> known_encoder("mine")
    KnownEncoder(name='', licence='', heard=())
    """
    name = name.lower()
    for known in KNOWN:
        if known.name in name:
            return known
    return KnownEncoder("")
