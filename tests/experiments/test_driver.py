"""The one driver: what it refuses, what it writes, and how it goes on."""

import dataclasses
import json
import math
import shutil
import types

import numpy as np
import pytest
import soundfile

import ser_keras as ser
from ser_keras.audio.io import load_audio
from ser_keras.cli import parse
from ser_keras.cli.experiments import train_command
from ser_keras.cli.export import ExportConfig
from ser_keras.cli.export import export
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.reading import Reading
from ser_keras.evaluation import cross_validation
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments import driver
from ser_keras.experiments.driver import pooled_temperature
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import System
from ser_keras.export.card import ModelCard
from ser_keras.export.run import network_folder
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.genotype import Genotype
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.protocols.leak_guard import audio_hashes
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.reports.data import read_runs
from ser_keras.training import feature_tasks
from ser_keras.training.engines import fan_out
from tests.experiments.conftest import FOLDS
from tests.experiments.conftest import LABELS
from tests.experiments.conftest import MANIFEST
from tests.experiments.conftest import Begun
from tests.experiments.toy_system import ToyConfig
from tests.experiments.toy_system import ToyExperiment

CONFIG = ToyConfig(
    output_dir="run", export_dir="served", cache_dir="cache", fold=0
)


@pytest.fixture(scope="module")
def toy():
    """The toy system is registered."""
    with pytest.MonkeyPatch.context() as patch:
        entry = System("tests.experiments.toy_system:Toy", "A hidden layer.")
        patch.setitem(SYSTEMS, "toy", entry)
        yield


@pytest.fixture(scope="module")
def folds():
    """Three speakers, each four times angry and four times sad."""
    corpus = ser.load_corpus("emodb", built_in_corpus())
    parts = [
        corpus.select(speakers=[speaker], labels=[label])[:4]
        for speaker in ("03", "08", "09")
        for label in ("anger", "sadness")
    ]
    utterances = [u for part in parts for u in part]
    reading = Reading({"songs": 2})
    labels = ("anger", "sadness")
    return leave_one_speaker_out(Manifest(utterances, labels, reading))


@pytest.fixture(scope="module")
def first(toy, folds, tmp_path_factory):
    """A folder in which the toy system has run on all folds, once."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_experiment(CONFIG, folds)
    return folder


@pytest.fixture
def work(first, tmp_path, monkeypatch):
    """The working directory: a copy of that folder."""
    shutil.copytree(first, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def waveforms(folds):
    return [load_audio(u.path, 16000) for u in folds[0].test]


def probabilities(path, folds):
    """Answers of a SavedModel; one by one, as lengths differ."""
    model = ser.load_saved_model(path)
    return [model([clip])["probabilities"][0] for clip in waveforms(folds)]


def answers(folder, run, folds, temperature=1.0):
    """Those of a network of a run, from features to probabilities."""
    network = ser.load_model(folder / "network.keras")
    features = load_preprocessor(run).compute(folds[0].test)
    logits = network(np.stack(features.arrays)[..., None], training=False)
    exponents = np.exp(np.asarray(logits) / temperature)
    return exponents / exponents.sum(1, keepdims=True)


def test_a_new_system_is_one_file(work, folds):
    """Run, export and command know it by its name in `SYSTEMS`."""
    result = read(work / "run/result.json")
    record = read(work / "run/preprocessor.json")
    assert result["kind"] == record["kind"] == "toy"
    assert result["preprocessor"] == load_preprocessor("run").hash
    assert result["scores"]["n"] == 24 and len(result["folds"]) == 3
    again = export(ExportConfig("run", output="again"))["exported"]
    np.testing.assert_allclose(
        probabilities(again, folds),
        probabilities(result["saved_model"], folds),
        atol=1e-6,
    )
    command = train_command("toy")
    config = parse(command.config, ["--units", "8", "--fold", "2"])
    assert config == ToyConfig(units=8, fold=2)


def test_features_are_tasks_of_an_engine(work, folds, monkeypatch, capsys):
    engines = []

    def run_tasks(*arguments, engine, **options):
        engines.append(engine)
        return fan_out.run_tasks(*arguments, engine="local", **options)

    monkeypatch.setattr(feature_tasks, "run_tasks", run_tasks)
    monkeypatch.setattr(feature_tasks, "SHARD", 12)
    config = dataclasses.replace(
        CONFIG, cache_dir="other", engine="ray", jobs=2, strategy="none"
    )
    run = driver._make_run(config, folds, None)
    found = run.prepare()["features"]
    assert engines == ["ray"]
    assert "finished, 2 of 2" in capsys.readouterr().out
    expected = run.preprocessor.compute(found.manifest, "cache")
    np.testing.assert_allclose(found.arrays, expected.arrays, atol=1e-6)


def test_the_network_that_is_exported_was_trained_on_all_speakers(work, folds):
    result = read(work / "run/result.json")
    assert result["final"] is True
    exposed = ExposedAudio.load(work / "run/final").stages
    everyone = Manifest([u for fold in folds for u in fold.test])
    assert set(exposed) == {"train"}
    assert set(exposed["train"]) == set(audio_hashes(everyone).values())
    found = probabilities(result["saved_model"], folds)
    own = answers(work / "run/final", "run", folds, result["temperature"])
    np.testing.assert_allclose(found, own, atol=1e-5)
    last = work / "run/folds" / folds[-1].name
    assert np.abs(answers(last, "run", folds) - found).max() > 1e-3
    card = (work / result["saved_model"] / "card.md").read_text()
    assert "a network that was trained on all speakers" in card
    assert "probabilities are calibrated" in card


def test_it_is_trained_to_the_median_of_the_chosen_epochs(work, folds):
    # Not to the mean, which is 4, and not as the last fold.
    for fold, number in zip(folds, (9, 2, 1), strict=True):
        file = work / "run/folds" / fold.name / "chosen.json"
        assert read(file)["epoch"] in (1, 2, 3)
        file.write_text(json.dumps({"epoch": number}))
    shutil.rmtree(work / "run/final")
    (work / "run/result.json").unlink()
    run_experiment(CONFIG, folds)
    assert read(work / "run/final/chosen.json") == {"epoch": 2}
    rows = (work / "run/final/train_metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2


def test_a_finished_run_is_not_trained_again(work, folds, monkeypatch):
    result = read(work / "run/result.json")
    predictions = (work / "run/predictions.csv").read_bytes()

    def fail(*arguments, **options):
        raise AssertionError("a finished run is trained")

    monkeypatch.setattr(cross_validation, "train_network", fail)
    monkeypatch.setattr(driver, "export_saved_model", fail)
    again = run_experiment(CONFIG, folds)
    assert json.loads(json.dumps(again)) == result
    assert (work / "run/predictions.csv").read_bytes() == predictions


def test_without_a_final_network_the_last_folds_is_exported(work, folds):
    shutil.rmtree(work / "run/final")
    config = dataclasses.replace(CONFIG, final=False, calibrate=False)
    result = run_experiment(config, folds)
    assert result["final"] is False and result["temperature"] is None
    assert not (work / "run/final").exists()
    # The earlier version has another network, so there is a new one.
    assert result["saved_model"] == "served/2"
    last = work / "run/folds" / folds[-1].name
    np.testing.assert_allclose(
        probabilities("served/2", folds),
        answers(last, "run", folds),
        atol=1e-5,
    )
    card = (work / "served/2/card.md").read_text()
    assert "the weights are those of the last fold" in card
    assert "are calibrated:" not in card
    # It can be added to the finished run, and is a version of its own.
    assert run_experiment(CONFIG, folds)["saved_model"] == "served/3"
    assert (work / "run/final/network.keras").exists()


def test_one_fold_has_no_final_network(toy, folds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(CONFIG, fold=2, epochs=1)
    result = run_experiment(config, folds)
    assert result["final"] is False
    assert list(result["folds"]) == [folds[1].name]
    assert not (tmp_path / "run/final").exists()
    np.testing.assert_allclose(
        probabilities(result["saved_model"], folds),
        answers(
            tmp_path / "run/folds" / folds[1].name,
            "run",
            folds,
            result["temperature"],
        ),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out_speakers": 2}, "less than the 2 training speakers"),
        ({"hold_out": ("99",)}, "unknown ones: .'99'"),
        ({"batch_size": 99}, "batch_size=99"),
        ({"fold": 7}, "fold=7"),
    ],
)
def test_folds_are_checked_before_features(
    toy, folds, tmp_path, monkeypatch, options, message
):
    """Hours of features for a command that must be corrected are wasted."""
    monkeypatch.chdir(tmp_path)

    def features(self):
        raise AssertionError("features were begun")

    monkeypatch.setattr(ToyExperiment, "preprocessor", features)
    with pytest.raises(ValueError, match=message):
        run_experiment(dataclasses.replace(CONFIG, **options), folds)


def test_a_single_class_is_told_before_features(toy, folds):
    one = folds[0].train.select(labels=["anger"])
    with pytest.raises(ValueError, match="two classes.*{'anger': 4}"):
        run_experiment(CONFIG, leave_one_speaker_out(one))


def test_the_result_says_what_was_not_used(work, folds, first):
    found = read(work / "run/result.json")
    assert found["corpus"] == {
        "utterances": 24,
        "speakers": 3,
        "sessions": 0,
        "left_out": folds[0].train.reading.left_out,
        "missing": [],
        "notes": [],
    }
    assert found["corpus"]["left_out"] == {"songs": 2}
    held_out = found["held_out"]
    assert sorted(x["speakers"] for x in held_out.values()) == [
        ["03"],
        ["08"],
        ["09"],
    ]
    card = ModelCard.from_run(work / "run").markdown("toy")
    for entry in held_out.values():
        assert f"{entry['speakers'][0]} (UAR {entry['uar']:.3f})" in card


def test_speakers_of_any_name(toy, folds, tmp_path, monkeypatch):
    """Folders have safe names; what is in them has the speakers' own."""
    monkeypatch.chdir(tmp_path)
    other = {"03": "spk/a", "08": "..", "09": "SPK/A" + "x" * 300}
    manifest = Manifest(
        [
            dataclasses.replace(u, speaker=other[u.speaker])
            for u in (*folds[0].train, *folds[0].test)
        ],
        folds[0].train.labels,
    )
    names = sorted(other.values())
    config = dataclasses.replace(CONFIG, epochs=1)
    result = run_experiment(config, leave_one_speaker_out(manifest))
    assert sorted(result["folds"]) == names
    assert sorted(result["scores"]["per_speaker"]) == names
    run = tmp_path / "run"
    folders = read(run / "folds.json")["folders"]
    assert sorted(folders) == names
    assert {x.name for x in (run / "folds").iterdir()} == {*folders.values()}
    for name, folder in folders.items():
        file = run / "folds" / folder / "predictions.csv"
        assert set(Predictions.load_csv(file).speakers) == {name}
        assert network_folder(run, name) == file.parent
    (report,) = read_runs([run])
    assert report.fold_of == {
        run / "folds" / folder: name for name, folder in folders.items()
    }


def test_the_temperature_is_the_geometric_mean_of_the_folds(first):
    outcome = types.SimpleNamespace(temperatures={"a": 1.0, "b": 4.0})
    assert pooled_temperature(outcome) == pytest.approx(2)
    outcome.temperatures = None
    assert pooled_temperature(outcome) is None
    result = read(first / "run/result.json")
    temperatures = result["temperature_scaling"]["temperatures"].values()
    assert len(temperatures) == 3
    assert result["temperature"] == pytest.approx(
        math.prod(temperatures) ** (1 / 3)
    )


def test_a_run_of_an_older_version_goes_on(work, folds):
    """It has no `preprocessor.json`, and knows none of the newer options."""
    for file in (work / "run").rglob("config.json"):
        record = read(file)
        for name in ("final", "calibrate"):
            del record["config"][name]
        file.write_text(json.dumps(record))
    (work / "run/preprocessor.json").unlink()
    before = read(work / "run/result.json")
    with pytest.raises(FileNotFoundError, match="before 0.2.0"):
        export(ExportConfig("run", output="again"))
    assert run_experiment(CONFIG, folds)["scores"] == before["scores"]
    assert load_preprocessor("run").hash == before["preprocessor"]


def test_a_run_of_other_options_is_refused(work, folds, monkeypatch):
    """Before audio is read."""
    monkeypatch.setattr(ser.Preprocessor, "compute", None)
    before = (work / "run/config.json").read_bytes()
    for name, value in (("seed", 1), ("units", 8), ("learning_rate", 0.5)):
        changed = dataclasses.replace(CONFIG, **{name: value})
        with pytest.raises(ValueError, match=f"  {name}: .* there, {value}"):
            run_experiment(changed, folds)
    assert (work / "run/config.json").read_bytes() == before


def test_a_configuration_of_no_system_is_refused():
    with pytest.raises(ValueError, match="CompareConfig"):
        run_experiment(ser.experiments.CompareConfig())


def emodarts(folder, **changes):
    return EmoDARTSConfig(
        **{
            "output_dir": str(folder / "run"),
            "export_dir": str(folder / "served"),
            "batch_size": 8,
            "search_batch_size": 4,
        }
        | changes
    )


def test_bad_audio_that_leaves_too_little(tmp_path, begins):
    begins.update(u.id for u in FOLDS[0].train if u.label == "anger")
    with pytest.raises(ValueError, match=r"Fold 'a'.*Missing: \['anger'\]"):
        run_experiment(emodarts(tmp_path), FOLDS)
    begins.clear()
    begins.update(u.id for u in FOLDS[1].test)
    with pytest.raises(ValueError, match="Fold 'b' .* test part"):
        run_experiment(emodarts(tmp_path, fold=0), FOLDS)
    assert not (tmp_path / "run").exists()
    begins.clear()
    begins.add("c3")
    with pytest.raises(Begun):
        run_experiment(emodarts(tmp_path), FOLDS)
    (skipped,) = read(tmp_path / "run/skipped.json")
    assert skipped["id"] == "c3"


def genotype_file(folder, seed=0):
    file = folder / "searched" / "mine.json"
    file.parent.mkdir(exist_ok=True)
    ser.SearchSpace.emodarts("lstm_att").sample(seed).save(file)
    return file


def test_a_given_genotype_is_kept_and_compared(tmp_path, begins):
    file = genotype_file(tmp_path)
    config = emodarts(tmp_path, genotype=str(file))
    ExposedAudio({"search": ["a1"]}).save(file.parent)
    with pytest.raises(Begun):
        run_experiment(config, FOLDS)
    kept = tmp_path / "run" / "genotype.json"
    assert Genotype.load(kept) == Genotype.load(file)
    assert ExposedAudio.load(kept.parent).stages == {"search": ["a1"]}
    before = kept.read_bytes()
    genotype_file(tmp_path, seed=1)
    with pytest.raises(ValueError, match="mine.json must hold the genotype"):
        run_experiment(config, FOLDS)
    assert kept.read_bytes() == before
    genotype_file(tmp_path)
    with pytest.raises(Begun):
        run_experiment(config, FOLDS)


def test_a_genotype_of_unknown_origin_stays_so(tmp_path, begins, capsys):
    file = genotype_file(tmp_path)
    with pytest.raises(Begun):
        run_experiment(emodarts(tmp_path, genotype=str(file)), FOLDS)
    assert not (tmp_path / "run" / "exposed_audio.json").exists()
    assert "cannot be checked" in capsys.readouterr().out


def test_a_random_architecture_was_exposed_to_nothing(tmp_path, begins, capsys):
    with pytest.raises(Begun):
        run_experiment(emodarts(tmp_path, architecture="random"), FOLDS)
    assert ExposedAudio.load(tmp_path / "run").stages == {}
    assert "cannot be checked" not in capsys.readouterr().out


def test_a_copy_in_the_corpus_of_the_search(tmp_path, begins):
    """It is told before the search, not after."""
    random = np.random.default_rng(0)

    def corpus(prefix):
        utterances = []
        for utterance in MANIFEST:
            path = tmp_path / f"{prefix}{utterance.id}.wav"
            soundfile.write(path, random.normal(0, 0.1, 2000), 16000)
            utterances.append(
                dataclasses.replace(
                    utterance,
                    id=path.stem,
                    path=str(path),
                    speaker=prefix + utterance.speaker,
                )
            )
        return Manifest(utterances, LABELS)

    folds, other = leave_one_speaker_out(corpus("x")), corpus("y")
    shutil.copy(folds[0].test[2].path, other[7].path)
    with pytest.raises(LeakError, match=r"'xa'.* xa2 \(in search\)"):
        run_experiment(emodarts(tmp_path), folds, other)
    with pytest.raises(ValueError, match="speakers"):  # By their names.
        run_experiment(emodarts(tmp_path), folds, folds[0].test)
    assert not (tmp_path / "run").exists()
    with pytest.raises(Begun):
        run_experiment(emodarts(tmp_path, fold=2), folds, other)
    stages = ExposedAudio.load(tmp_path / "run").stages
    assert len(stages["search"]) == len(other)
