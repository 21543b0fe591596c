import pytest

from ser_keras.corpora.spelling import SYNONYMS
from ser_keras.corpora.spelling import emotion_of
from ser_keras.corpora.spelling import one_spelling


def test_no_word_is_of_two_emotions():
    words = [w for e, others in SYNONYMS.items() for w in (e, *others)]
    assert len(set(words)) == len(words)
    assert all(word == word.casefold().strip() for word in words)


@pytest.mark.parametrize(
    ("labels", "spelled"),
    [
        # Names of a list's own are kept.
        (
            ["angry", "Happy", "Très content"],
            ["angry", "Happy", "Très content"],
        ),
        (["angry ", "sad"], ["angry", "sad"]),
        (["Angry", "angry", "Sad"], ["angry", "angry", "Sad"]),
        (["very  sad", "Very sad"], ["very sad", "very sad"]),
        (["anger", "ANGRY", "Awe"], ["anger", "anger", "Awe"]),
        (["joy", "happy", "sad"], ["happiness", "happiness", "sadness"]),
        (["Weiß", "WEISS"], ["weiss", "weiss"]),
    ],
)
def test_spellings_of_one_label_become_one(labels, spelled):
    assert list(one_spelling(labels).values()) == spelled


def test_words_of_emotions():
    assert [emotion_of(x) for x in ("Joy", " sad", "exc", "cold anger")] == [
        "happiness",
        "sadness",
        "excitement",
        "cold anger",
    ]
