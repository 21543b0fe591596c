"""What to watch, stop and schedule during a search and afterwards."""

import math

import keras

from ser_keras._files import append_row
from ser_keras._files import drop_rows
from ser_keras.search_space import softmax


class ArchitectureLogger(keras.callbacks.Callback):
    """Writes the architecture of every epoch to a file of JSON lines.

    A row holds the epoch (1 for the first), the alphas of each kind of cell,
    the genotype they stand for, the mean entropy of the mixing weights (in
    units of its maximum: 1 is undecided, 0 is decided) and the number of skip
    connections in the normal cell, whose rise is DARTS' known failure. Rows of
    epochs that run again after a kill are dropped first.

    Args:
        path: The file.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        self._first = True

    def on_epoch_begin(self, epoch, logs=None):
        if self._first:
            drop_rows(self.path, after=epoch)
            self._first = False

    def on_epoch_end(self, epoch, logs=None):
        alphas = self.model.alphas()
        space = self.model.search_space
        genotype = self.model.derive()
        skips = genotype.count("skip_connect", "normal")
        row = {
            "epoch": epoch + 1,
            "candidates": {k: space.candidates(k) for k in alphas},
            "edges": {k: [e[:2] for e in space.edges(k)] for k in alphas},
            "alphas": alphas,
            "entropy": {k: entropy(rows) for k, rows in alphas.items()},
            "skip_connections": skips,
            "genotype": genotype.to_dict(),
        }
        append_row(self.path, row)


class SkipConnectionStop(keras.callbacks.Callback):
    """Stops a search when the normal cell collapses to skip connections.

    Args:
        limit: Number of skip connections in the normal cell at which to stop.

    References:
        - Liang et al., "DARTS+", arXiv 1909.06035, section 3.2 (two).
    """

    def __init__(self, limit=2):
        super().__init__()
        self.limit = limit

    def on_epoch_end(self, epoch, logs=None):
        skips = self.model.derive().count("skip_connect", "normal")
        if skips >= self.limit:
            print(
                f"search stopped in epoch {epoch + 1}: the normal cell has "
                f"{skips} skip connections."
            )
            self.model.stop_training = True


class DropPathSchedule(keras.callbacks.Callback):
    """Raises the drop path rate linearly, from zero to its full value.

    Args:
        epochs: Number of epochs.

    References:
        - DARTS' evaluation phase; Larsson et al., arXiv 1605.07648.
    """

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        for cell in [*self.model.cells, *self.model.recurrent_cells]:
            if cell.drop_path is not None:
                rate = cell.drop_path_rate * epoch / max(self.epochs - 1, 1)
                cell.drop_path.current_rate.assign(rate)


def entropy(rows) -> float:
    """Mean entropy of the edges' mixing weights, in units of its maximum.

    >>> entropy([[0.0, 0.0], [1.0, 1.0]])
    1.0
    """
    values = []
    for row in rows:
        weights = softmax(row)
        total = -sum(w * math.log(w) for w in weights if w > 0)
        values.append(total / math.log(len(row)) if len(row) > 1 else 0.0)
    return sum(values) / len(values)
