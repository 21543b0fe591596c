import numpy as np
import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import SkippedUtterance
from ser_keras.features.feature_set import join

MANIFEST = Manifest(
    [Utterance(str(i), f"{i}.wav", "anger", f"s{i}") for i in range(5)],
    ("anger", "fear"),
)
ARRAYS = [np.full((3 + i, 2), float(i)) for i in range(5)]


def test_what_it_knows():
    features = FeatureSet(MANIFEST, ARRAYS, frame_rate=100.0)
    assert len(features) == 5 and features.num_features == 2
    assert features.lengths.tolist() == [3, 4, 5, 6, 7]
    assert features.max_length == 7
    assert {array.dtype.name for array in features.arrays} == {"float32"}


def test_select_takes_the_order_and_the_labels_of_the_manifest():
    skipped = [SkippedUtterance("bad", "bad.wav", "silent")]
    features = FeatureSet(MANIFEST, ARRAYS, skipped, 100.0)
    rows = [
        Utterance("3", "3.wav", "fear", "s3"),
        Utterance("bad", "bad.wav", "fear", "s3"),
        Utterance("1", "1.wav", "anger", "s1"),
    ]
    part = features.select(Manifest(rows, ("fear", "anger")))
    assert [u.id for u in part.manifest] == ["3", "1"]
    assert part.manifest.label_ids.tolist() == [0, 1]
    assert [array[0, 0] for array in part.arrays] == [3, 1]
    assert part.skipped == tuple(skipped) and part.frame_rate == 100
    assert features.select(MANIFEST).skipped == ()
    other = Manifest([Utterance("new", "new.wav", "anger", "s")])
    with pytest.raises(ValueError, match="1 others, first .'new'"):
        features.select(other)


def test_joined_sets_have_ids_of_their_own():
    features = FeatureSet(MANIFEST, ARRAYS, frame_rate=100.0)
    assert join([features]) is features
    louder = FeatureSet(MANIFEST, [2 * x for x in ARRAYS])
    joined = join([features, louder, features.select(MANIFEST[:1])])
    names = [u.id for u in joined.manifest]
    assert names[:5] == list("01234") and names[8:] == ["3@1", "4@1", "0@2"]
    assert [array[0, 0] for array in joined.arrays[5:9]] == [0, 2, 4, 6]
    assert joined.manifest.labels == MANIFEST.labels
    assert joined.frame_rate == 100


@pytest.mark.parametrize(
    "arrays",
    [
        ARRAYS[:4],
        [*ARRAYS[:4], ARRAYS[4][:, :1]],
        [*ARRAYS[:4], ARRAYS[4][:0]],
        [*ARRAYS[:4], ARRAYS[4][0]],
    ],
    ids=["fewer", "narrower", "empty", "one_axis"],
)
def test_arrays_are_checked(arrays):
    with pytest.raises(ValueError, match="`arrays` must be one"):
        FeatureSet(MANIFEST, arrays)
