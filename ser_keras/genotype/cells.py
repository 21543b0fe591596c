"""The genotype of a network of one stream: its cells as data."""

import dataclasses
from typing import Any

from ser_keras.genotype.json_file import JSONFile
from ser_keras.genotype.operations import CELL_KINDS
from ser_keras.genotype.operations import check_operation


@dataclasses.dataclass(frozen=True, order=True)
class Edge:
    """One operation between two states of a cell.

    States 0 and 1 are the cell's inputs, the outputs of the last cell but one
    and of the last cell; states 2, 3, ... are its nodes.

    Args:
        source: Number of the state that the operation reads.
        target: Number of the node to which its output is added.
        op: Name of the operation.
    """

    source: int
    target: int
    op: str


@dataclasses.dataclass(frozen=True)
class CellGenotype:
    """The genotype of one cell: its edges, and the nodes of its output.

    Args:
        edges: `Edge`s, each from an earlier to a later state.
        concat: Numbers of the nodes whose concatenation is the output.

    Raises:
        ValueError: An edge leads to an earlier state, a node has no incoming
            edge, or an edge occurs twice.

    Example:
    >>> edges = (Edge(0, 2, "lstm_1"), Edge(1, 2, "skip_connect"))
    >>> CellGenotype(edges, concat=(2,)).num_nodes
    1
    """

    edges: tuple[Edge, ...]
    concat: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "concat", tuple(self.concat))
        if not self.edges or not self.concat:
            raise ValueError(
                "A cell needs `edges` and `concat`. Received: "
                f"edges={self.edges}, concat={self.concat}"
            )
        for edge in self.edges:
            if not 0 <= edge.source < edge.target or edge.target < 2:
                raise ValueError(
                    "An edge must lead from an earlier state to a later node "
                    f"(nodes are numbered from 2). Received: {edge}"
                )
        pairs = [(edge.source, edge.target) for edge in self.edges]
        if len(set(pairs)) != len(pairs):
            raise ValueError(
                "Each edge must occur once in a cell. Received some twice: "
                f"{pairs}"
            )
        missing = set(range(2, self.num_nodes + 2)) - {t for _, t in pairs}
        if missing:
            raise ValueError(
                "Each node must have an incoming edge. Received none for: "
                f"{sorted(missing)}"
            )
        nodes = set(range(2, self.num_nodes + 2))
        if not set(self.concat) <= nodes or len(set(self.concat)) < len(
            self.concat
        ):
            raise ValueError(
                f"`concat` must name nodes of the cell, each once, of {nodes}. "
                f"Received: concat={self.concat}"
            )

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return max(edge.target for edge in self.edges) - 1


@dataclasses.dataclass(frozen=True)
class Genotype(JSONFile):
    """The architecture of a network: one cell genotype for each kind of cell.

    Args:
        normal: `CellGenotype` of CNN cells that keep the resolution, or
            `None`.
        reduce: That of CNN cells that halve time and frequency, or `None`.
        recurrent: That of recurrent cells, or `None`.

    Raises:
        ValueError: There is no cell, only one of `normal` and `reduce`, or an
            unknown operation.

    Example:
    >>> cell = CellGenotype(
    ...     edges=(Edge(0, 2, "lstm_1"), Edge(1, 2, "skip_connect")),
    ...     concat=(2,),
    ... )
    >>> genotype = Genotype(recurrent=cell)
    >>> Genotype.from_dict(genotype.to_dict()) == genotype
    True
    >>> print(genotype.describe())
    recurrent
      2 <- lstm_1(0) + skip_connect(1)
      output: 2

    References:
        - Liu et al., "DARTS: Differentiable Architecture Search", 2019,
          section 2.4 (the discrete cell).
    """

    normal: CellGenotype | None = None
    reduce: CellGenotype | None = None
    recurrent: CellGenotype | None = None

    VERSION = 1

    def __post_init__(self):
        for kind, cell in self.cells.items():
            for edge in cell.edges:
                check_operation(edge.op, kind)
        if not self.cells:
            raise ValueError(
                "A genotype needs at least one cell: `normal` and `reduce`, "
                "`recurrent`, or all three. Received: none"
            )
        if (self.normal is None) != (self.reduce is None):
            raise ValueError(
                "`normal` and `reduce` must be given together. Received: "
                f"normal={self.normal}, reduce={self.reduce}"
            )

    @property
    def cells(self) -> dict[str, CellGenotype]:
        """The cells that are not `None`, by kind."""
        cells = {kind: getattr(self, kind) for kind in CELL_KINDS}
        return {kind: cell for kind, cell in cells.items() if cell is not None}

    def edges(self, kind: str) -> list:
        """Edges of a kind of cell as `[source, target, [op]]`.

        As `SearchSpace.edges`, with one candidate on each edge.
        """
        cell = self.cells.get(kind)
        return (
            []
            if cell is None
            else [[edge.source, edge.target, [edge.op]] for edge in cell.edges]
        )

    def concat(self, kind: str) -> list[int]:
        """Nodes whose concatenation is the output of cells of this kind."""
        return list(self.cells[kind].concat)

    def count(self, op: str, kind: str | None = None) -> int:
        """Number of edges with an operation.

        Args:
            op: Name of the operation.
            kind: Kind of cell; `None`: all kinds.
        """
        return sum(
            edge.op == op
            for name, cell in self.cells.items()
            if kind in (None, name)
            for edge in cell.edges
        )

    def describe(self) -> str:
        """The architecture as text: a line for each node of each cell."""
        lines = []
        for kind, cell in self.cells.items():
            lines.append(kind)
            for node in range(2, cell.num_nodes + 2):
                terms = [
                    f"{e.op}({e.source})"
                    for e in cell.edges
                    if e.target == node
                ]
                lines.append(f"  {node} <- {' + '.join(terms)}")
            lines.append(f"  output: {', '.join(map(str, cell.concat))}")
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """The genotype as plain JSON types, for `from_dict`."""
        return {
            "version": self.VERSION,
            "cells": {
                kind: {
                    "edges": [dataclasses.astuple(e) for e in cell.edges],
                    "concat": list(cell.concat),
                }
                for kind, cell in self.cells.items()
            },
        }

    @classmethod
    def from_dict(cls, config: dict) -> "Genotype":
        """The genotype whose `to_dict()` this is.

        Raises:
            ValueError: It is not the dict of a genotype, is of another
                version, or has an unknown operation.
        """
        if not isinstance(config, dict) or "cells" not in config:
            raise ValueError(
                "Not a genotype: expected a JSON object with `version` and "
                f"`cells`. Received: {str(config)[:200]}"
            )
        if config.get("version") != cls.VERSION:
            raise ValueError(
                f"This release reads genotypes of version {cls.VERSION}. "
                f"Received: version={config.get('version')!r}. Search again, "
                "or use the release that wrote it."
            )
        wrong = (
            "Not a genotype: each cell needs `edges`, a list of "
            "[source, target, operation], and `concat`, a list of "
            f"states. Received: {str(config)[:200]}"
        )
        if not isinstance(config["cells"], dict):
            raise ValueError(wrong)
        unknown = set(config["cells"]) - set(CELL_KINDS)
        if unknown:
            raise ValueError(
                f"Unknown kinds of cell {sorted(unknown)}; a genotype may "
                f"have {tuple(CELL_KINDS)}."
            )
        try:
            parts: dict[str, Any] = {
                kind: (
                    [
                        Edge(_state(source), _state(target), str(op))
                        for source, target, op in _list(cell["edges"])
                    ],
                    [_state(state) for state in _list(cell["concat"])],
                )
                for kind, cell in config["cells"].items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(wrong) from error
        cells = {kind: CellGenotype(*part) for kind, part in parts.items()}
        return cls(**cells)


def _state(value):
    # `int` would accept 0.9, "0" and true as well.
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"not a state: {value!r}")
    return value


def _list(value):
    if not isinstance(value, list | tuple):
        raise TypeError(f"not a list: {value!r}")
    return value
