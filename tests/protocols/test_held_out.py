"""Who chooses the epoch: other speakers in each fold."""

import collections

import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.protocols.held_out import rotate_held_out
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.protocols.splits import random_folds_shared_speakers
from ser_keras.protocols.splits import speaker_groups

SEX = dict(zip("abcdefghij", ["female", "male"] * 5, strict=True))


def corpus(lacks=()):
    """Ten speakers of two classes; `lacks` is pairs of speaker and label."""
    return Manifest(
        [
            Utterance(f"{s}{label}{i}", "x", label, s, sex=SEX[s])
            for s in SEX
            for label in ("anger", "joy")
            for i in range(3)
            if (s, label) not in lacks
        ]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_speaker_has_a_turn_and_sexes_are_balanced(seed, count):
    folds = leave_one_speaker_out(corpus())
    chosen = rotate_held_out(folds, count, seed)
    turns = collections.Counter(s for names in chosen.values() for s in names)
    # Nobody is held out where tested, so the last fold may have a second one.
    assert set(turns) == set(SEX) and max(turns.values()) <= count + 1
    for fold in folds:
        names = chosen[fold.name]
        assert len(names) == count and set(names) <= set(fold.train.speakers)
        sexes = [SEX[name] for name in names]
        assert abs(sexes.count("female") - sexes.count("male")) <= 1
    sexes = [SEX[s] for names in chosen.values() for s in names]
    assert abs(sexes.count("female") - sexes.count("male")) <= 2
    assert chosen == rotate_held_out(folds, count, seed)


def test_pairs_have_speakers_of_both_sexes_in_turn():
    chosen = rotate_held_out(speaker_groups(corpus(), 5))
    sexes = [SEX[name] for (name,) in chosen.values()]
    assert sorted(map(sexes.count, set(sexes))) == [2, 3]
    assert len(set(chosen.values())) == 5


def test_nobody_without_whom_a_class_is_lacking():
    others = {(s, "joy") for s in SEX if s not in "bc"}
    folds = leave_one_speaker_out(corpus(others))
    for fold, names in rotate_held_out(folds).items():
        (speaker,) = names
        left = set("bc") - {fold, speaker}
        assert left  # Somebody with joy is left to train on.


def test_speakers_by_name_and_who_takes_their_place():
    folds = leave_one_speaker_out(corpus())
    chosen = rotate_held_out(folds, 1, names=["b", "c"])
    assert chosen["a"] == ("b", "c") and chosen["b"] == ("c",)
    chosen = rotate_held_out(folds, 1, names=["b"])
    assert chosen["b"] != () and "b" not in chosen["b"]
    with pytest.raises(ValueError, match="unknown ones: .'z'.*Known: .'a'"):
        rotate_held_out(folds, 1, names=["z"])


def test_who_holds_nobody_out():
    folds = leave_one_speaker_out(corpus().select(speakers=("a", "b")))
    with pytest.warns(UserWarning, match="HELD OUT in fold a, b: .*single"):
        assert rotate_held_out(folds) == {"a": (), "b": ()}
    assert rotate_held_out(folds, 0) == {"a": (), "b": ()}
    on_test = random_folds_shared_speakers(corpus(), 2, select_on_test=True)
    assert rotate_held_out(on_test) == {"random1": (), "random2": ()}
    folds = leave_one_speaker_out(corpus())
    for count in (9, -1):
        with pytest.raises(ValueError, match="9 training speakers of fold 'a'"):
            rotate_held_out(folds, count)
