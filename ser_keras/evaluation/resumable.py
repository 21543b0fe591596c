"""`model.fit` that a kill does not set back by more than an epoch."""

import math

import keras
import tensorflow as tf

from ser_keras.evaluation.progress import EpochProgress
from ser_keras.evaluation.progress import MetricsLogger
from ser_keras.evaluation.run_folder import RunFolder
from ser_keras.evaluation.tracing import new_graphs


def fit_resumable(
    model,
    dataset_from,
    *,
    epochs: int,
    run: RunFolder,
    stage: str,
    validation_data=None,
    callbacks=(),
):
    """Trains to `epochs`, from wherever this run of it had got to.

    At the end of each epoch all state is saved: weights, the state of every
    optimiser, and that of random layers. With data that are a function of the
    epoch (as `make_dataset` makes them) a training which is killed and started
    again ends as if nothing had happened. Progress is printed, logged to
    `<stage>_metrics.jsonl` and to TensorBoard.

    Args:
        model: A compiled model.
        dataset_from: `dataset_from(first_epoch)`, an endless dataset with the
            attribute `steps_per_epoch`.
        epochs: Number of epochs in all.
        run: The run's folder.
        stage: Name of this training within the run.
        validation_data: Dataset for `val_` metrics, or `None`.
        callbacks: Further Keras callbacks.

    Returns:
        Number of epochs trained, here and before: fewer than `epochs` if a
        callback stopped it.
    """
    done = run.read_json(f"{stage}.json")
    checkpoint = EpochCheckpoint(model, run.path / "checkpoints" / stage)
    first_epoch = checkpoint.restore()
    if done is not None and first_epoch >= done["epochs"]:
        return done["epochs"]
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
                    # Last: what the others write for an epoch is there by then.
                    checkpoint,
                ],
            )
    epochs = checkpoint.epoch
    run.write_json(f"{stage}.json", {"epochs": epochs})
    return epochs


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves all state of a model and its optimisers after each epoch.

    Unlike `keras.callbacks.BackupAndRestore`, this includes the seeds of
    random layers and a second optimiser.

    Args:
        model: A compiled model, with all its variables made.
        folder: Where the last two checkpoints are kept.
    """

    def __init__(self, model, folder):
        super().__init__()
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
            self._checkpoint, str(folder), max_to_keep=2
        )
        self.epoch = 0

    def restore(self) -> int:
        """Loads the last checkpoint; the number of epochs behind it, or 0.

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
                f"{path} holds the state of another model than the one to be "
                "trained. Choose another output folder."
            ) from error
        self.epoch = int(path.rsplit("-", 1)[1])
        return self.epoch

    def on_epoch_end(self, epoch, logs=None):
        self.epoch = epoch + 1
        self._manager.save(checkpoint_number=self.epoch)


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best held-out UAR.

    Args:
        run: The run's folder.
        stage: Name of the training within the run.
        monitor: Name of the metric, of which more is better.
        latest: Whether the last of several best epochs is kept, not the first.
        averaged: `keras.callbacks.SwapEMAWeights` of this training, if the
            moving averages of the weights are what is to be kept.
    """

    def __init__(
        self, run, stage, monitor="val_uar", latest=False, averaged=None
    ):
        super().__init__()
        self._run, self._stage, self._monitor = run, stage, monitor
        self._latest, self._averaged = latest, averaged
        self.path = run.path / f"{stage}_best.weights.h5"

    def on_epoch_end(self, epoch, logs=None):
        # From the log, so that a resumed run knows of earlier epochs.
        earlier = [
            row[self._monitor]
            for row in self._run.rows(self._stage)
            if row["epoch"] <= epoch and row[self._monitor] is not None
        ]
        value = logs[self._monitor]
        best = max(earlier, default=-math.inf)
        if value > best or (value == best and self._latest):
            self._save()

    def _save(self):
        temporary = self.path.with_name(f".{self.path.name}")
        if self._averaged is not None:
            self._averaged.on_test_begin()
        self.model.save_weights(temporary)
        if self._averaged is not None:
            self._averaged.on_test_end()
        temporary.replace(self.path)

    def restore(self) -> int:
        """Loads those weights; the number of their epoch (1 for the first)."""
        self.model.load_weights(self.path)
        rows = self._run.rows(self._stage)
        sign = 1 if self._latest else -1
        best = max(
            rows, key=lambda row: (row[self._monitor], sign * row["epoch"])
        )
        return best["epoch"]
