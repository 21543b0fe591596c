"""Spelling of labels: which names of different lists are one emotion."""

from __future__ import annotations

import collections
from collections.abc import Iterable

#: Dict from each emotion, as the parsers name it, to other words for it.
SYNONYMS = {
    "neutral": ("neu", "neutrality"),
    "happiness": ("happy", "hap", "joy", "joyful"),
    "sadness": ("sad",),
    "anger": ("angry", "ang"),
    "fear": ("fearful", "fea", "afraid", "scared"),
    "disgust": ("disgusted", "dis"),
    "surprise": ("surprised", "sur", "pleasant surprise"),
    "calm": ("calmness",),
    "boredom": ("bored",),
    "contempt": ("contemptuous",),
    "excitement": ("excited", "exc"),
    "frustration": ("frustrated", "fru"),
}
_EMOTION_OF = {
    word: emotion
    for emotion, words in SYNONYMS.items()
    for word in (emotion, *words)
}


def emotion_of(label: str) -> str:
    """The parsers' name of a label; a label that is not known is itself.

    >>> emotion_of(" Angry "), emotion_of("Awe")
    ('anger', 'Awe')
    """
    return _EMOTION_OF.get(_word(label), label)


def one_spelling(labels: Iterable[str]) -> dict[str, str]:
    """One spelling for all labels of a list that mean the same.

    Names of a list are kept as they are, without blanks at an end, unless two
    of them are one label: those that differ in case become lower case. Where
    two words are one emotion, such as `"joy"` and `"happy"`, all labels get
    the names of `SYNONYMS`.

    Args:
        labels: Labels of a list.

    Returns:
        Dict from each label to its spelling.

    >>> one_spelling(["Sad", "angry", "ANGRY "])
    {'Sad': 'Sad', 'angry': 'angry', 'ANGRY ': 'angry'}
    >>> one_spelling(["Sad", "joy", "happy"])
    {'Sad': 'sadness', 'joy': 'happiness', 'happy': 'happiness'}
    """
    labels = list(dict.fromkeys(labels))
    words: dict[str, set[str]] = collections.defaultdict(set)
    spellings: dict[str, set[str]] = collections.defaultdict(set)
    for label in labels:
        words[emotion_of(_word(label))].add(_word(label))
        spellings[_word(label)].add(_trimmed(label))
    synonyms = any(len(found) > 1 for found in words.values())
    return {
        label: emotion_of(_word(label))
        if synonyms and _word(label) in _EMOTION_OF
        else _trimmed(label)
        if len(spellings[_word(label)]) == 1
        else _word(label)
        for label in labels
    }


def _trimmed(label):
    return " ".join(label.split())


def _word(label):
    return _trimmed(label).casefold()
