"""emoDARTS runs: what is wrong is said before anything is trained."""

import dataclasses
import importlib.util
import json
import shutil

import numpy as np
import pytest
import soundfile

import ser_keras as ser
from ser_keras.cli.config import make_parser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.experiments import emodarts
from ser_keras.experiments.common import open_run
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import SkippedUtterance
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import LeakError

LABELS = ("anger", "neutral")
MANIFEST = Manifest(
    [
        Utterance(f"{s}{i}", "x.wav", LABELS[i % 2], s)
        for s in "abcdef"
        for i in range(8)
    ],
    LABELS,
)
FOLDS = ser.protocols.leave_one_speaker_out(MANIFEST)


class Searched(Exception):
    """The checks are over."""


@pytest.fixture
def bad_audio(monkeypatch):
    """Features of nothing; ids in here are skipped. Training is an error."""
    bad = set()

    def read(config, manifest, frontend, normalization):
        return FeatureSet(
            Manifest([u for u in manifest if u.id not in bad], LABELS),
            [np.ones((9, 4), "float32") for u in manifest if u.id not in bad],
            [SkippedUtterance(u.id, "", "") for u in manifest if u.id in bad],
        )

    def search(*_, **__):
        raise Searched

    monkeypatch.setattr(emodarts, "read_features", read)
    monkeypatch.setattr(emodarts, "read_copies", lambda *_: [])
    monkeypatch.setattr(emodarts, "search", search)
    monkeypatch.setattr(emodarts, "cross_validate", search)
    return bad


def config(folder, **changes):
    return ser.experiments.EmoDARTSConfig(
        **{
            "output_dir": str(folder / "run"),
            "export_dir": str(folder / "served"),
            "batch_size": 8,
            "search_batch_size": 4,
        }
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 2.0}, "`dropout` must be at least 0 and below 1"),
        ({"drop_path_rate": 1.0}, "`drop_path_rate` must be .* below 1"),
        ({"held_out_speakers": -1}, "held_out_speakers=-1"),
        ({"filters": 0}, "`filters` must be a positive integer"),
        ({"recurrent_filters": 0}, "recurrent_filters=0"),
        ({"num_nodes": 0}, "num_nodes=0"),
        ({"num_cells": 2}, "num_cells=2"),
        ({"num_recurrent_cells": 0}, "num_recurrent_cells=0"),
        ({"learning_rate": -1.0}, "`learning_rate` must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"architecture_learning_rate": 0.0}, "architecture_learning_rate=0"),
        ({"duration": 0.0}, "duration=0"),
        ({"search_batch_size": 0}, "search_batch_size=0"),
        ({"search_order": 3}, "search_order=3"),
        ({"search_epochs": 4}, "the architecture never moves.*-epochs 0"),
        ({"search_warm_up_epochs": -1}, "search_warm_up_epochs=-1"),
        ({"pretrain_epochs": -1}, "pretrain_epochs=-1"),
        ({"published": True, "search_epochs": 3}, "sets search_epochs=50.*=3"),
        (
            {"published": True, "recurrent_filters": 16},
            "sets recurrent_filters=128",
        ),
    ],
)
def test_settings_that_are_wrong_in_any_run(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **changes)


def test_settings_that_are_set_otherwise():
    """By a genotype, which is not searched, or by `smoke` and `published`."""
    ser.experiments.EmoDARTSConfig(
        genotype="x.json", search_epochs=1, num_cells=0
    )
    assert (
        ser.experiments.EmoDARTSConfig(smoke=True, search_epochs=1)
        .resolved()
        .smoke
    )
    published = ser.experiments.EmoDARTSConfig(
        published=True, search_epochs=50
    ).resolved()
    assert published.search_filters == 8 and published.search_order == 2
    # What `config.json` of such a run holds.
    assert dataclasses.replace(published) == published
    assert (
        ser.experiments.EmoDARTSConfig(published=True, smoke=True)
        .resolved()
        .smoke
    )


def test_help_tells_what_the_defaults_do():
    text = " ".join(
        make_parser(ser.experiments.EmoDARTSConfig).format_help().split()
    )
    assert "Length of a clip in seconds; see `clips`." in text
    assert "`saved_models/<name of output_dir>` in the working" in text


def test_a_short_search_by_the_recipe_says_what_to_do(repository):
    path = repository / "recipes/iemocap_emodarts.py"
    spec = importlib.util.spec_from_file_location("iemocap_emodarts", path)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    with pytest.raises(ValueError, match="--search-warm-up-epochs 0"):
        recipe.Config(search_epochs=2)
    assert recipe.Config(search_epochs=2, search_warm_up_epochs=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out_speakers": 20}, "20"),
        ({"batch_size": 5000}, "most the 32 .*fold 'a'.*batch_size=5000"),
        ({"search_batch_size": 5000}, "the 16 .* smaller half.*=5000"),
    ],
)
def test_settings_that_do_not_suit_the_folds(
    tmp_path, bad_audio, changes, message
):
    with pytest.raises(ValueError, match=message):
        ser.experiments.run_emodarts(config(tmp_path, **changes), FOLDS)
    # A corrected command finds the folder free.
    assert not (tmp_path / "run").exists()
    with pytest.raises(Searched):
        ser.experiments.run_emodarts(config(tmp_path), FOLDS)


def test_bad_audio_that_leaves_too_little(tmp_path, bad_audio):
    bad_audio.update(u.id for u in FOLDS[0].train if u.label == "anger")
    with pytest.raises(ValueError, match=r"Fold 'a'.*Missing: \['anger'\]"):
        ser.experiments.run_emodarts(config(tmp_path), FOLDS)
    bad_audio.clear()
    bad_audio.update(u.id for u in FOLDS[1].test)
    with pytest.raises(ValueError, match="Fold 'b' .* test part"):
        ser.experiments.run_emodarts(config(tmp_path, fold=0), FOLDS)
    assert not (tmp_path / "run").exists()
    bad_audio.clear()
    bad_audio.add("c3")
    with pytest.raises(Searched):
        ser.experiments.run_emodarts(config(tmp_path), FOLDS)
    (skipped,) = json.loads((tmp_path / "run/skipped.json").read_text())
    assert skipped["id"] == "c3"


def genotype_file(folder, seed=0):
    file = folder / "searched" / "mine.json"
    file.parent.mkdir(exist_ok=True)
    ser.SearchSpace.emodarts("lstm_att").sample(seed).save(file)
    return file


def test_a_given_genotype_is_kept_and_compared(tmp_path, bad_audio):
    file = genotype_file(tmp_path)
    ExposedAudio({"search": ["a1"]}).save(file.parent)
    with pytest.raises(Searched):
        ser.experiments.run_emodarts(
            config(tmp_path, genotype=str(file)), FOLDS
        )
    kept = tmp_path / "run" / "genotype.json"
    assert Genotype.load(kept) == Genotype.load(file)
    assert ExposedAudio.load(kept.parent).stages == {"search": ["a1"]}
    before = kept.read_bytes()
    genotype_file(tmp_path, seed=1)
    with pytest.raises(ValueError, match="mine.json must hold the genotype"):
        ser.experiments.run_emodarts(
            config(tmp_path, genotype=str(file)), FOLDS
        )
    assert kept.read_bytes() == before
    genotype_file(tmp_path)
    with pytest.raises(Searched):
        ser.experiments.run_emodarts(
            config(tmp_path, genotype=str(file)), FOLDS
        )


def test_a_genotype_of_unknown_origin_stays_so(tmp_path, bad_audio):
    file = genotype_file(tmp_path)
    with pytest.raises(Searched):
        ser.experiments.run_emodarts(
            config(tmp_path, genotype=str(file)), FOLDS
        )
    assert not (tmp_path / "run" / "exposed_audio.json").exists()


def test_a_genotype_without_the_cells_is_named(tmp_path, bad_audio):
    file = tmp_path / "half.json"
    cell = CellGenotype((Edge(0, 2, "lstm_1"),), (2,))
    Genotype(recurrent=cell).save(file)
    with pytest.raises(ValueError, match="half.json has no 'normal' cell"):
        ser.experiments.run_emodarts(
            config(tmp_path, genotype=str(file)), FOLDS
        )
    assert not (tmp_path / "run").exists()


def test_a_copy_in_the_corpus_of_the_search(tmp_path, bad_audio):
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

    folds = ser.protocols.leave_one_speaker_out(corpus("x"))
    others = corpus("y")
    shutil.copy(folds[0].test[2].path, others[7].path)
    with pytest.raises(LeakError, match=r"'xa'.* xa2 \(in search corpus\)"):
        ser.experiments.run_emodarts(config(tmp_path), folds, others)
    assert not (tmp_path / "run").exists()
    with pytest.raises(Searched):
        ser.experiments.run_emodarts(config(tmp_path, fold=2), folds, others)


def test_the_saved_model_has_a_place_to_go(tmp_path):
    (tmp_path / "served").write_text("a file")
    for name in ("served", "served/deeper"):
        with pytest.raises(ValueError, match="served is a file"):
            open_run(config(tmp_path, export_dir=str(tmp_path / name)))
    assert not (tmp_path / "run").exists()


def test_where_files_go_may_change(tmp_path):
    first = open_run(config(tmp_path))
    changed = {"export_dir": str(tmp_path / "other"), "cache_dir": "elsewhere"}
    again = open_run(config(tmp_path, **changed))
    assert again.resumed and again.config == first.config
    with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        open_run(config(tmp_path, seed=1, **changed))
