"""Weights from a network of another corpus."""

import keras

# Layers whose output is the classes.
_HEADS = ("classifier", "auxiliary")


def transfer_weights(source: keras.Model, network: keras.Model) -> None:
    """Copies everything below the last layer into another network.

    For a network that was trained on another corpus: its classes may be
    others, so the last layer (and that of an auxiliary head) stays as it is.

    Args:
        source: A trained `CellNetwork` or `LightSERNet`.
        network: Of the same class, size and, with cells, genotype.

    Raises:
        ValueError: The two differ in more than their classes.

    Example:
    >>> from ser_keras import LightSERNet
    >>> source = LightSERNet((None, 40, 1), num_classes=8, width=0.25)
    >>> network = LightSERNet((None, 40, 1), num_classes=7, width=0.25)
    >>> transfer_weights(source, network)
    """
    old, new = (
        [w for w in model.weights if w.path.split("/")[-2] not in _HEADS]
        for model in (source, network)
    )
    if (
        type(source) is not type(network)
        or _architecture(source) != _architecture(network)
        or [tuple(w.shape) for w in old] != [tuple(w.shape) for w in new]
    ):
        raise ValueError(
            "Only networks of one architecture and size can share weights. "
            f"Received: source={_describe(source)} and "
            f"network={_describe(network)}"
        )
    for weight, value in zip(new, old, strict=True):
        weight.assign(value)


def _architecture(model):
    return getattr(model, "architecture", None)


def _describe(model):
    size = f"{type(model).__name__} of {model.count_params()} parameters"
    cells = _architecture(model)
    return size if cells is None else f"{size},\n{cells.describe()}\n"
