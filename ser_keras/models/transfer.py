"""Transfer of weights from a network trained on another corpus."""

import keras

# Layers whose output is the classes.
_HEADS = ("classifier", "auxiliary")


def transfer_weights(source: keras.Model, network: keras.Model) -> None:
    """Copies all weights but those of classifiers into another network.

    The source may have been trained on a corpus with other classes, so the
    classifier (and an auxiliary one) keeps its weights.

    Args:
        source: A trained `CellNetwork` or `LightSERNet`.
        network: A network of the same class and size and, if it has cells,
            the same genotype.

    Raises:
        ValueError: The two differ in more than their numbers of classes.

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
            "`source` and `network` must be of one architecture and size. "
            f"Received: source={_describe(source)} and "
            f"network={_describe(network)}"
        )
    for weight, value in zip(new, old, strict=True):
        weight.assign(value)


def with_outputs(network: keras.Model, number: int) -> keras.Model:
    """A new network that differs in the number of its outputs.

    Args:
        network: `CellNetwork`, `LightSERNet` or another one that has the
            argument `num_classes`.
        number: Outputs of the last layer.

    >>> from ser_keras import LightSERNet
    >>> network = LightSERNet((None, 40, 1), num_classes=7, width=0.25)
    >>> with_outputs(network, 3).num_classes
    3
    """
    config = {**network.get_config(), "num_classes": number}
    return type(network).from_config(config)


def _architecture(model):
    return getattr(model, "architecture", None)


def _describe(model):
    size = f"{type(model).__name__} of {model.count_params()} parameters"
    cells = _architecture(model)
    return size if cells is None else f"{size},\n{cells.describe()}\n"
