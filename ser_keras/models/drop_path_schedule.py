"""Schedule of the drop path rate."""

from typing import Any

import keras


class DropPathSchedule(keras.callbacks.Callback):
    """Callback that raises the drop path rate linearly from 0 to its value.

    `CellNetwork.training_callbacks` and `TwoStreamNet.training_callbacks`
    return one where the network has a drop path rate.

    Args:
        epochs: Number of epochs of the training.

    Example:
    >>> from ser_keras import CellNetwork, SearchSpace
    >>> genotype = SearchSpace(num_nodes=1).sample(seed=0)
    >>> network = CellNetwork(genotype, (8, 8, 1), 2, drop_path_rate=0.2)
    >>> schedule = DropPathSchedule(epochs=3)
    >>> schedule.set_model(network)
    >>> schedule.on_epoch_begin(1)
    >>> round(float(network.cells[0].drop_path.current_rate), 2)
    0.1

    References:
        - DARTS, arXiv 1806.09055, architecture evaluation; Larsson et al.,
          "FractalNet", arXiv 1605.07648.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        for cell in [*self.model.cells, *self.model.recurrent_cells]:
            if cell.drop_path is not None:
                rate = cell.drop_path_rate * epoch / max(self.epochs - 1, 1)
                cell.drop_path.current_rate.assign(rate)
