"""What `CellNetwork` accepts."""

from ser_keras.genotype import Genotype
from ser_keras.search_space import SearchSpace

#: Arguments of a CellNetwork after its architecture and shape.
OPTIONS = (
    "num_classes",
    "filters",
    "num_cells",
    "num_recurrent_cells",
    "recurrent_filters",
    "stem_strides",
    "frequency_pooling",
    "pooling",
    "dropout",
    "cell_dropout",
    "drop_path_rate",
    "auxiliary_weight",
    "shared_stacks",
    "masking",
    "layer_mixture",
)


def check_arguments(network) -> None:
    """Raises ValueError if an argument of a CellNetwork is out of range."""
    if not isinstance(network.architecture, Genotype | SearchSpace):
        raise ValueError(
            "`architecture` must be a Genotype or a SearchSpace. "
            f"Received: architecture={network.architecture!r}"
        )
    if len(network.feature_shape) != 3 or network.feature_shape[1] is None:
        raise ValueError(
            "`input_shape` must be (time, features, 1) with a known "
            f"number of features. Received: {network.feature_shape}"
        )
    positive = ("num_classes", "filters", "recurrent_filters", "layer_mixture")
    for name in positive:
        value = getattr(network, name)
        if value is None and name == "num_classes":
            continue  # An encoder.
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={value}"
            )
    for name in ("num_cells", "num_recurrent_cells"):
        value = getattr(network, name)
        if not isinstance(value, int) or value < 0:
            raise ValueError(
                f"`{name}` must be an integer of 0 or more. Received: "
                f"{name}={value}"
            )
    for name in ("dropout", "cell_dropout", "drop_path_rate"):
        if not 0 <= getattr(network, name) < 1:
            raise ValueError(
                f"`{name}` must be a rate in [0, 1). Received: "
                f"{name}={getattr(network, name)}"
            )
    if network.auxiliary_weight < 0:
        raise ValueError(
            "`auxiliary_weight` must be 0 or more. Received: "
            f"auxiliary_weight={network.auxiliary_weight}"
        )
    if network.auxiliary_weight and network.num_classes is None:
        raise ValueError(
            "An encoder, `num_classes=None`, has no auxiliary classifier. "
            f"Received: auxiliary_weight={network.auxiliary_weight}"
        )
    choices = {
        "stem_strides": (1, 2),
        "frequency_pooling": ("mean", "projection"),
        "pooling": ("attention", "mean"),
    }
    for name, allowed in choices.items():
        if getattr(network, name) not in allowed:
            raise ValueError(
                f"`{name}` must be one of {allowed}. Received: "
                f"{name}={getattr(network, name)!r}"
            )
    cells = {
        "normal": network.num_cells,
        "recurrent": network.num_recurrent_cells,
    }
    for kind, count in cells.items():
        if bool(count) != bool(network.architecture.edges(kind)):
            raise ValueError(
                f"The architecture has {'no' if count else 'a'} {kind!r} "
                f"cell, but the network is to have {count} of them."
            )
    if network.num_cells in (1, 2):
        raise ValueError(
            "`num_cells` must be 0 or at least 3 (two of them reduce). "
            f"Received: num_cells={network.num_cells}"
        )
