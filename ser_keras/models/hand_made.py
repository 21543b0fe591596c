"""Hand-made networks, the baselines of searched ones."""

from collections.abc import Sequence
from typing import Any

from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.models.cell_network import CellNetwork

#: Names of the hand-made networks.
HAND_MADE = (
    "cnn",
    "cnn_attention",
    "lstm",
    "lstm_attention",
    "cnn_lstm",
    "cnn_lstm_attention",
)


def hand_made_genotype(name: str) -> Genotype:
    """The genotype of a hand-made network.

    A CNN cell is a separable convolution with a shortcut around it, which in
    a reduction cell is max pooling; a recurrent cell is an LSTM with a
    shortcut. With attention the LSTM is bidirectional, and `TemporalAttention`
    follows it.

    Args:
        name: One of `HAND_MADE`.

    Raises:
        ValueError: There is no such network.

    Example:
    >>> print(hand_made_genotype("lstm").describe())
    recurrent
      2 <- skip_connect(0) + lstm_1(1)
      output: 2
    """
    _check(name)
    cells = {}
    if name.startswith("cnn"):
        cells["normal"] = _chain("sep_conv_3x3")
        cells["reduce"] = _chain("sep_conv_3x3", from_inputs="max_pool_3x3")
    if "lstm" in name:
        attends = name.endswith("attention")
        cells["recurrent"] = _chain("lstm_att_1" if attends else "lstm_1")
    return Genotype(**cells)


def hand_made_chain(num_nodes: int = 3, cnn: bool = True) -> Genotype:
    """A hand-made genotype of the size of a searched one.

    Each node applies an operation to the node before it and adds the output
    of the one before that, as a stack of residual layers: separable
    convolutions, and LSTMs of two layers with attention. A derived cell of
    `SearchSpace.emodarts("lstm_att")` has the same nodes, edges and outputs,
    so that the two differ in how the operations were chosen. With LSTMs of
    two layers the network is about as large as the mean of random
    architectures of that space; with one layer it is a third smaller.

    Args:
        num_nodes: Nodes of a cell.
        cnn: Whether there are CNN cells; a stream of embeddings has none.

    Example:
    >>> print(hand_made_chain(2, cnn=False).describe())
    recurrent
      2 <- skip_connect(0) + lstm_att_2(1)
      3 <- skip_connect(1) + lstm_att_2(2)
      output: 2, 3
    """
    cells = {"recurrent": _chain("lstm_att_2", num_nodes)}
    if cnn:
        cells["normal"] = _chain("sep_conv_3x3", num_nodes)
        cells["reduce"] = _chain("sep_conv_3x3", num_nodes, "max_pool_3x3")
    return Genotype(**cells)


def hand_made_network(
    name: str,
    input_shape: Sequence[int | None],
    num_classes: int,
    num_cells: int = 4,
    **arguments: Any,
) -> CellNetwork:
    """A hand-made network: CNN, LSTM or both, with or without attention.

    The paper of emoDARTS compares with such networks. Those of its code are
    an LSTM over a single step of 16 384 numbers and a CNN of one filter, with
    a softmax over the batch; these are small networks of the usual kind. They
    are `CellNetwork`s, so that they are trained and scored as a searched one.
    Without attention the mean over time is classified.

    Args:
        name: One of `HAND_MADE`.
        input_shape: `(time, features, 1)`; time may be `None`.
        num_classes: Number of classes.
        num_cells: Number of CNN cells, if the network has any.
        **arguments: Other arguments of `CellNetwork`.

    Returns:
        A `CellNetwork`.

    Raises:
        ValueError: There is no such network, or an argument is out of range.

    Example:
    >>> network = hand_made_network("cnn_lstm", (50, 40, 1), num_classes=4,
    ...                             filters=4, recurrent_filters=8)
    >>> network(np.zeros((2, 50, 40, 1), "float32")).shape
    TensorShape([2, 4])
    """
    genotype = hand_made_genotype(name)
    return CellNetwork(
        genotype,
        input_shape,
        num_classes,
        num_cells=num_cells if genotype.normal else 0,
        num_recurrent_cells=1 if genotype.recurrent else 0,
        pooling="attention" if name.endswith("attention") else "mean",
        **arguments,
    )


def _check(name):
    if name not in HAND_MADE:
        raise ValueError(
            f"`name` must be one of {HAND_MADE}. Received: name={name!r}"
        )


def _chain(operation, num_nodes=1, from_inputs="skip_connect"):
    """A cell of `operation` on each node's predecessor, and a shortcut.

    Shortcuts from the inputs are `from_inputs`: those of a reduction cell must
    reduce.
    """
    nodes, edges = range(2, num_nodes + 2), []
    for node in nodes:
        shortcut = from_inputs if node - 2 < 2 else "skip_connect"
        edges.append(Edge(node - 2, node, shortcut))
        edges.append(Edge(node - 1, node, operation))
    return CellGenotype(edges, concat=nodes)
