"""Callbacks of searches."""

import math
import os
from typing import Any

import keras

from ser_keras._files import append_row
from ser_keras._files import drop_rows
from ser_keras.search_space import softmax


class ArchitectureLogger(keras.callbacks.Callback):
    """Callback that logs the architecture of every epoch as JSON lines.

    A row holds the epoch (1 for the first), the alphas of each kind of cell,
    the genotype they stand for, the mean entropy of the mixing weights
    (relative to its maximum: 1 for equal weights, 0 for one-hot ones) and the
    number of skip connections in the normal cell, whose growth is the known
    failure of DARTS. When a search is resumed, the rows of epochs that run
    again are removed first.

    Args:
        path: The file.

    References:
        - Zela et al., "Understanding and Robustifying Differentiable
          Architecture Search", arXiv 1909.09656 (the failure).
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._first = True

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self._first:
            drop_rows(self.path, after=epoch)
            self._first = False

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
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
    """Callback that stops a search whose normal cell collapses.

    Args:
        limit: Number of skip connections in the normal cell at which to stop.

    References:
        - Liang et al., "DARTS+", arXiv 1909.06035, section 3.2 (two).
    """

    def __init__(self, limit: int = 2):
        super().__init__()
        self.limit = limit

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        skips = self.model.derive().count("skip_connect", "normal")
        if skips >= self.limit:
            print(
                f"Search stopped after epoch {epoch + 1}: the normal cell has "
                f"{skips} skip connections."
            )
            self.model.stop_training = True


def entropy(rows: Any) -> float:
    """Mean entropy of the edges' mixing weights, relative to its maximum.

    Args:
        rows: Alphas of each edge: lists of numbers.

    Returns:
        A number from 0 (one-hot weights) to 1 (equal weights).

    Example:
    >>> entropy([[0.0, 0.0], [1.0, 1.0]])
    1.0
    """
    values = []
    for row in rows:
        weights = softmax(row)
        total = -sum(w * math.log(w) for w in weights if w > 0)
        values.append(total / math.log(len(row)) if len(row) > 1 else 0.0)
    return sum(values) / len(values)
