"""A tiny search or training, killed at a given step: see test_resumable."""

import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

import ser_keras as ser
from ser_keras.audio.augment import SpecAugment
from ser_keras.data.features import FeatureSet
from ser_keras.data.manifest import Manifest
from ser_keras.data.manifest import Utterance
from ser_keras.evaluation.run_folder import RunFolder
from ser_keras.evaluation.training import search_architecture
from ser_keras.evaluation.training import train_network


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


def main(stage, folder, kill_at=None):
    keras.utils.set_random_seed(0)
    ser.be_deterministic()
    # As in tests/conftest.py: it takes longer than these few steps.
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    run = RunFolder(folder, {"seed": 0})
    callbacks = [Kill(int(kill_at))] if kill_at else []
    halves = make_features("ab", 1), make_features("cd", 2)
    arguments = {
        "run": run,
        "epochs": 4,
        "batch_size": 4,
        "duration_frames": 12,
        "augment": SpecAugment(max_time_width=3, max_feature_width=2),
        "callbacks": callbacks,
    }
    if stage == "search":
        space = ser.SearchSpace(
            ("max_pool_3x3", "sep_conv_3x3", "none"),
            ("lstm_att_2", "none"),
            num_nodes=1,
        )
        model = ser.SuperNet(
            space,
            (12, 8, 1),
            3,
            filters=2,
            num_cells=3,
            recurrent_filters=4,
            dropout=0.2,
            seed=0,
        )
        search_architecture(
            model, *halves, warm_up_epochs=1, order=1, **arguments
        )
    else:
        genotype = ser.SearchSpace(num_nodes=1).sample(3)
        model = ser.CellNetwork(
            genotype,
            (12, 8, 1),
            3,
            filters=2,
            num_cells=3,
            recurrent_filters=4,
            dropout=0.2,
            cell_dropout=0.1,
            drop_path_rate=0.3,
        )
        train_network(model, halves[0], held_out=halves[1], **arguments)
    variables = [*model.variables, *model.optimizer.variables]
    if stage == "search":
        variables += model.architecture_optimizer.variables
    metrics = {id(v) for v in model.metrics_variables}
    values = {
        f"{i:03d}:{v.path}": np.array(v.value)
        for i, v in enumerate(variables)
        if id(v) not in metrics
    }
    np.savez(
        os.path.join(folder, "state.npz"),
        **{k.replace("/", "."): v for k, v in values.items()},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
