"""Several systems on the same folds; most of these runs train nothing."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.cli.main import main
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.cross_validation import fold_folders
from ser_keras.evaluation.cross_validation import protocol_of
from ser_keras.evaluation.cross_validation import save_tested
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments import compare
from ser_keras.experiments.compare import CompareConfig
from ser_keras.experiments.compare import run_compare
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.output import open_run
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import System
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.reports.report import summary
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus") / "babble"
    return ser.load_corpus("iemocap", write_synthetic_corpus(root, 2, 2))


def make_config(folder, **changes):
    return CompareConfig(
        **{
            "output_dir": str(folder / "compare"),
            "cache_dir": str(folder / "cache"),
            "systems": ("majority", "lstm"),
            "protocol": "speaker-groups",
            "groups": 2,
            "smoke": True,
            **changes,
        }
    )


@pytest.fixture
def runs(monkeypatch):
    """Configurations of the networks' runs, which predict what they please."""
    begun = []

    def run_experiment(config, folds):
        begun.append(config)
        run, labels = open_run(config.resolved()), folds[0].test.labels
        test = Manifest([u for fold in folds for u in fold.test], labels)
        features = FeatureSet(test, [[[0.0]]] * len(test))
        fold_folders(folds, features, run, None)
        save_tested(folds, features, run)
        rows = np.random.default_rng(0).dirichlet(
            np.ones(len(labels)), len(test)
        )
        predictions = Predictions.of(test, rows)
        predictions.save_csv(run.path / "predictions.csv")
        scores = ser.score(predictions)
        outcome = CrossValidation(
            predictions,
            scores,
            {fold.name: scores for fold in folds},
            None,
            leaks_speakers=folds[0].leaks_speakers,
            protocol=protocol_of(folds),
        )
        versions = ser.package_versions()
        run.write_json(
            "result.json", {**summary(outcome), "versions": versions}
        )

    monkeypatch.setattr(compare, "run_experiment", run_experiment)
    return begun


def test_systems_side_by_side_and_reused(corpus, tmp_path, runs, capsys):
    config = make_config(tmp_path)
    folds = make_folds(config, corpus)
    page = run_compare(config, folds)
    text = page.read_text()
    assert "majority" in text and "lstm" in text and "SYNTHETIC" in text
    table = (page.parent / "report.md").read_text()
    assert "UAR minus that of majority" in table and "| lstm |" in table
    parts = [
        Predictions.load_csv(page.parent / name / "predictions.csv")
        for name in ("majority", "lstm")
    ]
    assert parts[0].ids == parts[1].ids
    # A smoke run is of one fold.
    assert set(parts[0].speakers) == set(folds[0].test.speakers)
    assert len(runs) == 1
    capsys.readouterr()
    run_compare(config, folds)
    assert capsys.readouterr().out.count("finished before") == 2
    assert len(runs) == 1

    # A finished run of anybody's stands beside them.
    alone = make_config(
        tmp_path, systems=("majority",), runs=(str(page.parent / "lstm"),)
    )
    assert "lstm" in run_compare(alone, folds).read_text()
    other = dataclasses.replace(alone, fold=2)
    with pytest.raises(ValueError, match=r"lstm: Predictions must cover"):
        run_compare(other, folds)
    changed = make_config(tmp_path, settings=("lstm.learning_rate=1.0",))
    with pytest.raises(ValueError, match="learning_rate: 0.002 there, 1.0 now"):
        run_compare(changed, folds)
    fewer = dataclasses.replace(config, systems=("lstm",), fold=2)
    with pytest.raises(ValueError, match="lstm was run on other folds"):
        run_compare(fewer, folds)
    assert len(runs) == 1


def test_every_network_is_trained_alike(corpus, tmp_path, runs):
    """By the defaults of `ser_keras train`, and on all folds it is given."""
    config = make_config(
        tmp_path,
        systems=("cnn", "random"),
        smoke=False,
        random_architectures=2,
        seed=3,
    )
    run_compare(config, make_folds(config, corpus))
    cnn, *drawn = runs
    assert [x.architecture_seed for x in drawn] == [1, 2]
    for run in runs:
        assert (run.fold, run.seed, run.final, run.litert) == (0, 3, False, 0)
        for name in (
            "filters", "train_epochs", "batch_size", "learning_rate", "dropout",
            "drop_path_rate", "held_out_speakers", "speed_range", "features",
            "clips", "num_features", "duration",
        ):  # fmt: skip
            default = getattr(type(run)(), name)
            assert getattr(run, name) == getattr(cnn, name) == default, name


def test_settings_are_of_all_systems_or_of_one(corpus, tmp_path, runs):
    config = make_config(
        tmp_path,
        systems=("cnn", "lstm", "light_sernet"),
        settings=(
            "dropout=0.5",
            "lstm.dropout=0",
            "hand_made.train-epochs=7",
            "light_sernet.loss=focal",
            "epochs=3",
        ),
    )
    run_compare(config, make_folds(config, corpus))
    assert [run.dropout for run in runs] == [0.5, 0, 0.5]
    assert [run.train_epochs for run in runs[:2]] == [7, 7]
    assert (runs[2].loss, runs[2].epochs) == ("focal", 3)


def test_epochs_and_held_out_speakers_of_all_systems(corpus, tmp_path, runs):
    config = make_config(
        tmp_path,
        systems=("lstm", "light_sernet"),
        epochs=4,
        held_out_speakers=0,
        settings=("light_sernet.epochs=3",),
    )
    run_compare(config, make_folds(config, corpus))
    assert [run.held_out_speakers for run in runs] == [0, 0]
    assert (runs[0].train_epochs, runs[1].epochs) == (4, 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("droput=0.5", "option of a system that is compared.*: droput=0.5"),
        ("emodarts.dropout=0.5", "Received: emodarts.dropout=0.5, .*: lstm"),
        ("majority.seed=3", "comparison decides `seed`.*: majority.seed=3"),
        ("lstm.fold=2", "comparison decides `fold`"),
        ("lstm.final=true", "comparison decides `final`"),
        ("lstm.features=mel", r"\['mfcc', 'log_mel'\].*lstm.features=mel"),
        ("lstm.train_epochs=many", "of type int.*lstm.train_epochs=many"),
        ("lstm.train_epochs=1.5", "of type int.*=1.5"),
        ("lstm.train_epochs=true", "of type int.*=true"),
        ("lstm.dropout=2", "`dropout` must be at least 0 and below 1"),
        ("dropout", "must be OPTION=VALUE"),
        ("lstm.=1", "must be OPTION=VALUE"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, setting, message):
    with pytest.raises(ValueError, match=message):
        make_config(tmp_path, settings=(setting,))


def test_a_run_of_another_state_of_the_corpus_is_not_reused(corpus, tmp_path):
    config = make_config(tmp_path, systems=("majority",), smoke=False)
    folds = make_folds(config, corpus)
    run_compare(config, folds)
    # A file less to train on and to test, in folds of the same names.
    fewer = Manifest(tuple(corpus)[:-1], corpus.labels)
    changed = make_folds(config, fewer)
    assert [x.name for x in changed] == [x.name for x in folds]
    with pytest.raises(ValueError, match="another state of the corpus.*Hash"):
        run_compare(config, changed)
    assert run_compare(config, folds).exists()


@pytest.fixture
def leaky_corpus(corpus, tmp_path):
    """A corpus with a recording that is there twice, of two speakers."""
    first, second = [
        next(u for u in corpus if u.speaker == x and u.label == "anger")
        for x in (corpus.speakers[0], corpus.speakers[-1])
    ]
    copy = tmp_path / f"copy{pathlib.Path(first.path).suffix}"
    shutil.copy(first.path, copy)
    copied = dataclasses.replace(
        second, path=str(copy), start=first.start, end=first.end
    )
    return Manifest([copied if u is second else u for u in corpus])


def test_nothing_is_run_if_a_recording_is_there_twice(leaky_corpus, tmp_path):
    config = make_config(tmp_path, systems=("majority", "light_sernet"))
    with pytest.raises(LeakError, match=r"\(in train\)"):
        run_compare(config, make_folds(config, leaky_corpus))
    assert not (tmp_path / "compare").exists()


def test_what_is_run(tmp_path):
    chosen = make_config(tmp_path, systems=(), random_architectures=2).chosen
    assert chosen[0] == "majority" and "yamnet_probe" not in chosen
    assert [x for x in chosen if "random" in x] == ["random_1", "random_2"]
    assert chosen[-2:] == ("light_sernet", "emodarts")
    with pytest.raises(ValueError, match="svm"):
        make_config(tmp_path, systems=("svm",))
    for name, option in (("yamnet", "--yamnet"), ("encoder", "--encoder")):
        with pytest.raises(ValueError, match=option):
            make_config(tmp_path, systems=(f"{name}_probe",))


def test_probe_of_an_encoder(corpus, tmp_path):
    config = make_config(
        tmp_path,
        systems=("majority", "encoder_probe"),
        encoder=str(REPOSITORY / "tests/encoders/data/whisper"),
    )
    page = run_compare(config, make_folds(config, corpus))
    table = (page.parent / "report.md").read_text()
    assert "UAR minus that of encoder_probe" in table
    (chosen,) = page.parent.glob("encoder_probe/folds/*/chosen.json")
    assert set(json.loads(chosen.read_text())["layers"]) <= {0, 1, 2}


def test_every_system_that_is_registered_can_be_compared(
    corpus, tmp_path, runs, monkeypatch
):
    entry = System("tests.experiments.toy_system:Toy", "A hidden layer.")
    monkeypatch.setitem(SYSTEMS, "toy", entry)
    config = make_config(
        tmp_path, systems=tuple(SYSTEMS), settings=("toy.units=8",)
    )
    run_compare(config, make_folds(config, corpus))
    names = [pathlib.Path(run.output_dir).name for run in runs]
    assert names == list(SYSTEMS) and runs[-1].units == 8


def test_what_the_others_are_compared_with(tmp_path):
    """The strongest by design; nobody looks at a score to choose it."""

    def first(**changes):
        return compare._in_order(make_config(tmp_path, **changes))[0]

    assert first(systems=()) == "compare_rbf"
    systems = ("lstm", "majority", "egemaps_linear")
    assert first(systems=systems) == "egemaps_linear"
    assert first(systems=("lstm", "cnn")) == "lstm"
    assert first(systems=systems, reference="majority") == "majority"
    assert first(runs=("results/a",), reference="results/a") == "results/a"
    with pytest.raises(ValueError, match="reference.*Received: cnn"):
        make_config(tmp_path, reference="cnn")


def test_every_protocol_by_name(corpus, tmp_path, runs):
    """Also one that overstates, of which the report says so."""
    config = make_config(
        tmp_path, systems=("majority", "light_sernet"), protocol="random-folds"
    )
    with pytest.warns(UserWarning, match="OVERSTATES"):
        page = run_compare(config, make_folds(config, corpus))
    assert [run.protocol for run in runs] == ["random-folds"]
    assert "random-folds" in page.read_text()
    with pytest.raises(ValueError, match="protocol='random'"):
        make_config(tmp_path, protocol="random")


def test_command(tmp_path, monkeypatch, capfd):
    """A network is trained and stands beside a classifier."""
    monkeypatch.chdir(tmp_path)
    argv = ["compare", "--smoke", "--systems", "majority", "lstm", "--json"]
    argv += ["--settings", "lstm.speed_range=0", "--output-dir", "out"]
    argv += ["--jobs", "2"]
    assert main(argv) == 0
    out, err = capfd.readouterr()
    assert "finished, 1 of 1" in err  # In a worker.
    assert json.loads(out) == {"report": "out/report.html"}
    table = (tmp_path / "out/report.md").read_text()
    assert "| majority |" in table and "| lstm |" in table
    result = json.loads((tmp_path / "out/lstm/result.json").read_text())
    assert (result["kind"], result["final"]) == ("hand_made", False)
    assert result["scores"]["n"] == 4  # A speaker of the built-in corpus.
    with pytest.raises(SystemExit, match="2"):
        main([*argv, "--settings", "lstm.speed=0"])
    assert "lstm.speed=0" in capfd.readouterr().err


def test_recipe(tmp_path, run_recipe):
    pytest.importorskip("opensmile")
    systems = ["--systems", "egemaps_linear", "majority"]
    process = run_recipe("compare.py", tmp_path, *systems)
    assert process.returncode == 0, process.stderr[-4000:]
    folder = tmp_path / "results/run"
    # The reference, and the difference from it.
    assert "| egemaps_linear |" in process.stdout
    assert "UAR minus that of egemaps_linear" in process.stdout
    result = json.loads((folder / "egemaps_linear/result.json").read_text())
    assert result["scores"]["n"] == 4
    assert (folder / "report.html").stat().st_size > 10000


def test_adapted_to_speakers_is_another_protocol(corpus, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    # What a speaker's clips have in common hides the class.
    place = {name: rng.normal(0, 50, 4) for name in corpus.speakers}
    clips = [
        place[u.speaker][None]
        + np.eye(4)[[corpus.labels.index(u.label)]]
        + rng.normal(0, 0.1, (1, 4))
        for u in corpus
    ]

    class Features:
        hash = "0"

        def compute(self, manifest, cache_dir, skip_bad_audio):
            return FeatureSet(corpus, clips).select(manifest)

    monkeypatch.setattr(compare, "_preprocessor", lambda *_: Features())
    monkeypatch.setattr(compare, "_settings", lambda _: "0")
    monkeypatch.setitem(
        compare.CLASSICAL, "majority", ("logistic_regression", "none")
    )
    found = {}
    for adapt in ("none", "speaker"):
        config = make_config(
            tmp_path / adapt, systems=("majority",), adapt=adapt, smoke=False
        )
        run_compare(config, make_folds(config, corpus))
        folder = pathlib.Path(config.output_dir)
        found[adapt] = json.loads((folder / "majority/result.json").read_text())
        says = "ADAPTED TO EACH SPEAKER" in (folder / "report.md").read_text()
        assert says == (adapt == "speaker")
    assert found["speaker"]["scores"]["uar"] > 0.9
    assert found["none"]["scores"]["uar"] < 0.6
    assert found["speaker"]["protocol"]["name"].endswith("EACH SPEAKER")


def test_networks_are_not_adapted(tmp_path):
    with pytest.raises(ValueError, match="adapt='speaker' with lstm"):
        make_config(tmp_path, adapt="speaker")
