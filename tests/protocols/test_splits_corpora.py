import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.protocols.splits import SpeakerOverlapError
from ser_keras.protocols.splits import check_disjoint


def part(corpus):
    return Manifest([Utterance("a", "a.wav", "anger", "03", corpus=corpus)])


def test_speakers_of_two_corpora_are_different_people():
    check_disjoint(part("emodb"), part("ravdess"))


@pytest.mark.parametrize("other", ["emodb", None])
def test_the_same_or_an_unknown_corpus_overlaps(other):
    with pytest.raises(SpeakerOverlapError, match="03"):
        check_disjoint(part("emodb"), part(other))
