"""A cell: a directed acyclic graph of mixed operations."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import CELL_KINDS
from ser_keras.genotype import check_operation
from ser_keras.layers.conv_mixed_op import ConvMixedOp
from ser_keras.layers.drop_path import DropPath
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import strided_mask
from ser_keras.layers.recurrent_ops import RecurrentMixedOp


@serializable
class Cell(FrameLayer):
    """A cell of a search, or of a derived architecture.

    States 0 and 1 are the inputs; each node is the sum over its incoming
    edges; the output is the concatenation of the states in `concat`. The
    candidates of an edge are mixed by the architecture's weights. A derived
    cell differs in one thing: each of its edges has a single candidate, and
    nothing is mixed.

    Args:
        kind: `"normal"`, `"reduce"` or `"recurrent"`.
        edges: `[source, target, [candidate, ...]]` for each edge, as given by
            `SearchSpace.edges` and `Genotype.edges`.
        concat: States that make up the output.
        filters: Channels of the inputs and of every state.
        affine: Whether batch norms in CNN cells learn scale and offset.
        drop_path_rate: Probability of dropping an edge in training. Edges of
            `"skip_connect"` are never dropped.
        shared_stacks: Whether recurrent stacks of one family on one edge
            share their first layers (see `RecurrentMixedOp`).
        dropout: Dropout rate between stacked bidirectional recurrent layers.

    Call arguments:
        older: State 0: `(batch, time, frequency, filters)`, or
            `(batch, time, filters)` for recurrent cells, zero on padding.
        newer: State 1, likewise.
        weights: Mixing weights `(edges, candidates)`, or `None` for a derived
            cell.
        mask: `(batch, time)`, true on real frames, or `None`.
        training: Whether to apply dropout, and batch norms use the statistics
            of the batch.

    Output shape: as the input, with `len(concat) * filters` channels; a
        reduction cell halves time and frequency, rounded up.

    Raises:
        ValueError: A candidate is not an operation of this kind of cell.

    Example:
    >>> cell = Cell("recurrent", [[0, 2, ["rnn_1"]], [1, 2, ["lstm_1"]]],
    ...             concat=[2], filters=4)
    >>> x = np.zeros((2, 7, 4), "float32")
    >>> cell(x, x).shape
    TensorShape([2, 7, 4])

    References:
        - DARTS, arXiv 1806.09055, equations 1 and 2.
    """

    def __init__(
        self,
        kind: str,
        edges: Sequence[Any],
        concat: Sequence[int],
        filters: int,
        affine: bool = False,
        drop_path_rate: float = 0.0,
        shared_stacks: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        for _, _, names in edges:
            for op in names:
                check_operation(op, kind)
        self.kind = kind
        self.edges = [[s, t, list(names)] for s, t, names in edges]
        self.concat = list(concat)
        self.filters = filters
        self.affine = affine
        self.drop_path_rate = drop_path_rate
        self.shared_stacks = shared_stacks
        self.dropout = dropout
        self.sources = sorted({source for source, _, _ in self.edges})

    def build(
        self,
        older_shape: Sequence[Any] | None = None,
        newer_shape: Sequence[Any] | None = None,
    ) -> None:
        # One mixed operation for each state. A flat list: before version 3.14
        # Keras did not save layers in nested lists.
        self.mixed_ops = []
        for source in self.sources:
            candidates = [self.edges[i][2] for i in self._leaving(source)]
            if CELL_KINDS[self.kind] == "recurrent":
                mixed = RecurrentMixedOp(
                    candidates,
                    self.filters,
                    shared_stacks=self.shared_stacks,
                    dropout=self.dropout,
                    dtype=self.dtype_policy,
                    name=f"from_{source}",
                )
                shape = (None, None, self.filters)
            else:
                mixed = ConvMixedOp(
                    candidates,
                    self.filters,
                    strides=2 if self.kind == "reduce" and source < 2 else 1,
                    affine=self.affine,
                    dtype=self.dtype_policy,
                    name=f"from_{source}",
                )
                shape = (None, None, None, self.filters)
            mixed.build(shape)
            self.mixed_ops.append(mixed)
        self.drop_path = None
        if self.drop_path_rate:
            self.drop_path = DropPath(
                self.drop_path_rate, dtype=self.dtype_policy, name="drop_path"
            )

    def _leaving(self, source):
        return [i for i, edge in enumerate(self.edges) if edge[0] == source]

    def call(
        self,
        older: tf.Tensor,
        newer: tf.Tensor,
        weights: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        states = {0: older, 1: newer}
        if weights is not None:
            weights = tf.unstack(weights)
        incoming = {target: [] for _, target, _ in self.edges}
        node_mask = strided_mask(mask, 2 if self.kind == "reduce" else 1)
        for state in range(max(incoming) + 1):
            if state in incoming:
                states[state] = _sum(incoming[state], states, self.kind)
            if state not in self.sources:
                continue
            leaving = self._leaving(state)
            outputs = self.mixed_ops[self.sources.index(state)](
                states[state],
                weights=None
                if weights is None
                else [weights[i] for i in leaving],
                mask=mask if state < 2 else node_mask,
                training=training,
            )
            for i, output in zip(leaving, outputs, strict=True):
                _, target, names = self.edges[i]
                if output is None:
                    continue
                if self.drop_path is not None and names != ["skip_connect"]:
                    output = self.drop_path(output, training=training)
                incoming[target].append(output)
        return tf.concat([states[state] for state in self.concat], -1)

    def get_candidate(self, edge: int, op: str) -> dict:
        """The weights of candidate `op` of edge number `edge`.

        Returns:
            Dict of arrays, by name; empty for operations without weights.

        Raises:
            ValueError: The edge has no such candidate.
        """
        mixed, position = self._locate(edge)
        return mixed.get_candidate(position, op)

    def set_candidate(self, edge: int, op: str, values: dict) -> None:
        """Inverse of `get_candidate`; names that are missing are not changed.

        Raises:
            ValueError: The edge has no such candidate.
        """
        mixed, position = self._locate(edge)
        mixed.set_candidate(position, op, values)

    def _locate(self, edge):
        source = self.edges[edge][0]
        mixed = self.mixed_ops[self.sources.index(source)]
        return mixed, self._leaving(source).index(edge)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "edges": self.edges,
            "concat": self.concat,
            "filters": self.filters,
            "affine": self.affine,
            "drop_path_rate": self.drop_path_rate,
            "shared_stacks": self.shared_stacks,
            "dropout": self.dropout,
        }


def _sum(terms, states, kind):
    if terms:
        return tf.add_n(terms)
    # Every edge into this node is "none".
    zeros = tf.zeros_like(states[1])
    return zeros[:, ::2, ::2] if kind == "reduce" else zeros
