"""Parts of a fold, and folds that cannot be trained."""

import keras
import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation import cross_validation
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import SkippedUtterance
from ser_keras.protocols.fold_parts import check_fold_parts
from ser_keras.protocols.fold_parts import fold_parts
from ser_keras.training.run_folder import RunFolder

LABELS = ("anger", "neutral")
MANIFEST = Manifest(
    [
        Utterance(f"{s}{i}", "x.wav", LABELS[i % 2], s)
        for s in "abcd"
        for i in range(4)
    ],
    LABELS,
)
FOLDS = ser.protocols.leave_one_speaker_out(MANIFEST)


def features(*skipped, manifest=MANIFEST):
    """Features of all utterances but these, whose audio is bad."""
    kept = [u for u in manifest if u.id not in skipped]
    return FeatureSet(
        Manifest(kept, LABELS),
        [np.ones((5, 2), "float32") for _ in kept],
        [SkippedUtterance(name, "x.wav", "silent") for name in skipped],
    )


def names(manifest):
    return {u.id for u in manifest}


def test_parts_are_without_skipped_utterances():
    whole = fold_parts(FOLDS[0], features())
    train, held_out, test = fold_parts(FOLDS[0], features("b1", "a0"))
    assert names(test) == {"a1", "a2", "a3"}
    assert names(train) | names(held_out) == names(FOLDS[0].train) - {"b1"}
    assert held_out.speakers == whole[1].speakers
    everybody, nobody, _ = fold_parts(FOLDS[0], features(), 0)
    assert nobody is None and everybody == FOLDS[0].train


def test_a_speaker_who_was_skipped_is_not_held_out():
    bad = [f"{s}{i}" for s in "bc" for i in range(4)]
    with pytest.warns(UserWarning, match="NOBODY IS HELD OUT in fold a"):
        train, held_out, _ = fold_parts(FOLDS[0], features(*bad))
    assert train.speakers == ("d",) and held_out is None
    train, _, _ = fold_parts(FOLDS[0], features(*bad), 0)
    assert train.speakers == ("d",)


@pytest.mark.parametrize("count", [3, 20, -1])
def test_too_few_speakers_to_hold_out(count):
    with pytest.raises(ValueError, match="held_out_speakers=") as error:
        fold_parts(FOLDS[0], features(), count)
    assert "fold 'a'" in str(error.value)


def test_a_class_that_only_the_held_out_speaker_has():
    speaker = "b"
    rows = [u for u in MANIFEST if u.label == "anger" or u.speaker == speaker]
    manifest = Manifest(rows, LABELS)
    fold = ser.protocols.leave_one_speaker_out(manifest)[0]
    with pytest.raises(ValueError, match=r"Missing: \['neutral'\]") as error:
        fold_parts(fold, features(manifest=manifest), [speaker])
    # Another one is held out unless it is asked for.
    _, held_out, _ = fold_parts(fold, features(manifest=manifest))
    assert held_out.speakers != (speaker,)
    for part in ("Fold 'a'", f"({speaker})", "--held-out-speakers 0"):
        assert part in str(error.value)
    fold_parts(fold, features(manifest=manifest), 0)


def test_a_class_and_a_test_part_whose_audio_is_all_bad():
    bad = [u.id for u in MANIFEST if u.label == "anger"]
    with pytest.raises(ValueError, match=r"6 utterances skipped.*'anger'"):
        fold_parts(FOLDS[0], features(*bad), 0)
    with pytest.raises(ValueError, match="Fold 'a' .* test part.*none of 4"):
        fold_parts(FOLDS[0], features("a0", "a1", "a2", "a3"))


def test_utterances_that_nobody_skipped_are_told_of():
    few = features(manifest=Manifest(list(MANIFEST)[:9], LABELS))
    with pytest.raises(ValueError, match="of this feature set only"):
        fold_parts(FOLDS[0], few)


def test_a_batch_that_a_fold_cannot_fill():
    check_fold_parts(FOLDS, features(), 1, 0, 8)
    with pytest.raises(ValueError, match="most the 8 .*fold 'a'.*batch_size=9"):
        check_fold_parts(FOLDS, features(), 1, 0, 9)


def network(fold, run):
    inputs = keras.Input((None, 2, 1))
    return keras.Model(inputs, inputs[:, 0, :, 0])


def test_augmented_features_without_skipped_utterances(tmp_path, monkeypatch):
    good = features("b1", "a0")
    altered = FeatureSet(good.manifest, good.arrays)  # Nothing in `skipped`.
    parts = []

    def spy(network, train, augmented, held_out, **_):
        parts.append([x.manifest for x in (train, held_out, *augmented)])
        return 1

    monkeypatch.setattr(cross_validation, "train_network", spy)
    cross_validate(
        network,
        good,
        FOLDS[:1],
        run=RunFolder(tmp_path / "run", {}),
        augmented=[altered],
        exposed=None,
        batch_size=2,
    )
    ((train, held_out, augmented),) = parts
    assert "b1" not in names(train) and names(augmented) == names(train)
    assert names(train).isdisjoint(names(held_out))


def test_nothing_is_built_for_folds_that_cannot_be_trained(tmp_path):
    with pytest.raises(ValueError, match="batch_size=50"):
        cross_validate(
            None,
            features(),
            FOLDS,
            run=RunFolder(tmp_path / "run", {}),
            exposed=None,
            batch_size=50,
        )
    assert not (tmp_path / "run" / "folds").exists()
