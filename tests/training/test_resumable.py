"""Runs that are killed end as if they had not been."""

import os
import pathlib
import re
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_keras import _files
from ser_keras.training.resumable import BestWeights
from ser_keras.training.resumable import fit_resumable
from ser_keras.training.run_folder import RunFolder
from tests import forks

SCRIPT = pathlib.Path(__file__).with_name("killed_run.py")


def test_killed_run_ends_like_an_uninterrupted_one(tmp_path):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    runs = [
        f"{folder}@search@8",
        f"{folder}@train@8",
        # And one that nobody kills.
        f"{folder}{os.pathsep}{whole}",
    ]
    process = forks.run(
        [SCRIPT, *runs],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    )
    printed = process.stdout
    # A stage has a result after the last of its epochs only.
    ended = [int(x) for x in re.findall(r"^ended: (.+)$", printed, re.M)]
    assert ended == [-signal.SIGKILL, -signal.SIGKILL, 0], process.stderr
    for stage in ("search", "train"):
        assert f"{stage}: resuming after epoch 2" in printed
        first = np.load(tmp_path / f"whole/{stage}.npz")
        second = np.load(tmp_path / f"killed/{stage}.npz")
        assert sorted(first) == sorted(second)
        for name in first:
            np.testing.assert_array_equal(
                second[name], first[name], err_msg=f"{stage}: {name}"
            )
    for name in ("genotype.json", "architecture.jsonl"):
        there = (tmp_path / "whole" / name).read_text()
        assert (tmp_path / "killed" / name).read_text() == there


class Killed(BaseException):
    """As `kill -9`, but this process goes on."""


class Script(keras.callbacks.Callback):
    """Held-out UAR of each epoch as given; stops after the last one given."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["val_uar"] = self.values[epoch]
        self.model.stop_training = epoch + 1 == len(self.values)


def fit(folder, values, killed_after=None):
    """Trains with the UAR of each epoch given, until a file is written.

    Returns:
        Epochs trained, the best one, and its weights; None if killed.
    """
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((np.eye(3), np.eye(3, 2))).repeat()
    data.steps_per_epoch = 1
    run = RunFolder(folder, {})
    best = BestWeights(run, "train")

    def kill(path):
        if path.name == killed_after:
            raise Killed

    _files.after_write.append(kill)
    try:
        epochs = fit_resumable(
            model,
            lambda first: data,
            epochs=5,
            run=run,
            stage="train",
            callbacks=[Script(values), best],
        )
    except Killed:
        return None
    finally:
        _files.after_write.remove(kill)
    return epochs, best.restore(model), model.get_weights()


def test_training_that_was_stopped_early_is_over(tmp_path):
    """Killed before it could say so, it went on for another epoch."""
    assert fit(tmp_path, [0.1, 0.2, 0.3], killed_after="ckpt-3") is None
    assert fit(tmp_path, [0.1, 0.2, 0.3, 0.4])[:2] == (3, 3)


def test_an_end_without_its_checkpoint_is_none(tmp_path):
    """The last epoch runs again, and this time does not stop the training."""
    assert fit(tmp_path, [0.1, 0.2], killed_after="train.json") is None
    assert fit(tmp_path, [0.1, 0.2, 0.3], killed_after="ckpt-2") is None
    assert fit(tmp_path, [0.1, 0.2, 0.3])[:2] == (3, 3)


@pytest.mark.parametrize("file", ["train_best_2.weights.h5", "train.json"])
def test_best_weights_are_of_an_epoch_with_a_checkpoint(tmp_path, file):
    """Of an epoch that ran again with another outcome they were the first."""
    whole = fit(tmp_path / "whole", [0.5, 0.4])
    assert fit(tmp_path / "run", [0.5, 0.9], killed_after=file) is None
    epochs, best, weights = fit(tmp_path / "run", [0.5, 0.4])
    assert (epochs, best) == whole[:2] == (2, 1)
    for now, then in zip(weights, whole[2], strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_that_are_not_the_best_any_more_are_deleted(tmp_path):
    assert fit(tmp_path, [0.1, 0.3, 0.2, 0.2])[:2] == (4, 2)
    files = [path.name for path in tmp_path.glob("*.h5")]
    assert files == ["train_best_2.weights.h5"]


def test_best_weights_of_an_older_version(tmp_path):
    """Which had one file for the best epoch, whichever it was."""
    epochs, best, weights = fit(tmp_path, [0.2, 0.1])
    file = tmp_path / "train_best_1.weights.h5"
    file.rename(tmp_path / "train_best.weights.h5")
    again = fit(tmp_path, [0.2, 0.1])
    assert again[:2] == (epochs, best) == (2, 1)
    np.testing.assert_array_equal(again[2][0], weights[0])
