"""`model.fit` that a kill does not set back by more than an epoch."""

import keras
import tensorflow as tf

from ser_keras._files import replace_file
from ser_keras._files import written
from ser_keras.training.progress import EpochProgress
from ser_keras.training.progress import MetricsLogger
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.tracing import new_graphs


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
        callbacks: Further Keras callbacks. Nothing that they remember is saved.

    Returns:
        Number of epochs trained, here and before: fewer than `epochs` if a
        callback stopped it.
    """
    done = run.read_json(f"{stage}.json")
    checkpoint = EpochCheckpoint(model, run, stage)
    first_epoch = checkpoint.restore()
    if done is not None and first_epoch >= done["epochs"]:
        return done["epochs"]
    # Written for an epoch whose checkpoint a kill prevented: it runs again, and
    # may not be the last one this time.
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
                    # Last: what the others write for an epoch is there by then.
                    checkpoint,
                ],
            )
    return checkpoint.epoch


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves all state of a model and its optimisers after each epoch.

    Unlike `keras.callbacks.BackupAndRestore`, this includes the seeds of
    random layers and a second optimiser. The last two checkpoints are kept. Of
    a training that ends, `<stage>.json` says so, before the last of them.

    Args:
        model: A compiled model, with all its variables made.
        run: The run's folder.
        stage: Name of the training within the run.
    """

    def __init__(self, model, run, stage):
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
        # Before the checkpoint, which does not know that a callback has ended
        # the training: a run that is killed after it would train on.
        if self.model.stop_training or self.epoch == self.params["epochs"]:
            self._run.write_json(f"{self._stage}.json", {"epochs": self.epoch})
        written(self._manager.save(checkpoint_number=self.epoch))


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best held-out UAR.

    In a file for each epoch that was the best so far. All but the best one's
    are deleted when the next epoch begins, and not before: until an epoch has
    its checkpoint it may have to run again, and be another one.

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

    def on_epoch_begin(self, epoch, logs=None):
        best = self._best(self._rows(epoch))
        kept = None if best is None else self._file(best)
        name = f"{self._stage}_best_*.weights.h5"
        for file in self._run.path.glob(name):
            if file != kept:
                file.unlink()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, self._monitor: logs[self._monitor]}
        if self._best([*self._rows(epoch), row]) != epoch + 1:
            return
        if self._averaged is not None:
            self._averaged.on_test_begin()
        replace_file(self._file(epoch + 1), self.model.save_weights)
        if self._averaged is not None:
            self._averaged.on_test_end()

    def restore(self, model) -> int:
        """Loads those weights; the number of their epoch (1 for the first).

        Args:
            model: Whose weights they are. Callbacks have none, if all epochs
                were trained by a process that was killed after them.
        """
        best = self._best(self._run.rows(self._stage))
        file = self._file(best)
        if not file.exists():  # An older version had one file for all epochs.
            file = self._run.path / f"{self._stage}_best.weights.h5"
        model.load_weights(file)
        return best

    def _rows(self, epoch):
        # From the log, so that a resumed run knows of earlier epochs; without
        # those that run again.
        rows = self._run.rows(self._stage)
        return [row for row in rows if row["epoch"] <= epoch]

    def _best(self, rows):
        """The best of some epochs, None of none."""
        sign = 1 if self._latest else -1
        best = max(
            (row for row in rows if row[self._monitor] is not None),
            key=lambda row: (row[self._monitor], sign * row["epoch"]),
            default=None,
        )
        return None if best is None else best["epoch"]

    def _file(self, epoch):
        return self._run.path / f"{self._stage}_best_{epoch}.weights.h5"
