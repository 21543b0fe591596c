"""How a run computes, and that it is the same run."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import ser_keras as ser
from ser_keras.cli.main import main
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.emodarts import EmoDARTSExperiment
from ser_keras.experiments.options import RUNTIME
from ser_keras.experiments.output import run_settings
from ser_keras.genotype import load_genotype
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime
from ser_keras.training.runtime import current_runtime
from ser_keras.training.runtime import in_float32
from tests.conftest import toy_features
from tests.conftest import toy_network
from tests.conftest import train_eagerly


def test_scope_is_left_as_it_was():
    before = keras.config.dtype_policy(), tf.distribute.get_strategy()
    runtime = Runtime("mirrored", precision="bfloat16")
    with pytest.raises(KeyError), runtime.scope():
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert tf.distribute.get_strategy().num_replicas_in_sync == 2
        assert current_runtime() is runtime
        raise KeyError
    assert (keras.config.dtype_policy(), tf.distribute.get_strategy()) == before
    assert current_runtime() == Runtime("none")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_trained_in_half_precision_and_kept_in_float32(precision, tmp_path):
    features = toy_features()
    runtime = Runtime("none", precision=precision, steps_per_execution=2)
    with runtime.scope():
        keras.utils.set_random_seed(0)
        network = toy_network()
        ser.training.train_network(
            network,
            features,
            run=RunFolder(tmp_path / "run", {}),
            epochs=4,
            batch_size=8,
        )
    assert network.layers[0].compute_dtype == precision
    assert network.steps_per_execution == 2
    scales = isinstance(network.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (precision == "float16")
    kept = in_float32(network)
    assert {layer.dtype_policy.name for layer in kept.layers} == {"float32"}
    for a, b in zip(network.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    x = np.stack(features.arrays)[..., None]
    np.testing.assert_allclose(kept(x), network(x), atol=0.05)
    # And it has learned.
    assert RunFolder(tmp_path / "run", {}).rows("train")[-1]["uar"] > 0.8


def test_policies_within_other_layers_are_found():
    with Runtime("none", precision="bfloat16").scope():
        network = ser.CellNetwork(
            ser.SearchSpace.emodarts("rnn").sample(0),
            (20, 8, 1),
            2,
            filters=4,
            num_cells=3,
            recurrent_filters=4,
        )
    assert network.compute_dtype == "bfloat16"
    kept = in_float32(network)
    x = np.random.default_rng(0).normal(size=(2, 20, 8, 1)).astype("float32")
    assert np.abs(kept(x) - network(x)).max() > 0
    saved = json.dumps(keras.saving.serialize_keras_object(kept))
    assert "bfloat16" not in saved


@dataclasses.dataclass(frozen=True)
class Asked:
    """Part of a configuration."""

    jobs: int = 1
    strategy: str = "auto"
    precision: str = "float32"


def test_runtime_of_a_configuration():
    assert Runtime.of(Asked()).strategy == "auto"
    assert Runtime.of(Asked(jobs=2)).strategy == "none"
    assert Runtime.of(object()) == Runtime()
    assert Runtime.of(Asked(strategy="multi_worker")).strategy == "multi-worker"
    with pytest.raises(ValueError, match="--jobs 1, or --strategy none"):
        Runtime.of(Asked(jobs=2, strategy="mirrored"))


@pytest.mark.parametrize(
    ("runtime", "sizes", "message"),
    [
        (Runtime("mirrored"), {"batch_size": 7}, "such as --batch-size 8"),
        (Runtime("mirrored", xla="on"), {}, "Use --xla off, or --strategy"),
        (
            Runtime("none", precision="float16"),
            {"searches": True},
            "--precision bfloat16 or float32",
        ),
    ],
)
def test_what_cannot_be_is_said_before(runtime, sizes, message):
    with pytest.raises(ValueError, match=message):
        runtime.check(**sizes)
    Runtime("mirrored").check(True, batch_size=8, search_batch_size=4)


@pytest.mark.parametrize(
    "field", [{"strategy": "x"}, {"precision": "float64"}, {"xla": "yes"}]
)
def test_unknown_names(field):
    with pytest.raises(ValueError, match="must be one of"):
        Runtime(**field)


def test_devices_after_tensorflow_has_begun():
    Runtime("none", devices=2).start()  # As many as there are.
    with pytest.raises(RuntimeError, match="There are 2 logical CPUs now"):
        Runtime("none", devices=3).start()


def test_described():
    assert Runtime("mirrored", precision="bfloat16").describe() == {
        "strategy": "mirrored",
        "devices": ["CPU:0", "CPU:1"],
        "replicas": 2,
        "workers": 1,
        "precision": "bfloat16",
        "xla": "auto",
        "steps_per_execution": 1,
    }
    assert Runtime("none").describe()["devices"] == ["CPU:0"]


def test_no_part_of_the_identity_of_a_run(tmp_path):
    kind = ser.experiments.EmoDARTSConfig
    config = kind(output_dir=str(tmp_path / "run"))
    other = kind(
        output_dir=str(tmp_path / "run"),
        strategy="mirrored",
        devices=2,
        precision="bfloat16",
        xla="off",
        steps_per_execution=4,
        jobs=2,
        engine="ray",
    )
    assert run_settings(config) == run_settings(other)
    assert not set(RUNTIME) & set(run_settings(config))


@pytest.fixture
def train(tmp_path, monkeypatch, capsys, empty_figures):
    """`train(system, *flags)`: what a smoke run printed, and its result."""
    monkeypatch.chdir(tmp_path)

    def run(system, *flags):
        assert main(["train", system, "--smoke", *flags]) == 0
        folder = pathlib.Path("results", system)
        folder = folder if folder.exists() else pathlib.Path(flags[-1])
        result = json.loads((folder / "result.json").read_text())
        scores = Predictions.load_csv(folder / "predictions.csv")
        return capsys.readouterr().out, result, scores.probabilities

    return run


def test_search_and_training_on_two_devices(train, monkeypatch):
    """The command of docs/guides/runtime.md, with few candidates."""
    few = ser.SearchSpace(
        ("avg_pool_3x3", "none"), ("rnn_1", "none"), num_nodes=1
    )
    monkeypatch.setattr(EmoDARTSExperiment, "space", lambda self: few)
    printed, result, _ = train(
        "emodarts", "--strategy", "mirrored", "--devices", "2"
    )
    assert "on CPU:0, CPU:1 (mirrored, 2 replicas), float32" in printed
    assert result["runtime"]["replicas"] == 2
    genotype = load_genotype("results/emodarts/folds/03+08/genotype.json")
    assert genotype.normal.edges


def test_a_run_on_two_devices_is_that_of_one(train, monkeypatch):
    plain = "--dropout", "0", "--no-litert", "--output-dir"
    with monkeypatch.context() as patch:
        train_eagerly(patch)
        _, one, wanted = train(
            "light_sernet", "--strategy", "none", *plain, "a"
        )
    _, two, found = train("light_sernet", "--strategy", "mirrored", *plain, "b")
    assert [x["runtime"]["replicas"] for x in (one, two)] == [1, 2]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
