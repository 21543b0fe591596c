"""Who trains, who chooses the epoch and who is tested, in every fold."""

import shutil

import numpy as np
import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation import cross_validation
from ser_keras.evaluation.calibration import calibrate
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import hold_out_speakers
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.protocols.splits import random_folds_shared_speakers
from ser_keras.reports.report import summary
from ser_keras.training import fit
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder
from tests.conftest import toy_features
from tests.conftest import toy_network

# There is no audio, so no fold can be searched for copies.
OPTIONS = {
    "exposed": None,
    "epochs": 2,
    "batch_size": 4,
    "balance_classes": False,
}


@pytest.fixture
def trainings(monkeypatch):
    """What `train_network` was given in each fold."""
    calls = []

    def spy(model, train, **arguments):
        calls.append((train.manifest, arguments["held_out"].manifest))
        return train_network(model, train, **arguments)

    monkeypatch.setattr(cross_validation, "train_network", spy)
    return calls


def test_the_test_part_is_not_trained_on_and_chooses_nothing(
    tmp_path, trainings
):
    features = toy_features()
    folds = leave_one_speaker_out(features.manifest)[:2]
    run = RunFolder(tmp_path / "run", {})
    outcome = cross_validate(toy_network, features, folds, run=run, **OPTIONS)
    assert not outcome.leaks_speakers and not outcome.selects_on_test
    assert len(trainings) == 2
    for fold, (train, held_out) in zip(folds, trainings, strict=True):
        parts = [set(p.speakers) for p in (train, held_out, fold.test)]
        assert all(parts)
        assert not parts[0] & parts[1]
        assert not parts[2] & (parts[0] | parts[1])
    parts = []
    for fold, (_, held_out) in zip(folds, trainings, strict=True):
        # The temperature is fitted on those who chose the epoch.
        folder = run.path / "folds" / fold.name
        kept = Predictions.load_csv(folder / "held_out_predictions.csv")
        assert set(kept.ids) == {u.id for u in held_out}
        part = Predictions.load_csv(folder / "predictions.csv")
        part, temperature = calibrate(kept, part)
        assert outcome.temperatures[fold.name] == temperature
        parts.append(part)
    np.testing.assert_array_equal(
        outcome.scaled.probabilities,
        np.concatenate([part.probabilities for part in parts]),
    )
    found = summary(outcome)["temperature_scaling"]
    assert found["ece_before"] == measure_calibration(outcome.predictions).ece
    assert found["ece_after"] == measure_calibration(outcome.scaled).ece


def test_a_run_keeps_its_held_out_speakers(tmp_path, trainings, capsys):
    """Those that it began with, and of an older version that one's rule."""
    features = toy_features("abcd")
    folds = leave_one_speaker_out(features.manifest)
    run = RunFolder(tmp_path / "run", {})
    options = OPTIONS | {"epochs": 1}
    outcome = cross_validate(toy_network, features, folds, run=run, **options)
    held_out = {x: y["speakers"] for x, y in outcome.held_out.items()}
    assert sorted(held_out.values()) == [["a"], ["b"], ["c"], ["d"]]
    assert run.read_json("folds.json")["held_out"] == held_out
    assert summary(outcome)["held_out"] == outcome.held_out
    printed = capsys.readouterr().out
    for fold, (name,) in held_out.items():
        assert f"fold {fold}: held-out speakers {name} choose" in printed
    # Another order is that of another run.
    arguments = {"held_out_speakers": 1, "run": run, "seed": 5}
    for before, expected in (
        ({"held_out": {x: ["d" if x != "d" else "a"] for x in "abcd"}}, None),
        ({}, "old"),
    ):
        record = run.read_json("folds.json")
        record.pop("held_out")
        run.write_json("folds.json", record | before)
        for fold in folds:
            shutil.rmtree(run.path / "folds" / fold.name)
            (run.path / "folds" / fold.name).mkdir()
        trainings.clear()
        cross_validate(toy_network, features, folds, **options | arguments)
        for fold, (_, part) in zip(folds, trainings, strict=True):
            if expected == "old":
                _, old = hold_out_speakers(fold.train, 1, seed=5)
                assert part.speakers == old.speakers
            else:
                assert part.speakers == tuple(before["held_out"][fold.name])


def test_speakers_who_choose_by_name(tmp_path, trainings):
    features = toy_features("abcd")
    folds = leave_one_speaker_out(features.manifest)[:2]
    run = RunFolder(tmp_path / "run", {})
    options = OPTIONS | {"epochs": 1, "hold_out": ("a", "c")}
    cross_validate(toy_network, features, folds, run=run, **options)
    assert [x.speakers for _, x in trainings] == [("c",), ("a", "c")]


def test_held_out_scores_near_chance_are_said(capsys):
    manifest = toy_features("ab").manifest
    fold = leave_one_speaker_out(manifest)[0]
    for uar, is_said in ((0.5, True), (0.54, True), (1.0, False)):
        wrong = np.random.default_rng(0).permutation(len(manifest))
        share = int(round((1 - uar) * len(manifest)))
        answers = manifest.label_ids.copy()
        answers[wrong[:share]] = 1 - answers[wrong[:share]]
        found = Predictions.of(manifest, np.eye(2)[answers])
        cross_validation._warn_of_chance(fold, ("b",), found)
        said = "HELD-OUT SPEAKERS b IS NEAR CHANCE (0.500)"
        near = score(found).uar <= 0.55
        assert near == is_said
        assert (said in capsys.readouterr().out) == is_said


def test_a_single_training_speaker_holds_nobody_out(tmp_path):
    """As in TESS, which has two speakers."""
    features = toy_features("ab")
    folds = leave_one_speaker_out(features.manifest)
    run = RunFolder(tmp_path / "run", {})
    with pytest.warns(UserWarning, match="NOBODY IS HELD OUT in fold a, b"):
        outcome = cross_validate(
            toy_network, features, folds, run=run, **OPTIONS
        )
    assert outcome.temperatures is None and outcome.held_out is None


def test_a_part_of_the_folds_says_so(tmp_path):
    features = toy_features("abc")
    folds = get_protocol("leave-one-speaker-out").folds(features.manifest)
    assert cross_validation.part_of(folds) is None
    assert cross_validation.part_of(folds[1:2]) == {"folds": [2], "of": 3}
    run = RunFolder(tmp_path / "run", {})
    options = OPTIONS | {"epochs": 1}
    outcome = cross_validate(
        toy_network, features, folds[1:2], run=run, **options
    )
    assert summary(outcome)["part"] == {"folds": [2], "of": 3}


def test_published_picks_the_epoch_on_the_test_part(tmp_path, trainings):
    features = toy_features()
    folds = random_folds_shared_speakers(
        features.manifest, folds=2, select_on_test=True
    )
    run = RunFolder(tmp_path / "run", {})
    options = OPTIONS | {"epochs": 4, "select_by": "accuracy"}
    with pytest.warns(UserWarning, match="OVERSTATES"):
        outcome = cross_validate(
            toy_network, features, folds, run=run, **options
        )
    assert outcome.leaks_speakers and outcome.selects_on_test
    for fold, (train, held_out) in zip(folds, trainings, strict=True):
        assert {u.id for u in held_out} == {u.id for u in fold.test}
        assert set(train.speakers) & set(fold.test.speakers)
        # The last epoch of the best accuracy, and its weights.
        folder = RunFolder(run.path / "folds" / fold.name, {})
        rows = folder.rows("train")
        best = max(row["val_accuracy"] for row in rows)
        chosen = [row for row in rows if row["val_accuracy"] == best][-1]
        assert folder.read_json("chosen.json") == {"epoch": chosen["epoch"]}
        accuracy = outcome.fold_scores[fold.name].wa
        assert accuracy == pytest.approx(chosen["val_accuracy"], abs=1e-6)


def test_a_random_fold_without_selection_still_leaks(tmp_path, trainings):
    features = toy_features()
    folds = random_folds_shared_speakers(features.manifest, folds=2)
    run = RunFolder(tmp_path / "run", {})
    with pytest.warns(UserWarning, match="OVERSTATES: test speakers"):
        outcome = cross_validate(
            toy_network, features, folds, run=run, **OPTIONS
        )
    assert outcome.leaks_speakers and not outcome.selects_on_test
    # Those held out are tested as well: no temperature for new speakers.
    assert outcome.temperatures is None
    assert "temperature_scaling" not in summary(outcome)
    for fold, (_, held_out) in zip(folds, trainings, strict=True):
        assert not {u.id for u in held_out} & {u.id for u in fold.test}


def test_augmented_features_are_trained_on_and_never_scored(
    tmp_path, monkeypatch
):
    features = toy_features()
    louder = FeatureSet(features.manifest, [x + 1 for x in features.arrays])
    fold = leave_one_speaker_out(features.manifest)[0]
    fed = []

    def spy(features, *arguments, **named):
        fed.append(features)
        return make_dataset(features, *arguments, **named)

    monkeypatch.setattr(fit, "make_dataset", spy)
    outcome = cross_validate(
        toy_network,
        features,
        [fold],
        run=RunFolder(tmp_path / "run", {}),
        augmented=[louder],
        **OPTIONS | {"epochs": 1},
    )
    assert set(outcome.predictions.ids) == {u.id for u in fold.test}
    held_out, train = fed
    assert len(held_out) == 6 and len(train) == 2 * 12
    assert not set(train.manifest.speakers) & {*held_out.manifest.speakers, "a"}
    plain, altered = train.arrays[:12], train.arrays[12:]
    for x, y in zip(plain, altered, strict=True):
        np.testing.assert_array_equal(y, x + 1)
    assert train.manifest[12].id == train.manifest[0].id + "@1"


def test_each_fold_is_searched_once_before_its_network_is_built(tmp_path):
    features = toy_features("abc")
    folds = leave_one_speaker_out(features.manifest)
    done = []

    def search(fold, run):
        assert not (run.path / "network.keras").exists()
        done.append(fold.name)
        return f"architecture of {fold.name}"

    def build(fold, run, found):
        assert found == f"architecture of {fold.name}"
        assert done[-1] == fold.name
        return toy_network()

    options = OPTIONS | {"epochs": 1, "held_out_speakers": 0}
    for _ in range(2):  # The second time all folds are finished.
        run = RunFolder(tmp_path / "run", {})
        outcome = cross_validate(
            build, features, folds, run=run, search=search, **options
        )
    assert done == ["a", "b", "c"]
    assert set(outcome.predictions.ids) == {u.id for u in features.manifest}
    assert outcome.temperatures is None  # Nobody was held out.


def test_a_run_of_other_folds_is_refused(tmp_path):
    """Folds of a corpus with a file less have the same names."""
    features = toy_features("abc")
    folds = leave_one_speaker_out(features.manifest)
    run = RunFolder(tmp_path / "run", {})

    def predicted(fold):
        folder = RunFolder(run.path / "folds" / fold.name, {})
        probabilities = np.eye(2)[fold.test.label_ids]
        predictions = Predictions.of(fold.test, probabilities)
        predictions.save_csv(folder.path / "predictions.csv")

    for fold in folds:
        predicted(fold)
    cross_validation.fold_folders(folds, features, run, None)
    fewer = Manifest(tuple(features.manifest)[:-1], features.manifest.labels)
    changed = leave_one_speaker_out(fewer)
    assert [x.name for x in changed] == [x.name for x in folds]
    with pytest.raises(ValueError, match="another state of the corpus.*Hash"):
        cross_validation.check_folds(run, changed)
    # A run of before did not record its folds; its predictions say enough.
    (run.path / "folds.json").unlink()
    with pytest.raises(ValueError, match="'c': .*test part only.*c5"):
        cross_validation.check_folds(run, changed)
    cross_validation.check_folds(run, folds)
    with pytest.raises(ValueError, match="run was run on other folds"):
        cross_validate(toy_network, features, changed, run=run, **OPTIONS)
