import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments import compare
from ser_keras.experiments import light_sernet
from ser_keras.experiments import tune
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.protocols.leak_guard import exposed_by_search


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus") / "babble"
    return ser.load_corpus("iemocap", write_synthetic_corpus(root, 2, 2))


def make_config(folder, **changes):
    return ser.experiments.CompareConfig(
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


def test_systems_side_by_side_and_reused(corpus, tmp_path, monkeypatch, capsys):
    config = make_config(tmp_path)
    folds = ser.experiments.compare_protocol(config).folds(corpus)
    page = ser.experiments.run_compare(config, folds, "babble")
    text = page.read_text()
    assert "majority" in text and "lstm" in text and "SYNTHETIC" in text
    table = (page.parent / "report.md").read_text()
    assert "UAR minus that of majority" in table and "| lstm |" in table
    parts = [
        Predictions.load_csv(page.parent / name / "predictions.csv")
        for name in ("majority", "lstm")
    ]
    assert parts[0].ids == parts[1].ids
    assert set(parts[0].speakers) == set(folds[0].test.speakers)

    def fail(*arguments, **options):
        raise AssertionError("a finished run is run again")

    for name in ("cross_validate", "cross_validate_classifier"):
        monkeypatch.setattr(compare, name, fail)
    capsys.readouterr()
    ser.experiments.run_compare(config, folds, "babble")
    assert capsys.readouterr().out.count("finished before") == 2

    # A finished run of anybody's stands beside them.
    alone = make_config(
        tmp_path,
        systems=("majority",),
        runs=(str(page.parent / "lstm"),),
    )
    assert (
        "lstm"
        in ser.experiments.run_compare(alone, folds, "babble").read_text()
    )
    other = dataclasses.replace(alone, fold=2)
    with pytest.raises(ValueError, match=r"lstm: Predictions must cover"):
        ser.experiments.run_compare(other, folds, "babble")
    changed = make_config(tmp_path, train_epochs=7, learning_rate=1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        ser.experiments.run_compare(changed, folds, "babble")
    fewer = dataclasses.replace(config, systems=("lstm",), fold=2)
    with pytest.raises(ValueError, match="lstm was run on other folds"):
        ser.experiments.run_compare(fewer, folds, "babble")


def test_every_network_is_trained_alike(tmp_path):
    config = make_config(tmp_path, smoke=False, random_architectures=2)
    paths = {name: tmp_path / name for name in ("cnn", "random_1", "random_2")}
    networks = {
        name: compare._cell_network(name, config, path)
        for name, path in paths.items()
    }
    genotypes = [
        ser.Genotype.load(networks[name].genotype)
        for name in ("random_1", "random_2")
    ]
    assert genotypes[0] != genotypes[1]
    space = ser.SearchSpace.emodarts("lstm_att")
    assert all(space.contains(genotype) for genotype in genotypes)
    alike = [
        {
            key: value
            for key, value in dataclasses.asdict(network).items()
            if key not in ("genotype", "output_dir", "export_dir")
        }
        for network in networks.values()
    ]
    assert alike[0] == alike[1] == alike[2]
    # Drawn again, it is the same one.
    again = compare._cell_network("random_1", config, paths["random_1"])
    assert ser.Genotype.load(again.genotype) == genotypes[0]


def test_a_run_of_another_state_of_the_corpus_is_not_reused(corpus, tmp_path):
    config = make_config(tmp_path, systems=("majority",), smoke=False)
    folds = ser.experiments.compare_protocol(config).folds(corpus)
    ser.experiments.run_compare(config, folds, "babble")
    # A file less to train on and to test, in folds of the same names.
    fewer = Manifest(tuple(corpus)[:-1], corpus.labels)
    changed = ser.experiments.compare_protocol(config).folds(fewer)
    assert [x.name for x in changed] == [x.name for x in folds]
    with pytest.raises(ValueError, match="another state of the corpus.*Hash"):
        ser.experiments.run_compare(config, changed, "babble")
    # An older run did not record its folds; its predictions say enough.
    (tmp_path / "compare/majority/folds.json").unlink()
    with pytest.raises(ValueError, match=f"test part only.*{corpus[-1].id}"):
        ser.experiments.run_compare(config, changed, "babble")
    assert ser.experiments.run_compare(config, folds, "babble").exists()


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
    folds = ser.experiments.compare_protocol(config).folds(leaky_corpus)
    with pytest.raises(LeakError, match=r"\(in train\)"):
        ser.experiments.run_compare(config, folds, "babble")
    assert not (tmp_path / "compare").exists()


def test_nothing_is_tuned_if_a_recording_is_there_twice(
    leaky_corpus, tmp_path, monkeypatch
):
    tuning = pytest.importorskip("ser_keras.experiments.hypermodels")

    def fail(*arguments):
        raise AssertionError("it is tuned")

    monkeypatch.setattr(tuning, "tune", fail)
    config = ser.experiments.TuneConfig(
        output_dir=str(tmp_path / "tune"),
        cache_dir=str(tmp_path / "cache"),
        smoke=True,
    )
    folds = ser.protocols.leave_one_speaker_out(leaky_corpus)
    with pytest.raises(LeakError, match=r"\(in train\)"):
        ser.experiments.run_tune(config, folds)


def test_two_streams_are_tuned(corpus, tmp_path, monkeypatch):
    tuning = pytest.importorskip("ser_keras.experiments.hypermodels")

    def read(width, rate):
        def read_features(config, manifest, *_):
            arrays = [np.ones((4, width), "float32")] * len(manifest)
            return FeatureSet(manifest, arrays, frame_rate=rate)

        return read_features

    tuned = []
    monkeypatch.setattr(tune, "read_features", read(16, 62.5))
    monkeypatch.setattr(tune, "deep_features", read(5, 8.0))
    monkeypatch.setattr(tune, "deep_extractor", lambda config: None)
    monkeypatch.setattr(tuning, "tune", lambda model, *_: tuned.append(model))
    config = ser.experiments.TuneConfig(
        output_dir=str(tmp_path / "tune"), smoke=True, model="two_stream"
    )
    folds = ser.protocols.leave_one_speaker_out(corpus)
    assert ser.experiments.run_tune(config, folds) is None  # As in a worker.
    (model,) = tuned
    assert isinstance(model, tuning.TwoStreamHyperModel)
    assert model.num_features == {"handcrafted": 16, "deep": 5}
    assert folds[0].name not in model.settings()["train_speakers"]
    file = tmp_path / "genotype.json"
    ser.SearchSpace(num_nodes=1).sample(0).save(file)
    config = dataclasses.replace(config, genotype=str(file))
    with pytest.raises(ValueError, match="genotype of two streams"):
        ser.experiments.run_tune(config, folds)


def test_a_random_architecture_has_heard_nobody(tmp_path, capsys):
    config = make_config(tmp_path)
    network = compare._cell_network("random_1", config, tmp_path / "random_1")
    assert exposed_by_search(network.genotype).stages == {}
    assert "cannot be checked" not in capsys.readouterr().out


def test_what_is_run(tmp_path):
    chosen = make_config(tmp_path, systems=(), random_architectures=2).chosen
    assert chosen[0] == "majority" and "yamnet_probe" not in chosen
    assert [x for x in chosen if "random" in x] == ["random_1", "random_2"]
    assert chosen[-2:] == ("light_sernet", "emodarts")
    with pytest.raises(ValueError, match="svm"):
        make_config(tmp_path, systems=("svm",))
    with pytest.raises(ValueError, match="--yamnet"):
        make_config(tmp_path, systems=("yamnet_probe",))


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


def test_every_protocol_by_name(corpus, tmp_path, monkeypatch, capsys):
    """Also one that overstates, with networks that it did not suit before."""
    config = make_config(
        tmp_path, systems=("majority", "light_sernet"), protocol="random-folds"
    )
    folds = ser.experiments.compare_protocol(config).folds(corpus)
    begun = []

    def begin(config):
        begun.append(config.protocol)
        raise KeyboardInterrupt

    monkeypatch.setattr(light_sernet, "read_features", lambda c, *_: begin(c))
    with pytest.warns(UserWarning, match="OVERSTATES"):
        with pytest.raises(KeyboardInterrupt):
            ser.experiments.run_compare(config, folds, "babble")
    assert begun == ["random-folds"]
    with pytest.raises(ValueError, match="name='random'"):
        make_config(tmp_path, protocol="random")


def test_groups_of_emodb(corpora_root):
    config = ser.experiments.CompareConfig(protocol="speaker-groups")
    corpus = ser.load_corpus("emodb", corpora_root / "emodb")
    folds = ser.experiments.compare_protocol(config).folds(corpus)
    assert [fold.name for fold in folds] == [
        "03+08", "09+10", "11+13", "12+14", "15+16",
    ]  # fmt: skip
    config = ser.experiments.CompareConfig()
    assert len(ser.experiments.compare_protocol(config).folds(corpus)) == 10


def test_recipe(tmp_path, run_recipe):
    pytest.importorskip("opensmile")
    systems = ["--systems", "egemaps_linear", "majority"]
    process = run_recipe("compare.py", tmp_path, *systems)
    assert process.returncode == 0, process.stderr[-4000:]
    folder = tmp_path / "results/run"
    assert "| egemaps_linear |" in process.stdout
    assert "| majority | -" in process.stdout or "+" in process.stdout
    result = json.loads((folder / "egemaps_linear/result.json").read_text())
    assert result["scores"]["n"] == 8
    assert (folder / "report.html").stat().st_size > 10000
