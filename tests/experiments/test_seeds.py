"""One command, several seeds, one table; with runs that train nothing."""

import dataclasses
import json
import pathlib
import statistics
import types

import pytest

from ser_keras.cli import parse
from ser_keras.experiments import driver
from ser_keras.experiments import seeds
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.output import open_run
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import config_class
from ser_keras.experiments.seeds import markdown
from ser_keras.experiments.seeds import run_seeds
from ser_keras.training.run_folder import RunFolder

RESULT = {
    "scores": {"uar": 0.5, "wa": 0.6, "n": 40},
    "uar_interval_95": None,
    "protocol": {"name": "leave-one-speaker-out", "hash": "abc"},
    "leaks_speakers": False,
    "selects_on_test": False,
}


def fake_run(config, folds):
    """Like a real one it writes `config.json`, and refuses another's."""
    assert not config.seeds
    result = {
        **RESULT,
        "scores": {"uar": 0.5 + config.seed / 10, "wa": 0.6, "n": 40},
        "uar_interval_95": [0.4, 0.7] if config.seed else None,
    }
    open_run(config).write_json("result.json", result)
    return result


def test_one_table_of_runs_in_folders_of_their_own(tmp_path, capsys):
    argv = ["--seeds", "0", "1", "--output-dir", str(tmp_path / "run")]
    config = parse(LightSERNetConfig, argv)
    assert config.seeds == (0, 1)
    run_seeds(config, ["first", "second"], fake_run)
    # A seed more, in the same folder; how many jobs there are does not matter.
    config = dataclasses.replace(config, seeds=(0, 1, 3), jobs=2)
    table = run_seeds(config, ["first", "second"], fake_run)
    assert json.loads((tmp_path / "run/seeds.json").read_text()) == table
    assert [row["uar"] for row in table["seeds"]] == [0.5, 0.6, 0.8]
    assert table["uar_mean"] == pytest.approx(0.6333, abs=1e-4)
    assert table["uar_deviation"] == statistics.stdev([0.5, 0.6, 0.8])
    for seed in config.seeds:
        record = json.loads(
            (tmp_path / f"run/seed_{seed}/config.json").read_text()
        )
        assert record["seed"] == seed and "seeds" not in record["config"]
        exported = record["config"]["export_dir"]
        assert exported == f"saved_models/run/seed_{seed}"
    text = (tmp_path / "run/seeds.md").read_text()
    assert text in capsys.readouterr().out
    assert "| 0 | 0.500 | none |" in text
    assert "| 3 | 0.800 | 0.400 to 0.700 |" in text
    assert "| mean | 0.633 ± 0.153 |" in text
    assert "Protocol: leave-one-speaker-out (abc): new speakers." in text
    told = markdown({**table, "leaks_speakers": True})
    assert "OVERSTATES: leaks speakers" in told and "**THIS SCORE" in told


@pytest.mark.parametrize("fold", [0, 2])
def test_seeds_of_one_fold_run_at_the_same_time(tmp_path, monkeypatch, fold):
    """What runs several processes has tests of its own."""
    given = []

    def run_tasks(function, calls, jobs, logs, **places):
        given.append(jobs)
        for name, (config, *others) in calls.items():
            assert config.jobs == 1  # They share the cores already.
            assert logs[name] == tmp_path / f"run/{name}.txt"
            function(config, *others)

    monkeypatch.setattr(seeds, "run_tasks", run_tasks)
    config = LightSERNetConfig(
        seeds=(0, 1), jobs=2, fold=fold, output_dir=str(tmp_path / "run")
    )
    folds = ["first", "second"] if fold else ["only"]
    table = run_seeds(config, folds, fake_run)
    assert given == [2]
    assert [row["uar"] for row in table["seeds"]] == [0.5, 0.6]
    assert table["seeds"][1]["run"] == str(tmp_path / "run/seed_1")
    # The same command without processes has the same answer.
    assert run_seeds(dataclasses.replace(config, jobs=1), folds, fake_run) == (
        table
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_training_takes_seeds(system, monkeypatch):
    monkeypatch.setattr(
        driver,
        "run_seeds",
        lambda config, folds, run, *_, **__: (config.seeds, run),
    )
    config = config_class(system)(seeds=(0, 1))
    assert run_experiment(config, []) == ((0, 1), run_experiment)


def test_seeds_that_do_not_fit():
    with pytest.raises(ValueError, match=r"be different.*seeds=\(1, 1\)"):
        LightSERNetConfig(seeds=(1, 1))
    with pytest.raises(ValueError, match="An ablation has one seed"):
        EmotionNASConfig(ablate=True, seeds=(0, 1))


def test_folds_of_all_seeds_are_tasks(tmp_path, monkeypatch, capsys):
    """Of a run of several folds each task is a fold of a seed."""
    given = []
    monkeypatch.setattr(
        driver,
        "run_tasks",
        lambda *positional, **named: given.append((positional, named)),
    )
    monkeypatch.setattr(driver, "_make_run", FakeRun)
    monkeypatch.setattr(
        driver,
        "begin_folds",
        lambda folds, run: {
            name: types.SimpleNamespace(path=run.path / "folds" / name)
            for name in folds
        },
    )
    config = LightSERNetConfig(
        seeds=(3, 4), jobs=4, engine="ray", output_dir=str(tmp_path / "run")
    )
    monkeypatch.setattr(
        seeds, "open_run", lambda config: RunFolder(config.output_dir, {})
    )

    def finish(config, folds, other):
        """Like a real one, which finds the folds that are finished."""
        assert given
        return RESULT

    run_seeds(
        config, ["first", "second"], finish, None, run_folds=driver.run_folds
    )
    (((function, calls, jobs, logs), places),) = given
    assert (function, jobs) == (driver._run_fold, 4)
    assert list(calls) == ["seed 3, b", "seed 4, a", "seed 4, b"]
    final = tmp_path / "run/seed_4/folds/b/predictions.csv"
    assert places["finals"]["seed 4, b"] == final
    assert logs["seed 4, b"] == final.with_name("log.txt")
    assert (places["engine"], list(places["files"])) == ("ray", ["x.wav"])


class FakeRun:
    """A run of two folds, whose first is finished with seed 3."""

    def __init__(self, config, folds, other=None):
        self.folds, self.exposed = "ab", None
        self.run = types.SimpleNamespace(path=pathlib.Path(config.output_dir))
        utterance = types.SimpleNamespace(path="x.wav")
        self.features = types.SimpleNamespace(manifest=[utterance])
        if config.seed == 3:
            file = self.run.path / "folds/a/predictions.csv"
            file.parent.mkdir(parents=True)
            file.write_text("")

    def prepare(self):
        """What `begin_folds` is given."""
        return {"folds": self.folds, "run": self.run}
