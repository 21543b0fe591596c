"""Tuning, alone and with a chief and a worker; tiny networks."""

import dataclasses
import json
import os
import socket

import numpy as np
import pytest
from sklearn.metrics import recall_score

import ser_keras as ser
from ser_keras.audio.alterations import RandomAlteration
from ser_keras.cli import parse
from ser_keras.cli.main import main
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import System
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.protocols.splits import leave_one_speaker_out
from tests.conftest import toy_features
from tests.experiments.conftest import FOLDS
from tests.forks import Program

keras_tuner = pytest.importorskip("keras_tuner")

from ser_keras.experiments import tune as tuning  # noqa: E402

TOY = System("tests.experiments.toy_system:Toy", "A hidden layer.")


def compute(self, manifest, cache_dir=None, *, skip_bad_audio=False):
    """Features without audio: in place of `Preprocessor.compute`."""
    return toy_features("abcd", each=8).select(manifest)


@pytest.fixture
def toy(monkeypatch):
    """The toy system is registered, and its features need no audio."""
    monkeypatch.setitem(SYSTEMS, "toy", TOY)
    monkeypatch.setattr(Preprocessor, "compute", compute)


def hypermodel(speakers="abcd", **changes):
    config = tuning.tune_config_class("toy")(trial_epochs=1, **changes)
    manifest = toy_features(speakers, each=8).manifest
    return tuning.SystemHyperModel(config, leave_one_speaker_out(manifest)[0])


def test_the_objective_is_uar_of_a_held_out_training_speaker(toy):
    model = hypermodel()
    held_out = set(model.held_out.manifest.speakers)
    assert len(held_out) == 1
    assert held_out.isdisjoint(model.train.manifest.speakers)
    assert held_out | set(model.train.manifest.speakers) == set("bcd")
    hp = keras_tuner.HyperParameters()
    network = model.build(hp)
    value = model.fit(hp, network)["val_uar"]
    clips = np.stack(model.held_out.arrays)[..., None]
    answers = network.predict(clips, verbose=0).argmax(axis=1)
    truth = model.held_out.manifest.label_ids
    uar = recall_score(truth, answers, average="macro")
    assert value == pytest.approx(uar)


def test_tune_resumes_and_refuses_other_settings(toy, tmp_path):
    best = tuning.tune(hypermodel(), tmp_path / "trials", 2, "random")
    assert best.trials == 2
    assert set(best.values) == {"units", "dropout", "learning_rate"}
    assert best.values["units"] in (2, 4)
    assert 1e-3 <= best.values["learning_rate"] <= 1e-1
    files = sorted((tmp_path / "trials").glob("trial_*"))
    scores = [
        json.loads((file / "trial.json").read_text())["score"] for file in files
    ]
    assert best.uar == max(scores)
    again = tuning.tune(hypermodel(), tmp_path / "trials", 2, "random")
    assert again == best
    assert sorted((tmp_path / "trials").glob("trial_*")) == files
    for other in (hypermodel("abc"), hypermodel(batch_size=2)):
        with pytest.raises(ValueError, match="another configuration"):
            tuning.tune(other, tmp_path / "trials", 2, "random")
    with pytest.raises(ValueError, match="method='grid'"):
        tuning.tune(other, tmp_path / "other", 2, "grid")


def test_trials_train_on_altered_copies_as_runs_do(monkeypatch):
    altered = []

    def compute(self, manifest, cache_dir=None, *, alteration=None, **options):
        if alteration is not None:
            altered.append((alteration, set(manifest.speakers)))
        return FeatureSet(manifest, [np.ones((9, 24))] * len(manifest))

    monkeypatch.setattr(Preprocessor, "compute", compute)
    kind = tuning.tune_config_class("light_sernet")
    config = kind(altered_copies=2, smoke=True).resolved()
    model = tuning.SystemHyperModel(config, FOLDS[0])
    assert len(model.augmented) == 2
    speakers = set(model.train.manifest.speakers)
    assert altered == [(RandomAlteration(i), speakers) for i in (0, 1)]


def test_hyperparameters_are_the_options_that_a_system_says(no_audio):
    config = tuning.tune_config_class("light_sernet")()
    model = tuning.SystemHyperModel(config.resolved(), FOLDS[0])
    hp = keras_tuner.HyperParameters()
    hp.Fixed("width", 0.25)
    config = model.experiment(hp).config
    kinds = {item.name: type(item).__name__ for item in hp.space}
    assert kinds == {
        "width": "Fixed",
        "separable": "Boolean",
        "dropout": "Float",
        "learning_rate": "Float",
        "label_smoothing": "Choice",
        "loss": "Choice",
    }
    assert config.width == 0.25
    for name, value in hp.values.items():
        assert getattr(config, name) == value
    # All else is what `ser_keras train` trains with.
    trained = LightSERNetConfig().resolved()
    for field in dataclasses.fields(trained):
        if field.name not in ("output_dir", "fold", *kinds):
            found = getattr(config, field.name)
            assert found == getattr(trained, field.name), field.name


@pytest.mark.parametrize(
    ("system", "options", "missing"),
    [
        ("emodarts", {"architecture": "random"}, set()),
        ("hand_made", {"network": "lstm"}, {"num_cells", "filters"}),
        (
            "emotionnas",
            {"architecture": "random", "streams": "deep"},
            {
                "filters",
                "num_cells",
                "recurrent_filters",
                "fusion_units",
                "stream_dropout",
            },
        ),
        (
            "emotionnas",
            {"architecture": "hand_made", "streams": "handcrafted"},
            {"deep_filters", "fusion_units", "stream_dropout"},
        ),
    ],
)
def test_options_without_a_meaning_are_not_tuned(
    no_audio, system, options, missing
):
    config = tuning.tune_config_class(system)(**options)
    model = tuning.SystemHyperModel(config, FOLDS[0])
    everything = set(tuning.system_class(system).tunable)
    assert missing <= everything
    assert set(model.tunable) == everything - missing


def test_bad_input_is_told_before_any_trial(no_audio, tmp_path):
    searched = tuning.tune_config_class("emodarts")(output_dir=str(tmp_path))
    with pytest.raises(ValueError, match="days.*emodarts with a search"):
        tuning.run_tune(searched)
    kind = tuning.tune_config_class("light_sernet")
    for changes in ({"trials": 0}, {"fold": 0}, {"held_out_speakers": 0}):
        ((name, value),) = changes.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            kind(**changes)
    with pytest.raises(ValueError, match="one `seed`"):
        kind(seeds=(0, 1))
    file = tmp_path / "genotype.json"
    ser.SearchSpace(num_nodes=1).sample(0).save(file)
    two = tuning.tune_config_class("emotionnas")(
        genotype=str(file), output_dir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match="genotype of two streams"):
        tuning.run_tune(two, FOLDS)
    assert not (tmp_path / "run").exists()


def test_nothing_is_tuned_if_a_recording_is_there_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "tune", None)
    monkeypatch.setitem(SYSTEMS, "toy", TOY)
    root = write_synthetic_corpus(tmp_path / "babble", 2, 1)
    corpus = ser.load_corpus("iemocap", root)
    first, second = (
        corpus.select(speakers=[x])[0]
        for x in (corpus.speakers[0], corpus.speakers[-1])
    )
    copied = dataclasses.replace(
        second, path=first.path, start=first.start, end=first.end
    )
    leaky = Manifest([copied if u is second else u for u in corpus])
    config = tuning.tune_config_class("toy")(
        output_dir=str(tmp_path / "run"), cache_dir=str(tmp_path / "cache")
    )
    with pytest.raises(LeakError, match=r"\(in train\)"):
        tuning.run_tune(config, leave_one_speaker_out(leaky))
    assert not (tmp_path / "run").exists()


def test_a_worker_has_no_result(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "tune", lambda *_: None)
    monkeypatch.setattr(tuning, "guard_folds", lambda *_: {})
    config = tuning.tune_config_class("toy")(output_dir=str(tmp_path / "run"))
    folds = leave_one_speaker_out(toy_features("abcd", each=8).manifest)
    assert tuning.run_tune(config, folds) is None
    assert not (tmp_path / "run/best_config.json").exists()


def test_command_and_what_train_makes_of_it(
    tmp_path, monkeypatch, capfd, empty_figures
):
    monkeypatch.chdir(tmp_path)
    argv = ["--smoke", "--no-litert", "--fold", "2"]
    argv = [*argv, "--jobs", "2", "--output-dir", "tuned", "--json"]
    argv = ["tune", "light_sernet", *argv]
    assert main(argv) == 0
    result = json.loads(capfd.readouterr().out)
    tuned = tmp_path / "tuned"
    best = json.loads((tuned / "best.json").read_text())
    assert best["trials"] == len(list(tuned.glob("tuning/trial_*"))) == 2
    assert result["tuned"] == best["values"]
    assert result["tuned_uar_of_held_out_speakers"] == best["uar"]
    scored = json.loads((tuned / "best/result.json").read_text())
    assert result["scores"] == scored["scores"]
    assert list(scored["folds"]) == ["09+10"]
    file = ["--config", "tuned/best_config.json"]
    config = parse(LightSERNetConfig, file)
    for name, value in best["values"].items():
        assert getattr(config, name) == value
    argv = ["train", "light_sernet", *file, "--fold", "2", "--json"]
    assert main([*argv, "--output-dir", "again"]) == 0
    again = json.loads(capfd.readouterr().out)
    assert again["folds"] == scored["folds"]


def print_best(folder):
    """What each of the processes of the next test does."""
    SYSTEMS["toy"] = TOY
    Preprocessor.compute = compute
    print("BEST", tuning.tune(hypermodel(), folder, 3, "random"))


def test_chief_and_worker(tmp_path, repository):
    """One process deals out the trials over loopback, the other runs them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        "from tests.experiments.test_tune import print_best;"
        f"print_best({str(tmp_path / 'trials')!r})"
    )
    processes, said = {}, {}
    try:
        for name in ("chief", "worker"):
            environment = {
                **os.environ,
                "KERASTUNER_TUNER_ID": name,
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": str(port),
            }
            with open(tmp_path / f"{name}.txt", "w") as log:
                processes[name] = Program(
                    ["-c", script], log, log, environment, repository
                )
        for name, process in processes.items():
            status = process.wait(timeout=600)
            said[name] = (tmp_path / f"{name}.txt").read_text()
            assert status == 0, said[name][-3000:]
    finally:
        for process in processes.values():
            process.kill()
    assert "BEST None" in said["worker"]
    assert "BEST Tuned(" in said["chief"] and "trials=3" in said["chief"]
    # The worker trained all of them, the chief none.
    assert "train  1/1" in said["worker"] and "train  1/1" not in said["chief"]
    assert len(list((tmp_path / "trials").glob("trial_*"))) == 3
