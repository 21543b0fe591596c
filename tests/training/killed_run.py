"""A tiny search and training, killed at a given step: see test_resumable.

    python killed_run.py FOLDER[:FOLDER...][@STAGE@STEP] ...

Each argument is a process of its own, one after the other. They are forks of
this one, which has imported TensorFlow and not used it.
"""

import multiprocessing
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

import ser_keras as ser
from ser_keras.audio.augmentation.layers import SpecAugment
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.feature_set import FeatureSet
from ser_keras.training.fit import search_architecture
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder

SIZE = {"filters": 2, "num_cells": 3, "recurrent_filters": 4, "dropout": 0.2}


class Kill(keras.callbacks.Callback):
    """Kills this process after some batches of this process."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        if not self.steps:
            os.kill(os.getpid(), signal.SIGKILL)


def make_features(speakers, seed, utterances=12):
    rng = np.random.default_rng(seed)
    labels = ("anger", "neutral", "sadness")
    rows = [
        Utterance(
            f"{seed}_{i}", "x.wav", labels[i % 3], speakers[i % len(speakers)]
        )
        for i in range(utterances)
    ]
    arrays = [
        rng.normal(i % 3, 1, (10 + i, 8)).astype("float32")
        for i in range(utterances)
    ]
    return FeatureSet(Manifest(rows, labels), arrays)


def search(run, halves, **arguments):
    space = ser.SearchSpace(
        ("sep_conv_3x3", "none"),
        ("lstm_1", "none"),
        num_nodes=1,
    )
    model = ser.SuperNet(
        space,
        (12, 8, 1),
        3,
        **SIZE,
        seed=0,
    )
    search_architecture(
        model, *halves, warm_up_epochs=1, order=1, run=run, **arguments
    )
    return model, model.architecture_optimizer.variables


def train(run, halves, **arguments):
    space = ser.SearchSpace(("sep_conv_3x3",), ("rnn_1",), num_nodes=1)
    model = ser.CellNetwork(
        space.sample(3),
        (12, 8, 1),
        3,
        **SIZE,
        cell_dropout=0.1,
        drop_path_rate=0.3,
    )
    train_network(model, halves[0], held_out=halves[1], run=run, **arguments)
    return model, []


def main(folder, stage_to_kill=None, step=0):
    run = RunFolder(folder, {"seed": 0})
    halves = make_features("ab", 1), make_features("cd", 2)
    for stage in (search, train):
        name = stage.__name__
        file = os.path.join(folder, f"{name}.npz")
        if os.path.exists(file):
            continue
        keras.utils.clear_session()  # Layers are numbered anew.
        keras.utils.set_random_seed(0)
        model, more = stage(
            run,
            halves,
            epochs=3,
            batch_size=4,
            duration_frames=12,
            augment=SpecAugment(max_time_width=3, max_feature_width=2),
            callbacks=[Kill(int(step))] if name == stage_to_kill else [],
        )
        metrics = {id(v) for v in model.metrics_variables}
        variables = [*model.variables, *model.optimizer.variables, *more]
        values = {
            f"{i:03d}:{v.path}".replace("/", "."): np.array(v.value)
            for i, v in enumerate(variables)
            if id(v) not in metrics
        }
        np.savez(file, **values)


def run(folders, *kill_at):
    """What one of the processes does."""
    ser.be_deterministic()
    # As in tests/conftest.py: it takes longer than these few steps.
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    for name in folders.split(os.pathsep):
        main(name, *kill_at)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        process = multiprocessing.get_context("fork").Process(
            target=run, args=argument.split("@")
        )
        process.start()
        process.join()
        print("ended:", process.exitcode, flush=True)
