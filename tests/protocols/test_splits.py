import dataclasses
import random

import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import SpeakerOverlapError
from ser_keras.protocols.splits import check_classes
from ser_keras.protocols.splits import check_disjoint
from ser_keras.protocols.splits import halves
from ser_keras.protocols.splits import hold_out_speakers
from ser_keras.protocols.splits import leave_one_session_out
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.protocols.splits import random_folds_shared_speakers
from ser_keras.protocols.splits import speaker_groups

# EMO-DB's.
SEX = dict.fromkeys(["03", "10", "11", "12", "15"], "male")
SEX |= dict.fromkeys(["08", "09", "13", "14", "16"], "female")


def corpus(shuffled=None):
    rows = []
    for number, (speaker, sex) in enumerate(sorted(SEX.items())):
        for take in range(3 + number):
            name = f"{speaker}-{take}"
            label = ("anger", "neutral")[take % 2]
            session = f"S{number // 2}"
            rows.append(Utterance(name, name, label, speaker, session, sex))
    if shuffled is not None:
        random.Random(shuffled).shuffle(rows)
    return Manifest(rows)


def ids(manifest):
    return sorted(u.id for u in manifest)


@pytest.mark.parametrize(
    "split",
    [
        leave_one_speaker_out,
        leave_one_session_out,
        lambda manifest: speaker_groups(manifest, 3),
        lambda manifest: speaker_groups(manifest, 10),
    ],
)
def test_folds_are_disjoint_and_cover(split):
    manifest = corpus()
    folds = split(manifest)
    tested = sorted(u.id for fold in folds for u in fold.test)
    assert tested == ids(manifest)
    for fold in folds:
        assert not set(fold.train.speakers) & set(fold.test.speakers)
        assert sorted(ids(fold.train) + ids(fold.test)) == ids(manifest)
        assert fold.train.labels == fold.test.labels == manifest.labels
    again = split(corpus(shuffled=1))
    assert [fold.name for fold in folds] == [fold.name for fold in again]
    assert [ids(f.test) for f in folds] == [ids(f.test) for f in again]


def test_groups_hold_both_sexes():
    names = [fold.name for fold in speaker_groups(corpus(), 5)]
    assert names == ["03+08", "09+10", "11+13", "12+14", "15+16"]
    sizes = [len(f.test.speakers) for f in speaker_groups(corpus(), 4)]
    assert sorted(sizes) == [2, 2, 3, 3]


def test_explicit_groups():
    rest = [s for s in SEX if s not in ("16", "03")]
    folds = speaker_groups(corpus(), [["16", "03"], rest])
    assert folds[0].name == "03+16"
    assert folds[0].test.speakers == ("03", "16")
    for wrong in ([rest, ["16"]], [[*rest, "03"], ["16", "03"]], [list(SEX)]):
        with pytest.raises(ValueError, match="exactly once"):
            speaker_groups(corpus(), wrong)


@pytest.mark.parametrize("number", [0, 1, 11])
def test_number_of_groups_is_checked(number):
    with pytest.raises(ValueError, match="`groups` must be between 2"):
        speaker_groups(corpus(), number)


@pytest.mark.parametrize("seed", range(5))
def test_halves(seed):
    manifest = corpus()
    first, second = halves(manifest, seed)
    assert not set(first.speakers) & set(second.speakers)
    assert ids(manifest) == sorted(ids(first) + ids(second))
    for sex in ("female", "male"):
        counts = [
            sum(SEX[s] == sex for s in h.speakers) for h in (first, second)
        ]
        assert sorted(counts) == [2, 3]
    # 3 + 4 + ... + 12 = 75 utterances.
    assert abs(len(first) - len(second)) <= 5
    again = halves(corpus(shuffled=seed), seed)
    assert [ids(half) for half in again] == [ids(first), ids(second)]


def test_seed_changes_the_halves():
    assert len({halves(corpus(), seed)[0].speakers for seed in range(8)}) > 1


def test_halves_of_one_speaker():
    """A corpus of two has one training speaker in each fold, as TESS."""
    manifest = Manifest(
        [Utterance(f"{i}", "x", "ab"[i % 2], "OAF") for i in range(12)]
    )
    with pytest.warns(UserWarning, match="OF ONE SPEAKER.* OAF"):
        first, second = halves(manifest, 3)
    assert ids(manifest) == sorted(ids(first) + ids(second))
    assert first.counts() == second.counts() == {"a": 3, "b": 3}


@pytest.mark.parametrize("seed", range(5))
def test_hold_out_speakers(seed):
    manifest = corpus()
    fit, held_out = hold_out_speakers(manifest, count=4, seed=seed)
    assert len(held_out.speakers) == 4
    assert sum(SEX[s] == "male" for s in held_out.speakers) == 2
    assert sorted(ids(fit) + ids(held_out)) == ids(manifest)
    check_disjoint(fit, held_out)
    again = hold_out_speakers(corpus(shuffled=3), count=4, seed=seed)
    assert again[1].speakers == held_out.speakers
    assert len(hold_out_speakers(manifest, fraction=0.2)[1].speakers) == 2
    assert len(hold_out_speakers(manifest, fraction=0.01)[1].speakers) == 1


def test_hold_out_speakers_checks():
    for wrong in ({}, {"count": 1, "fraction": 0.1}):
        with pytest.raises(ValueError, match="One of `count` and `fraction`"):
            hold_out_speakers(corpus(), **wrong)
    for count in (0, 10):
        with pytest.raises(ValueError, match=f"{count} of 10 speakers"):
            hold_out_speakers(corpus(), count=count)


def test_overlap_raises():
    manifest = corpus()
    with pytest.raises(SpeakerOverlapError, match=r"\['03'\]"):
        check_disjoint(
            manifest.select(speakers=["03", "08"]),
            manifest.select(speakers=["03", "09"]),
        )
    with pytest.raises(SpeakerOverlapError):
        Fold("leaky", manifest, manifest.select(speakers="08"))


def test_session_with_a_shared_speaker_raises():
    rows = [
        Utterance("a", "a", "anger", "03", "S1"),
        Utterance("b", "b", "anger", "03", "S2"),
    ]
    with pytest.raises(SpeakerOverlapError):
        leave_one_session_out(Manifest(rows))
    rows.append(Utterance("c", "c", "anger", "08"))
    with pytest.raises(ValueError, match="1 utterances without session"):
        leave_one_session_out(Manifest(rows))


def test_missing_class_names_fold_and_class():
    manifest = Manifest(corpus().utterances, ("anger", "neutral", "fear"))
    fold = leave_one_speaker_out(manifest)[2]
    with pytest.raises(ValueError, match=r"'09'.*train.*Missing: \['fear'\]"):
        check_classes(fold)
    rows = list(corpus().select(speakers=["03", "08"]))
    rows.append(Utterance("x", "x", "fear", "08"))
    lacking = leave_one_speaker_out(Manifest(rows))[0]
    check_classes(lacking)
    with pytest.raises(ValueError, match=r"'03'.*test.*Missing: \['fear'\]"):
        check_classes(lacking, test=True)


def test_speakers_of_two_corpora_are_different_people():
    def part(corpus):
        return Manifest([Utterance("a", "a.wav", "anger", "03", corpus=corpus)])

    check_disjoint(part("emodb"), part("ravdess"))
    for other in ("emodb", None):  # The same corpus, or an unknown one.
        with pytest.raises(SpeakerOverlapError, match="03"):
            check_disjoint(part("emodb"), part(other))


def test_random_folds():
    manifest = corpus()
    folds = random_folds_shared_speakers(manifest, folds=5, seed=1)
    tested = sorted(u.id for fold in folds for u in fold.test)
    assert tested == ids(manifest)
    for fold in folds:
        assert fold.overstates and fold.leaks_speakers
        assert len(fold.train) + len(fold.test) == len(manifest)
    other = random_folds_shared_speakers(manifest, folds=5, seed=2)
    assert ids(other[0].test) != ids(folds[0].test)
    # The order of the corpus does not matter.
    again = random_folds_shared_speakers(corpus(shuffled=0), folds=5, seed=1)
    assert ids(again[0].test) == ids(folds[0].test)
    for number in (1, 99):
        with pytest.raises(ValueError, match=f"folds={number}"):
            random_folds_shared_speakers(manifest, folds=number)


def test_no_fold_tests_what_it_trains_on():
    fold = random_folds_shared_speakers(corpus())[0]
    with pytest.raises(ValueError, match="utterance in both parts"):
        dataclasses.replace(fold, train=corpus())
