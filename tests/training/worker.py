"""One of two workers: trains and searches small networks, or is killed.

python worker.py --output-dir FOLDER [--killed-in EPOCH]
"""

import dataclasses
import os
import pathlib
import signal

import keras
import numpy as np

import ser_keras as ser
from ser_keras.training.resumable import fit_resumable
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime
from ser_keras.training.runtime import strategy
from tests.models import small_network as small

RUNTIME = Runtime("multi-worker")
EPOCHS = 3


@dataclasses.dataclass(frozen=True)
class Config:
    """One of two workers."""

    output_dir: str
    """Folder of the run."""
    killed_in: int = 0
    """Epoch in which the worker that is not the chief is killed."""


class KilledIn(keras.callbacks.Callback):
    """Kills this process in the second step of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.killed_in, self.epoch = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (self.killed_in, 1):
            os.kill(os.getpid(), signal.SIGKILL)


def dataset_from(first_epoch):
    """The batches of 13 clips, which are the same in every epoch."""
    dataset = small.batches(13, 6)
    dataset.steps_per_epoch = len(dataset)
    return dataset


def resumable(folder, scope, killed_in=0, callbacks=()):
    """A training that goes on where it was; its weights."""
    keras.utils.set_random_seed(0)
    with scope:
        model = small.Small()
        model.compile(
            keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.optimizer.build(model.trainable_variables)
        fit_resumable(
            model,
            dataset_from,
            epochs=EPOCHS,
            run=RunFolder(folder, {"seed": 0}),
            stage="train",
            callbacks=[KilledIn(killed_in), *callbacks],
        )
    return model.get_weights()


def searched(scope):
    """Alphas of a short search."""
    keras.utils.set_random_seed(0)
    with scope:
        supernet = ser.SuperNet(
            small.SPACE,
            (5, 4, 1),
            3,
            seed=0,
            num_cells=0,
            recurrent_filters=4,
            dropout=0.0,
        )
        supernet.compile(
            architecture_optimizer=keras.optimizers.SGD(1.0),
            order=2,
            metrics=["accuracy"],
        )
    history = supernet.fit(
        ser.bilevel(small.batches(15, 7), small.batches(17, 7, seed=1)),
        validation_data=small.batches(8, 7, seed=2),
        verbose=0,
    )
    return supernet.alphas()["recurrent"], history.history


def main(config):
    """Runs as a worker."""
    folder, killed_in = pathlib.Path(config.output_dir).parent, config.killed_in
    RUNTIME.start()
    chief = os.environ["TF_CONFIG"].endswith('"index": 0}}')
    config = dataclasses.replace(config, killed_in=0)  # All have the same.
    config = RUNTIME.for_this_worker(config)
    weights = resumable(
        config.output_dir,
        RUNTIME.scope(),
        killed_in=0 if chief else killed_in,
    )
    fit = small.SITUATIONS["fewer clips than replicas"]()
    model, history = small.trained("multi-worker", fit, 2)
    alphas, search_history = searched(strategy("multi-worker").scope())
    np.savez(
        folder / f"{'chief' if chief else 'worker'}.npz",
        *weights,
        *model.get_weights(),
        np.array([history[name] for name in sorted(history)]),
        alphas,
        np.array([search_history[name] for name in sorted(search_history)]),
    )


if __name__ == "__main__":
    ser.cli.run(main, Config)
