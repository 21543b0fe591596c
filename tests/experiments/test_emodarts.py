"""emoDARTS: settings and folds that do not fit are told before any training."""

import dataclasses
import importlib.util

import pytest

import ser_keras as ser
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.emodarts import EmoDARTSExperiment
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from tests.experiments.conftest import FOLDS
from tests.experiments.conftest import Begun


def config(folder, **changes):
    return EmoDARTSConfig(
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
        ({"speed_range": 1.0}, "speed_range=1.0"),
        ({"published": True, "search_epochs": 3}, "sets search_epochs=50.*=3"),
        (
            {"published": True, "recurrent_filters": 16},
            "sets recurrent_filters=128",
        ),
        (
            {"genotype": "x.json", "architecture": "random"},
            "`genotype` must be left out with a random architecture",
        ),
        ({"search_corpus": "ravdess"}, "together.*search_corpus='ravdess'"),
        ({"search_dir": "/ravdess"}, "together.*search_dir='/ravdess'"),
    ],
)
def test_settings_that_are_wrong_in_any_run(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **changes)


def test_settings_that_are_set_otherwise():
    """By a genotype, which is not searched, or by `smoke` and `published`."""
    EmoDARTSConfig(genotype="x.json", search_epochs=1, num_cells=0)
    assert EmoDARTSConfig(smoke=True, search_epochs=1).resolved().smoke
    published = EmoDARTSConfig(published=True, search_epochs=50).resolved()
    assert published.search_filters == 8 and published.search_order == 2
    # What `config.json` of such a run holds.
    assert dataclasses.replace(published) == published
    assert EmoDARTSConfig(published=True, smoke=True).resolved().smoke


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
        ({"held_out_speakers": 20}, "held_out_speakers=20|count=20"),
        ({"batch_size": 5000}, "most the 32 .*fold 'a'.*batch_size=5000"),
        ({"search_batch_size": 5000}, "the 16 .* smaller half.*=5000"),
        ({"pretrain_epochs": 3}, "--search-corpus.*pretrain_epochs=3"),
    ],
)
def test_settings_that_do_not_suit_the_folds(
    tmp_path, begins, changes, message
):
    with pytest.raises(ValueError, match=message):
        run_experiment(config(tmp_path, **changes), FOLDS)
    # A corrected command finds the folder free.
    assert not (tmp_path / "run").exists()
    with pytest.raises(Begun):
        run_experiment(config(tmp_path), FOLDS)


def test_a_genotype_without_the_cells_is_named(tmp_path, begins):
    file = tmp_path / "half.json"
    cell = CellGenotype((Edge(0, 2, "lstm_1"),), (2,))
    Genotype(recurrent=cell).save(file)
    with pytest.raises(ValueError, match="half.json has no 'normal' cell"):
        run_experiment(config(tmp_path, genotype=str(file)), FOLDS)
    assert not (tmp_path / "run").exists()


def test_random_architectures_are_those_of_their_seeds():
    def drawn(**changes):
        options = {"architecture": "random", "seed": 3} | changes
        return EmoDARTSExperiment(EmoDARTSConfig(**options)).genotype()

    space = ser.SearchSpace.emodarts("lstm_att")
    assert drawn() == drawn(seed=0, architecture_seed=3) == space.sample(3)
    assert drawn(architecture_seed=0) == space.sample(0) != drawn()
    assert EmoDARTSExperiment(EmoDARTSConfig()).genotype() is None
