import dataclasses
import json
import os
import subprocess
import sys

import pytest

import ser_keras as ser
from ser_keras.data.synthetic import write_synthetic_corpus
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiment import compare


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus") / "babble"
    return ser.load_corpus("iemocap", write_synthetic_corpus(root, 2, 2))


def make_config(folder, **changes):
    return ser.CompareConfig(
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
    folds = ser.compare_folds(config, corpus)
    page = ser.run_compare(config, folds, "babble")
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
    ser.run_compare(config, folds, "babble")
    assert capsys.readouterr().out.count("finished before") == 2

    # A finished run of anybody's stands beside them.
    alone = make_config(
        tmp_path,
        systems=("majority",),
        runs=(str(page.parent / "lstm"),),
    )
    assert "lstm" in ser.run_compare(alone, folds, "babble").read_text()
    other = dataclasses.replace(alone, fold=2)
    with pytest.raises(ValueError, match=r"lstm/predictions.csv.*lacks"):
        ser.run_compare(other, folds, "babble")
    changed = make_config(tmp_path, train_epochs=7, learning_rate=1.0)
    with pytest.raises(ValueError, match="learning_rate"):
        ser.run_compare(changed, folds, "babble")
    fewer = dataclasses.replace(config, systems=("lstm",), fold=2)
    with pytest.raises(ValueError, match="finished run on other folds"):
        ser.run_compare(fewer, folds, "babble")


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


def test_what_is_run(tmp_path):
    chosen = make_config(tmp_path, systems=(), random_architectures=2).chosen
    assert chosen[0] == "majority" and "yamnet_probe" not in chosen
    assert [x for x in chosen if "random" in x] == ["random_1", "random_2"]
    assert chosen[-2:] == ("light_sernet", "emodarts")
    with pytest.raises(ValueError, match="svm"):
        make_config(tmp_path, systems=("svm",))
    with pytest.raises(ValueError, match="--yamnet"):
        make_config(tmp_path, systems=("yamnet_probe",))


def test_groups_of_emodb(corpora_root):
    config = ser.CompareConfig(protocol="speaker-groups")
    corpus = ser.load_corpus("emodb", corpora_root / "emodb")
    assert [fold.name for fold in ser.compare_folds(config, corpus)] == [
        "03+08", "09+10", "11+13", "12+14", "15+16",
    ]  # fmt: skip
    config = ser.CompareConfig()
    assert len(ser.compare_folds(config, corpus)) == 10


def test_recipe(tmp_path, repository):
    pytest.importorskip("opensmile")
    process = subprocess.run(
        [
            sys.executable,
            str(repository / "recipes/compare.py"),
            "--smoke",
            *("--systems", "egemaps_linear", "majority"),
        ],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    folder = tmp_path / "results/compare"
    assert "| egemaps_linear |" in process.stdout
    assert "| majority | -" in process.stdout or "+" in process.stdout
    result = json.loads((folder / "egemaps_linear/result.json").read_text())
    assert result["scores"]["n"] == 8
    assert (folder / "report.html").stat().st_size > 10000
