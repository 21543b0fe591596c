"""Protocols of a Light-SERNet run, and what it starts from."""

import dataclasses

import keras
import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.evaluation import cross_validation
from ser_keras.evaluation.calibration import calibrate
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments import light_sernet
from ser_keras.experiments.common import open_run
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.reports.report import summary
from ser_keras.training import fit as training
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder

LABELS = ("anger", "neutral")


def make_features(speakers="abcd", each=6, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        Utterance(f"{s}{i}", "x.wav", LABELS[i % 2], s)
        for s in speakers
        for i in range(each)
    ]
    arrays = [
        rng.normal(i % 2, 1, (20, 8)).astype("float32")
        for _ in speakers
        for i in range(each)
    ]
    return FeatureSet(Manifest(rows, LABELS), arrays)


def network(fold=None, run=None):
    # What is tested is how networks are trained; a tiny one traces in no time.
    return keras.Sequential(
        [
            keras.Input((None, 8, 1)),
            keras.layers.Conv2D(2, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )


def options(**changes):
    return {"epochs": 2, "batch_size": 4, "balance_classes": False} | changes


@pytest.fixture
def trainings(monkeypatch):
    """What `train_network` was given in each fold."""
    calls = []

    def spy(model, train, **arguments):
        calls.append((train.manifest, arguments["held_out"].manifest))
        return train_network(model, train, **arguments)

    monkeypatch.setattr(cross_validation, "train_network", spy)
    return calls


def test_speaker_independent_never_shows_the_test_part(tmp_path, trainings):
    features = make_features()
    folds = ser.protocols.leave_one_speaker_out(features.manifest)[:2]
    run = RunFolder(tmp_path / "run", {})
    outcome = cross_validate(
        network, features, folds, run=run, exposed=None, **options()
    )
    assert not outcome.leaks_speakers and not outcome.selects_on_test
    assert len(trainings) == 2
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
    for fold, (train, held_out) in zip(folds, trainings, strict=True):
        parts = [set(p.speakers) for p in (train, held_out, fold.test)]
        assert all(parts)
        assert not parts[0] & parts[1]
        assert not parts[2] & (parts[0] | parts[1])


def test_published_picks_the_epoch_on_the_test_part(tmp_path, trainings):
    features = make_features()
    folds = ser.protocols.random_folds_shared_speakers(
        features.manifest, folds=2, select_on_test=True
    )
    run = RunFolder(tmp_path / "run", {})
    with pytest.warns(UserWarning, match="OVERSTATES"):
        outcome = cross_validate(
            network,
            features,
            folds,
            run=run,
            exposed=None,
            **options(epochs=4, select_by="accuracy"),
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
    features = make_features()
    folds = ser.protocols.random_folds_shared_speakers(
        features.manifest, folds=2
    )
    run = RunFolder(tmp_path / "run", {})
    with pytest.warns(UserWarning, match="OVERSTATES: test speakers"):
        outcome = cross_validate(
            network, features, folds, run=run, exposed=None, **options()
        )
    assert outcome.leaks_speakers and not outcome.selects_on_test
    # Those held out are tested as well: no temperature for new speakers.
    assert outcome.temperatures is None
    assert "temperature_scaling" not in summary(outcome)
    for fold, (_, held_out) in zip(folds, trainings, strict=True):
        assert not {u.id for u in held_out} & {u.id for u in fold.test}


def test_training_refuses_shared_speakers_unless_told(tmp_path):
    features = make_features()
    train, held_out = (
        features.select(
            Manifest([u for u in features.manifest if int(u.id[1]) in part])
        )
        for part in ((0, 1, 2, 3), (4, 5))
    )
    run = RunFolder(tmp_path, {})
    with pytest.raises(ValueError, match="different speakers"):
        train_network(network(), train, run=run, held_out=held_out, **options())


def test_copies_are_trained_on_and_never_scored(tmp_path, monkeypatch):
    features = make_features()
    copy = FeatureSet(features.manifest, [x + 1 for x in features.arrays])
    fold = ser.protocols.leave_one_speaker_out(features.manifest)[0]
    fed = []

    def spy(features, *arguments, **named):
        fed.append(features)
        return make_dataset(features, *arguments, **named)

    monkeypatch.setattr(training, "make_dataset", spy)
    outcome = cross_validate(
        network,
        features,
        [fold],
        run=RunFolder(tmp_path / "run", {}),
        copies=[copy],
        exposed=None,
        **options(epochs=1),
    )
    assert set(outcome.predictions.ids) == {u.id for u in fold.test}
    held_out, train = fed
    assert len(held_out) == 6 and len(train) == 2 * 12
    assert not set(train.manifest.speakers) & {*held_out.manifest.speakers, "a"}
    plain, copied = train.arrays[:12], train.arrays[12:]
    for x, y in zip(plain, copied, strict=True):
        np.testing.assert_array_equal(y, x + 1)
    assert train.manifest[12].id == train.manifest[0].id + "@1"


def test_averaged_weights_are_scored_and_kept(tmp_path):
    """Against averages computed here, from the weights after each step."""
    features = make_features("ab", each=8)
    held_out = make_features("c", each=4, seed=1)
    model = network()
    weights = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weights.append([w.numpy() for w in model.trainable_variables])

    run = RunFolder(tmp_path, {})
    train_network(
        model,
        features,
        held_out=held_out,
        run=run,
        optimizer=lambda epochs, steps: keras.optimizers.SGD(
            0.05, use_ema=True, ema_momentum=0.5
        ),
        callbacks=[Record()],
        **options(epochs=1),
    )
    # Keras' average begins with the first step's weights.
    averages = weights[0]
    for new in weights[1:]:
        averages = [
            0.5 * a + 0.5 * b for a, b in zip(averages, new, strict=True)
        ]
    assert np.abs(averages[0] - weights[-1][0]).max() > 1e-4
    for average, kept in zip(averages, model.trainable_variables, strict=True):
        np.testing.assert_allclose(kept, average, rtol=1e-4, atol=1e-6)
    scored = ser.predict(
        model, ser.make_dataset(held_out, 4), held_out.manifest
    )
    (row,) = run.rows("train")
    assert ser.score(scored).uar == pytest.approx(row["val_uar"], abs=1e-6)


@pytest.mark.parametrize("epochs", [1, 2])
def test_averages_of_the_last_epoch_after_a_resume(tmp_path, epochs):
    features = make_features("ab", each=8)
    kept = []
    for _ in range(2):  # The second time there is nothing left to train.
        keras.utils.set_random_seed(0)
        model = network()
        train_network(
            model,
            features,
            run=RunFolder(tmp_path, {}),
            optimizer=lambda epochs, steps: keras.optimizers.SGD(
                0.05, use_ema=True, ema_momentum=0.5
            ),
            **options(epochs=epochs),
        )
        kept.append([w.numpy() for w in model.trainable_variables])
    for first, second in zip(*kept, strict=True):
        np.testing.assert_array_equal(first, second)


def test_folds_must_be_what_the_protocol_says(tmp_path):
    manifest = make_features().manifest
    honest = ser.protocols.leave_one_speaker_out(manifest)
    leaky = ser.protocols.random_folds_shared_speakers(manifest, 2)
    for protocol, folds in (
        ("speaker-independent", leaky),
        ("published", honest),
    ):
        config = ser.experiments.LightSERNetConfig(
            protocol=protocol, output_dir=str(tmp_path / "run")
        )
        with pytest.raises(ValueError, match="leaks_speakers"):
            ser.experiments.run_light_sernet(config, folds)
    assert not (tmp_path / "run").exists()


def test_a_protocol_that_overstates_is_run_by_its_own_name(
    tmp_path, monkeypatch
):
    folds = ser.get_protocol("random-folds").folds(make_features().manifest)
    begun = []

    def begin(config):
        begun.append(config.protocol)
        raise KeyboardInterrupt

    monkeypatch.setattr(light_sernet, "open_run", begin)
    config = ser.experiments.LightSERNetConfig(protocol="random-folds")
    with pytest.raises(KeyboardInterrupt):
        ser.experiments.run_light_sernet(config, folds)
    assert begun == ["random-folds"]


class Started(Exception):
    """The folds would be trained now."""


@pytest.fixture
def babble(tmp_path, monkeypatch):
    """A configuration, folds of three classes, others with four emotions.

    Instead of training the folds, `run_light_sernet` raises `Started` with the
    first one's network and what was heard before.
    """
    root = write_synthetic_corpus(tmp_path / "babble", 2, 1)
    corpus = ser.load_corpus("iemocap", root)
    others = corpus.select(speakers=corpus.speakers[:2])
    tested = corpus.select(speakers=corpus.speakers[2:])
    labels = corpus.labels[:3]
    tested = Manifest([u for u in tested if u.label in labels], labels)

    def start(build, features, folds, *, run, exposed, **_):
        raise Started(build(folds[0], run), exposed)

    monkeypatch.setattr(light_sernet, "cross_validate", start)
    config = ser.experiments.LightSERNetConfig(
        output_dir=str(tmp_path / "run"),
        cache_dir=str(tmp_path / "cache"),
        held_out_speakers=0,
        smoke=True,
    )
    return config, ser.protocols.leave_one_speaker_out(tested), others


def test_folds_start_from_another_corpus(babble, tmp_path):
    config, folds, others = babble
    with pytest.raises(Started) as started:
        ser.experiments.run_light_sernet(config, folds, others)
    network, exposed = started.value.args
    assert len(exposed.stages["pretraining"]) == len(others) == 8
    file = tmp_path / "run/pretrained.keras"
    source, written = ser.load_model(file), file.stat().st_mtime_ns
    assert (source.num_classes, network.num_classes) == (4, 3)
    compared = 0
    for old, new in zip(source.weights, network.weights, strict=True):
        if "classifier" not in new.path:
            np.testing.assert_array_equal(old, new)
            compared += int(np.any(old))
    assert compared > 20
    # Moving averages: it has learned something.
    moved = [w for w in network.weights if w.path.endswith("moving_mean")]
    assert all(np.any(w) for w in moved)
    with pytest.raises(Started):
        ser.experiments.run_light_sernet(config, folds, others)
    assert file.stat().st_mtime_ns == written  # Learned once.


def test_another_corpus_must_not_have_the_test_speakers(
    babble, tmp_path, monkeypatch
):
    config, folds, others = babble
    all_of_them = [*folds[0].test, *others]
    mixed = Manifest(all_of_them, others.labels)
    with pytest.raises(ValueError, match="shared speakers"):
        ser.experiments.run_light_sernet(config, folds, mixed)
    batch = dataclasses.replace(config, smoke=False, batch_size=9)
    with pytest.raises(ValueError, match="most the 8 .*batch_size=9"):
        ser.experiments.run_light_sernet(batch, folds, others)
    alone = dataclasses.replace(config, pretrain_epochs=3)
    with pytest.raises(ValueError, match="--pretrain-corpus.*_epochs=3"):
        ser.experiments.run_light_sernet(alone, folds)
    assert not (tmp_path / "run").exists()
    # The same voices under other names.
    disguised = [
        dataclasses.replace(u, id=f"x{u.id}", speaker=f"x{u.speaker}")
        for u in all_of_them
    ]
    monkeypatch.setattr(light_sernet, "pretrain", None)
    with pytest.raises(LeakError, match="in pretraining"):
        ser.experiments.run_light_sernet(
            config, folds, Manifest(disguised, others.labels)
        )


def test_random_folds():
    manifest = make_features(each=7).manifest
    folds = ser.protocols.random_folds_shared_speakers(
        manifest, folds=5, seed=1
    )
    tested = sorted(u.id for fold in folds for u in fold.test)
    assert tested == sorted(u.id for u in manifest)
    for fold in folds:
        assert fold.overstates and fold.leaks_speakers
        assert len(fold.train) + len(fold.test) == len(manifest)
    other = ser.protocols.random_folds_shared_speakers(
        manifest, folds=5, seed=2
    )
    assert [u.id for u in other[0].test] != [u.id for u in folds[0].test]
    shuffled = Manifest(tuple(manifest)[::-1], manifest.labels)
    again = ser.protocols.random_folds_shared_speakers(
        shuffled, folds=5, seed=1
    )
    assert {u.id for u in again[0].test} == {u.id for u in folds[0].test}
    for number in (1, 99):
        with pytest.raises(ValueError, match=f"folds={number}"):
            ser.protocols.random_folds_shared_speakers(manifest, folds=number)


def test_no_fold_tests_what_it_trains_on():
    manifest = make_features().manifest
    with pytest.raises(ValueError, match="shared utterances"):
        dataclasses.replace(
            ser.protocols.random_folds_shared_speakers(manifest)[0],
            train=manifest,
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out_speakers": 99}, "held_out_speakers=99 of the 3 training"),
        ({"duration": 0.01}, "duration=0.01"),
        ({"num_features": 500}, "500"),
    ],
)
def test_a_corrected_command_finds_an_empty_folder(tmp_path, changes, message):
    folds = ser.protocols.leave_one_speaker_out(make_features().manifest)
    config = ser.experiments.LightSERNetConfig(
        output_dir=str(tmp_path / "run"), **changes
    )
    with pytest.raises(ValueError, match=message):
        ser.experiments.run_light_sernet(config, folds)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_may_be_given_litert_files(tmp_path):
    config = ser.experiments.LightSERNetConfig(
        output_dir=str(tmp_path / "run"), litert=False
    )
    first = open_run(config)
    again = open_run(dataclasses.replace(config, litert=True))
    assert again.resumed
    # So that it repeats the run that was made, folds' folders included.
    assert again.config == first.config and not again.config["litert"]
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        open_run(dataclasses.replace(config, litert=True, seed=1))
    (tmp_path / "run/config.json").write_text("nothing")
    with pytest.raises(ValueError, match="not valid JSON"):
        open_run(config)
