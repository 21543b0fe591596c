"""All training speakers choose the epoch, in an inner cross-validation."""

import json

import keras
import numpy as np
import pytest

from ser_keras.evaluation.cross_validation import Trained
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.evaluation.inner_folds import inner_parts
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.encoder import EncoderConfig
from ser_keras.experiments.options import TrainingOptions
from ser_keras.features.feature_set import FeatureSet
from ser_keras.models.light_sernet import LightSERNet
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime
from tests.experiments.conftest import MANIFEST

RNG = np.random.default_rng(0)
FEATURES = FeatureSet(
    MANIFEST,
    [
        RNG.normal(MANIFEST.labels.index(u.label), 1, (5, 3)).astype("float32")
        for u in MANIFEST
    ],
)


def build(fold, run):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((None, 3, 1)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )


@pytest.fixture
def trainings(monkeypatch):
    """Arguments of each training; inner ones choose epochs 2, 7 and 4."""
    begun = []
    chosen = {"inner_1": 2, "inner_2": 7, "inner_3": 4}

    def train(network, train, **options):
        begun.append((network, train.manifest, options))
        epoch = chosen.get(options["run"].path.name)
        return Trained(network, epoch or options["stop_after"])

    return begun, train


def run(folder, train, **options):
    return cross_validate(
        build,
        FEATURES,
        leave_one_speaker_out(MANIFEST)[:1],
        run=RunFolder(folder, {}),
        select="inner-cv",
        exposed=None,
        train=train,
        epochs=9,
        batch_size=8,
        **options,
    )


def test_all_training_speakers_choose_and_are_trained_on(trainings, tmp_path):
    begun, train = trainings
    outcome = run(tmp_path / "run", train)
    *inner, (_, everybody, last) = begun
    assert len(inner) == 3
    held_out = [options["held_out"].manifest for *_, options in inner]
    assert sorted(s for m in held_out for s in m.speakers) == [*"bcdef"]
    for (_, trained_on, options), others in zip(inner, held_out, strict=True):
        assert not set(trained_on.speakers) & set(others.speakers)
        assert options["epochs"] == 9 and "stop_after" not in options
    assert everybody.speakers == (*"bcdef",)
    assert last["held_out"] is None and last["stop_after"] == 4
    # Each network begins anew.
    assert len({id(network) for network, *_ in begun}) == 4
    folder = tmp_path / "run/folds/a"
    kept = Predictions.load_csv(folder / "held_out_predictions.csv")
    assert sorted(kept.ids) == sorted(u.id for u in everybody)
    assert outcome.temperatures.keys() == {"a"}
    assert set(outcome.predictions.speakers) == {"a"}


def test_inner_folds_that_are_finished_are_not_trained_again(
    trainings, tmp_path
):
    begun, train = trainings

    def killed(network, train_set, **options):
        if options["run"].path.name == "inner_3":
            raise KeyboardInterrupt
        return train(network, train_set, **options)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", killed)
    assert len(begun) == 2
    run(tmp_path / "run", train)
    assert [o["run"].path.name for *_, o in begun] == [
        *("inner_1", "inner_2", "inner_3", "a"),
    ]


def network(fold, run):
    """One of the library's: only these train on replicas as on one device."""
    keras.utils.set_random_seed(0)
    return LightSERNet((None, 3, 1), 2, width=0.25)


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_a_real_training(strategy, tmp_path):
    outcome = cross_validate(
        network,
        FEATURES,
        leave_one_speaker_out(MANIFEST)[:1],
        run=RunFolder(tmp_path / "run", {}),
        select="inner-cv",
        runtime=Runtime(strategy),
        exposed=None,
        epochs=3,
        batch_size=8,
        learning_rate=0.1,
    )
    assert outcome.held_out["a"]["speakers"] == [*"bcdef"]
    folder = tmp_path / "run/folds/a"
    chosen = [
        json.loads((folder / name / "chosen.json").read_text())["epoch"]
        for name in ("inner_1", "inner_2", "inner_3")
    ]
    (metrics,) = folder.glob("train_metrics.jsonl")
    epochs = len(metrics.read_text().splitlines())
    assert epochs == sorted(chosen)[1] < 3


def test_what_cannot_be_divided_is_told():
    alone = MANIFEST.select(speakers=["a"])
    with pytest.raises(ValueError, match="single training speaker"):
        inner_parts(alone)
    poor = MANIFEST.subset(
        u for u in MANIFEST if u.speaker == "a" or u.label == "anger"
    )
    with pytest.raises(ValueError, match=r"Missing: \['neutral'\]"):
        inner_parts(poor)
    with pytest.raises(ValueError, match="hold_out"):
        TrainingOptions(select="inner-cv", hold_out=("a",))
    with pytest.raises(ValueError, match="select='inner-cv'"):
        EncoderConfig(select="inner-cv")
