"""Derived networks, and the weights they inherit from the supernet."""

from typing import Any

import keras

from ser_keras.genotype import Genotype
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.search.supernet import SuperNet


def derive_network(
    supernet: SuperNet,
    genotype: Genotype | TwoStreamGenotype | None = None,
    inherit: bool = True,
    **arguments: Any,
) -> keras.Model:
    """The derived network of a search, of the size of the supernet.

    Args:
        supernet: A `SuperNet`.
        genotype: The architecture; default `supernet.derive()`.
        inherit: Whether to copy the supernet's weights of the operations that
            were kept; else the weights are new.
        **arguments: Arguments of the network that differ from the
            supernet's, such as dropout, drop path, the auxiliary classifier
            or the dtype. With `inherit`, none that changes the shape of a
            weight.

    Returns:
        A network of the supernet's class: `CellNetwork` or `TwoStreamNet`.

    Raises:
        ValueError: The genotype is not of the search space, or the shapes
            differ.

    Example:
    >>> from ser_keras import SearchSpace, SuperNet
    >>> space = SearchSpace(cnn=(), num_nodes=1)
    >>> supernet = SuperNet(space, (20, 8, 1), num_classes=3, num_cells=0,
    ...                     recurrent_filters=4)
    >>> derive_network(supernet, dropout=0.5).architecture.count("none")
    0
    """
    if genotype is None:
        genotype = supernet.derive()
    # Both are of one stream, or of two.
    if not supernet.search_space.contains(genotype):  # type: ignore[arg-type]
        raise ValueError(
            "`genotype` must be one of the supernet's search space. "
            f"Received: genotype=\n{genotype.describe()}"
        )
    config = supernet.network.get_config()
    del config["name"]
    network = supernet.network_class(
        **{**config, **arguments, "architecture": genotype}
    )
    if inherit:
        inherit_weights(supernet, network)
    return network


def inherit_weights(
    supernet: SuperNet, network: CellNetwork | TwoStreamNet
) -> None:
    """Copies a supernet's weights of the kept operations to a derived network.

    Scales and offsets that only the derived network has keep their initial
    values, one and zero: its output is that of the supernet with all mixing
    weight on the candidates that were kept.

    Args:
        supernet: A `SuperNet`.
        network: A network of the supernet's class and size.

    Raises:
        ValueError: A weight has another shape in the network.
    """
    source = supernet.network
    if not isinstance(source, TwoStreamNet):
        _inherit_cells(source, network)
        return
    for old, new in zip(source.encoders, network.encoders, strict=True):
        _inherit_cells(old, new)
    for new in network.fusion.heads:
        _copy_layer(source.fusion.head(new.name), new)


def _inherit_cells(source: CellNetwork, network: CellNetwork) -> Any:
    pairs = [
        (source.mixture, network.mixture),
        (source.stem, network.stem),
        (source.stem_norm, network.stem_norm),
        (source.pool, network.pool),
        (source.classifier, network.classifier),
        *zip(source.preprocess, network.preprocess, strict=True),
        *zip(
            source.sequence_preprocess,
            network.sequence_preprocess,
            strict=True,
        ),
    ]
    for old, new in pairs:
        if old is not None:
            _copy_layer(old, new)
    for old, new in zip(
        [*source.cells, *source.recurrent_cells],
        [*network.cells, *network.recurrent_cells],
        strict=True,
    ):
        _copy_cell(old, new)


def _copy_layer(old, new):
    values = {_relative(old, w): w.numpy() for w in old.weights}
    for weight in new.weights:
        name = _relative(new, weight)
        if name not in values:
            if name.rsplit("/", 1)[-1] not in ("gamma", "beta"):
                raise ValueError(
                    f"The supernet has no weight {name!r}: only networks of "
                    "one class and size can share weights."
                )
        else:
            if values[name].shape != tuple(weight.shape):
                raise ValueError(
                    f"`{name}` has the shape {tuple(weight.shape)} in the "
                    f"network and {values[name].shape} in the supernet: only "
                    "networks of one size can share weights."
                )
            weight.assign(values[name])


def _relative(layer, weight):
    return weight.path.split(f"{layer.name}/", 1)[-1]


def _copy_cell(old, new):
    if old.filters != new.filters:
        raise ValueError(
            f"Cell {new.name!r} has {new.filters} filters in the network and "
            f"{old.filters} in the supernet: only networks of one size can "
            "share weights."
        )
    positions = {(s, t): i for i, (s, t, _) in enumerate(old.edges)}
    for i, (source, target, (op,)) in enumerate(new.edges):
        values = old.get_candidate(positions[source, target], op)
        new.set_candidate(i, op, values)
