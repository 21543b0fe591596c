"""Resumable training: `model.fit` with a checkpoint after each epoch."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._files import replace_file
from ser_keras._files import written
from ser_keras.training.progress import EpochProgress
from ser_keras.training.progress import MetricsLogger
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.tracing import new_graphs


def fit_resumable(
    model: keras.Model,
    dataset_from: Callable[[int], tf.data.Dataset],
    *,
    epochs: int,
    run: RunFolder,
    stage: str,
    validation_data: tf.data.Dataset | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> int:
    """Trains a model to `epochs`, from the last checkpoint of this run.

    At the end of each epoch all state is saved: weights, state of every
    optimiser, and seeds of random layers. With data that are a function of the
    epoch (see `make_dataset`), a training that was killed and resumed ends with
    the same weights as an uninterrupted one. Progress is printed, and logged to
    `<stage>_metrics.jsonl` and TensorBoard.

    Args:
        model: A compiled model.
        dataset_from: `dataset_from(first_epoch)` returns an endless dataset
            with the attribute `steps_per_epoch`.
        epochs: Total number of epochs.
        run: `RunFolder`.
        stage: Name of this training within the run.
        validation_data: Dataset for `val_` metrics, or `None`.
        callbacks: Further Keras callbacks. Their own state is not saved.

    Returns:
        Number of epochs trained, including those before: fewer than `epochs` if
        a callback stopped the training.

    Raises:
        ValueError: The checkpoint is of another model.
    """
    done = run.read_json(f"{stage}.json")
    checkpoint = EpochCheckpoint(model, run, stage)
    first_epoch = checkpoint.restore()
    if done is not None and first_epoch >= done["epochs"]:
        return done["epochs"]
    # A kill may have prevented the checkpoint of the epoch in this file. That
    # epoch runs again, and need not be the last one.
    (run.path / f"{stage}.json").unlink(missing_ok=True)
    if first_epoch:
        print(f"{stage}: resuming after epoch {first_epoch}", flush=True)
    if first_epoch < epochs:
        dataset = dataset_from(first_epoch)
        with new_graphs():
            model.fit(
                dataset,
                epochs=epochs,
                initial_epoch=first_epoch,
                steps_per_epoch=dataset.steps_per_epoch,
                validation_data=validation_data,
                verbose=0,
                shuffle=False,
                callbacks=[
                    *callbacks,
                    EpochProgress(epochs, stage),
                    MetricsLogger(run, stage),
                    keras.callbacks.TensorBoard(
                        str(run.path / "tensorboard" / stage), write_graph=False
                    ),
                    # Last, so that the other callbacks have written the epoch.
                    checkpoint,
                ],
            )
    return checkpoint.epoch


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves a checkpoint of a model and its optimisers after each epoch.

    Unlike `keras.callbacks.BackupAndRestore`, it includes the seeds of random
    layers and a second optimiser. The last two checkpoints are kept. At the end
    of training, `<stage>.json` is written before the last checkpoint.

    Args:
        model: A compiled and built model.
        run: `RunFolder`.
        stage: Name of the training within the run.
    """

    def __init__(self, model: keras.Model, run: RunFolder, stage: str):
        super().__init__()
        self._run, self._stage = run, stage
        metrics = {id(v) for v in model.metrics_variables}
        variables = [v for v in model.variables if id(v) not in metrics]
        for name in ("optimizer", "architecture_optimizer"):
            optimizer = getattr(model, name, None)
            if optimizer is not None:
                variables += optimizer.variables
        self._checkpoint = tf.train.Checkpoint(
            state=[variable.value for variable in variables]
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint,
            str(run.path / "checkpoints" / stage),
            max_to_keep=2,
        )
        self.epoch = 0

    def restore(self) -> int:
        """Loads the last checkpoint.

        Returns:
            Number of epochs that it has been trained for; 0 without one.

        Raises:
            ValueError: The checkpoint is of another model.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            return 0
        try:
            status = self._checkpoint.restore(path)
            status.assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"{path} is the checkpoint of another model than the one to be "
                "trained. Choose another --output-dir, or delete the folder."
            ) from error
        self.epoch = int(path.rsplit("-", 1)[1])
        return self.epoch

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self.epoch = epoch + 1
        # Before the checkpoint, which does not store that a callback has
        # stopped the training: a run killed in between would train on.
        if self.model.stop_training or self.epoch == self.params["epochs"]:
            self._run.write_json(f"{self._stage}.json", {"epochs": self.epoch})
        written(self._manager.save(checkpoint_number=self.epoch))


class BestWeights(keras.callbacks.Callback):
    """Saves the weights of the epoch with the best validation UAR.

    Each epoch that is the best so far has a file of its own. Older files are
    deleted when the next epoch starts, not before: until the checkpoint of an
    epoch is written, the epoch may run again.

    Args:
        run: `RunFolder`.
        stage: Name of the training within the run.
        monitor: Name of the metric to be maximised.
        latest: Whether the last of several best epochs is kept, not the first.
        averaged: `keras.callbacks.SwapEMAWeights` of this training, to save the
            moving averages of the weights.
    """

    def __init__(
        self,
        run: RunFolder,
        stage: str,
        monitor: str = "val_uar",
        latest: bool = False,
        averaged: keras.callbacks.Callback | None = None,
    ):
        super().__init__()
        self._run, self._stage, self._monitor = run, stage, monitor
        self._latest, self._averaged = latest, averaged

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        best = self._best(self._rows(epoch))
        kept = None if best is None else self._file(best)
        name = f"{self._stage}_best_*.weights.h5"
        for file in self._run.path.glob(name):
            if file != kept:
                file.unlink()

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        row = {"epoch": epoch + 1, self._monitor: (logs or {})[self._monitor]}
        if self._best([*self._rows(epoch), row]) != epoch + 1:
            return
        if self._averaged is not None:
            self._averaged.on_test_begin()
        replace_file(self._file(epoch + 1), self.model.save_weights)
        if self._averaged is not None:
            self._averaged.on_test_end()

    def restore(self, model: keras.Model) -> int:
        """Loads the best weights.

        Args:
            model: The model. `self.model` is not set if all epochs were
                trained by a former process.

        Returns:
            Number of their epoch, 1 for the first.
        """
        best = self._best(self._run.rows(self._stage))
        file = self._file(best)
        if not file.exists():  # Old versions had one file for all epochs.
            file = self._run.path / f"{self._stage}_best.weights.h5"
        model.load_weights(file)
        return best

    def _rows(self, epoch):
        # From the log, which has epochs before a resumption too, without those
        # that run again.
        rows = self._run.rows(self._stage)
        return [row for row in rows if row["epoch"] <= epoch]

    def _best(self, rows):
        """Number of the best epoch, or None."""
        sign = 1 if self._latest else -1
        best = max(
            (row for row in rows if row[self._monitor] is not None),
            key=lambda row: (row[self._monitor], sign * row["epoch"]),
            default=None,
        )
        return None if best is None else best["epoch"]

    def _file(self, epoch):
        return self._run.path / f"{self._stage}_best_{epoch}.weights.h5"
