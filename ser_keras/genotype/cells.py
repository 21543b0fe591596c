"""The genotype of one network: its cells as data."""

import dataclasses

from ser_keras.genotype.json_file import JSONFile
from ser_keras.genotype.operations import CELL_KINDS
from ser_keras.genotype.operations import check_operation


@dataclasses.dataclass(frozen=True, order=True)
class Edge:
    """One operation between two states of a cell.

    States 0 and 1 are the cell's two inputs (the outputs of the cell before
    the last and of the last one); states 2, 3, ... are its nodes.
    """

    source: int
    target: int
    op: str


@dataclasses.dataclass(frozen=True)
class CellGenotype:
    """The edges of one cell, and the states whose concatenation it returns.

    Args:
        edges: The cell's edges, each running from an earlier to a later state.
        concat: Nodes that make up the output.

    Raises:
        ValueError: An edge runs backwards, a node has no incoming edge, or an
            edge occurs twice.
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
                    "An edge must run from an earlier state to a later node "
                    f"(nodes are numbered from 2). Received: {edge}"
                )
        pairs = [(edge.source, edge.target) for edge in self.edges]
        if len(set(pairs)) != len(pairs):
            raise ValueError(f"An edge occurs twice in a cell: {pairs}")
        missing = set(range(2, self.num_nodes + 2)) - {t for _, t in pairs}
        if missing:
            raise ValueError(f"Nodes without an incoming edge: {missing}")
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
        return max(edge.target for edge in self.edges) - 1


@dataclasses.dataclass(frozen=True)
class Genotype(JSONFile):
    """A whole architecture: one genotype for each kind of cell it uses.

    Args:
        normal: CNN cell that keeps the resolution, or `None`.
        reduce: CNN cell that halves time and frequency, or `None`.
        recurrent: Cell over time, or `None`.

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
            raise ValueError("A genotype needs at least one cell.")
        if (self.normal is None) != (self.reduce is None):
            raise ValueError(
                "`normal` and `reduce` come together. Received: "
                f"normal={self.normal}, reduce={self.reduce}"
            )

    @property
    def cells(self) -> dict[str, CellGenotype]:
        """The cells that exist, by kind."""
        cells = {kind: getattr(self, kind) for kind in CELL_KINDS}
        return {kind: cell for kind, cell in cells.items() if cell is not None}

    def edges(self, kind: str) -> list:
        """Edges as `[source, target, [op]]`: a search cell's list, decided."""
        cell = self.cells.get(kind)
        return (
            []
            if cell is None
            else [[edge.source, edge.target, [edge.op]] for edge in cell.edges]
        )

    def concat(self, kind: str) -> list[int]:
        """States whose concatenation is the output of cells of this kind."""
        return list(self.cells[kind].concat)

    def count(self, op: str, kind: str | None = None) -> int:
        """How many edges use `op` (in cells of `kind`, or in all)."""
        return sum(
            edge.op == op
            for name, cell in self.cells.items()
            if kind in (None, name)
            for edge in cell.edges
        )

    def describe(self) -> str:
        """A few lines a person can read."""
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
        """Plain JSON types."""
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
        """The inverse of `to_dict`.

        Raises:
            ValueError: Not a genotype, another version, or an unknown
                operation.
        """
        if not isinstance(config, dict) or "cells" not in config:
            raise ValueError(
                "Not a genotype: expected a JSON object with `version` and "
                f"`cells`. Received: {str(config)[:200]}"
            )
        if config.get("version") != cls.VERSION:
            raise ValueError(
                f"This release reads genotypes of version {cls.VERSION}. "
                f"Received: version={config.get('version')!r}. Derive it "
                "again, or use the release that wrote it."
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
                f"Unknown kinds of cell {sorted(unknown)}; known are "
                f"{tuple(CELL_KINDS)}."
            )
        try:
            parts = {
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
    # `int` would take 0.9, "0" and true for states as well.
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"not a state: {value!r}")
    return value


def _list(value):
    if not isinstance(value, list | tuple):
        raise TypeError(f"not a list: {value!r}")
    return value
