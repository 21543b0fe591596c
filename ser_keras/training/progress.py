"""Keras callbacks that print and log the progress of a training."""

from __future__ import annotations

import math
import statistics
import sys
import time
import weakref

import keras
import rich.console
import rich.progress

from ser_keras.training.estimate import trainings_that_follow

_SHOWN = ("loss", "uar", "architecture_loss", "val_loss", "val_uar")


class EpochProgress(keras.callbacks.Callback):
    """Prints one line for each epoch: losses, UAR, pace and remaining time.

    On a terminal it also shows a progress bar within the epoch. Use it with
    `model.fit(..., verbose=0)`.

    Args:
        total_epochs: Number of epochs at the end of training, including those
            before a resumption.
        stage: First word of each line.
        shown: Names of the logged values to print, in order. Values that are
            not logged are left out.

    Raises:
        ValueError: `total_epochs` is not positive.

    Example:
    >>> progress = EpochProgress(total_epochs=20, stage="train")
    >>> progress.line(3, {"loss": 1.25, "val_uar": 0.5}, [10.0, 4.0, 4.0])
    'train   3/20  loss 1.2500  val_uar 0.5000  4.0 s/epoch  1 min 08 s left'
    """

    def __init__(self, total_epochs, stage="search", shown=_SHOWN):
        super().__init__()
        if total_epochs < 1:
            raise ValueError(
                "`total_epochs` must be positive. Received: "
                f"total_epochs={total_epochs}"
            )
        self.total_epochs = total_epochs
        self.stage = stage
        self.shown = tuple(shown)
        self._seconds = []
        self._bar = None

    def on_train_begin(self, logs=None):
        self._seconds = []
        self.on_train_end()  # Of a former training that was interrupted.
        if sys.stdout.isatty():
            self._bar = rich.progress.Progress(
                "{task.description}",
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeRemainingColumn(),
                console=rich.console.Console(),
                transient=True,
            )
            self._task = self._bar.add_task(self.stage, total=None)
            self._bar.start()
            # After Ctrl-C or an error `on_train_end` is not called, and a bar
            # that is not stopped leaves the terminal without a cursor.
            self._stop = weakref.finalize(self, self._bar.stop)

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()
        if self._bar:
            self._bar.reset(
                self._task,
                total=self.params.get("steps"),
                description=f"{self.stage} {epoch + 1}/{self.total_epochs}",
            )

    def on_train_batch_end(self, batch, logs=None):
        if self._bar:
            self._bar.update(self._task, completed=batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        self._seconds.append(time.perf_counter() - self._start)
        line = self.line(epoch + 1, logs or {}, self._seconds)
        if self._bar:
            self._bar.console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def on_train_end(self, logs=None):
        if self._bar:
            self._stop()
            self._bar = None

    def line(self, epoch, logs, seconds):
        """Text of the line of an epoch.

        Args:
            epoch: Number of finished epochs.
            logs: Dict of logged values.
            seconds: Duration of each epoch of this process.

        Returns:
            Text.
        """
        width = len(str(self.total_epochs))
        parts = [f"{self.stage}  {epoch:{width}d}/{self.total_epochs}"]
        parts += [
            f"{name} {float(logs[name]):.4f}"
            for name in self.shown
            if name in logs
        ]
        # Without the first epoch, which also traces the graph.
        pace = statistics.median(seconds[1:] or seconds)
        parts.append(f"{pace:.{1 if pace < 100 else 0}f} s/epoch")
        left = pace * (self.total_epochs - epoch)
        if left > 0:
            parts.append(f"{_duration(left)} left")
        further = trainings_that_follow()
        if further and self.stage == "train":
            left += further * pace * self.total_epochs
            parts.append(
                f"about {_duration(left)} with {further} more "
                f"training{'s' * (further != 1)}"
            )
        return "  ".join(parts)


class MetricsLogger(keras.callbacks.Callback):
    """Logs the values of each epoch to `<stage>_metrics.jsonl`.

    A row has `epoch` (1 for the first), all logged values, and `seconds`. When
    a training is resumed, rows of epochs that run again are dropped first. The
    callback must precede the one that writes checkpoints: after a kill between
    the two, the row is written again; in the other order it would be missing.

    Args:
        run_folder: `RunFolder`.
        stage: Name of this part of the run, such as `"search"`.
    """

    def __init__(self, run_folder, stage):
        super().__init__()
        self.run_folder = run_folder
        self.stage = stage
        self._first = True

    def on_train_begin(self, logs=None):
        self._first = True

    def on_epoch_begin(self, epoch, logs=None):
        if self._first:
            self.run_folder.truncate(self.stage, epoch)
            self._first = False
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items()}
        seconds = round(time.perf_counter() - self._start, 3)
        self.run_folder.log(
            self.stage, epoch + 1, **{**values, "seconds": seconds}
        )


def _duration(seconds):
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
