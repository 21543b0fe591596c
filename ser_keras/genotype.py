"""Genotypes: architectures as plain, comparable data.

A genotype is the result of a search: for each kind of cell, which operation
runs on which edge. This module uses the standard library alone, so a genotype
can be read, compared and drawn where TensorFlow is not installed.
"""

import dataclasses
import json
import os

#: Names of the candidate operations, per family, in the papers' order.
CNN_OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "none",
)
RECURRENT_OPERATIONS = (
    "lstm_att_1",
    "lstm_att_2",
    "lstm_1",
    "lstm_2",
    "lstm_3",
    "lstm_4",
    "rnn_att_1",
    "rnn_att_2",
    "rnn_1",
    "rnn_2",
    "rnn_3",
    "rnn_4",
    "skip_connect",
    "none",
)

#: Kinds of cell, and the family of operations each of them is made of.
CELL_KINDS = {"normal": "cnn", "reduce": "cnn", "recurrent": "recurrent"}

_KNOWN = {"cnn": set(CNN_OPERATIONS), "recurrent": set(RECURRENT_OPERATIONS)}


def register_operation_name(name: str, family: str) -> None:
    """Makes a user's operation name valid in genotypes and search spaces.

    Called by `ser_keras.layers.register_primitive`, which also says how to
    build the operation.

    Args:
        name: The operation's name, such as `"gru_1"`.
        family: `"cnn"` or `"recurrent"`.
    """
    if family not in _KNOWN:
        raise ValueError(
            f"`family` must be one of {sorted(_KNOWN)}. Received: "
            f"family={family!r}"
        )
    _KNOWN[family].add(name)


def check_operation(name: str, kind: str) -> None:
    """Raises ValueError if `name` is no operation of cells of this `kind`."""
    if kind not in CELL_KINDS:
        raise ValueError(
            f"`kind` must be one of {tuple(CELL_KINDS)}. Received: "
            f"kind={kind!r}"
        )
    known = _KNOWN[CELL_KINDS[kind]]
    if name not in known:
        raise ValueError(
            f"Unknown operation {name!r} in a {kind!r} cell. Known "
            f"operations: {', '.join(sorted(known))}. Operations of your own "
            "are added with `ser_keras.layers.register_primitive`."
        )


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
class Genotype:
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
        cells = self.cells if kind is None else {kind: self.cells[kind]}
        return sum(e.op == op for c in cells.values() for e in c.edges)

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
                        Edge(int(source), int(target), str(op))
                        for source, target, op in cell["edges"]
                    ],
                    [int(state) for state in cell["concat"]],
                )
                for kind, cell in config["cells"].items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(wrong) from error
        cells = {kind: CellGenotype(*part) for kind, part in parts.items()}
        return cls(**cells)

    def save(self, path) -> None:
        """Writes the genotype to a JSON file, in one step."""
        temporary = f"{os.fspath(path)}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, indent=1)
            file.write("\n")
        os.replace(temporary, path)

    @classmethod
    def load(cls, path) -> "Genotype":
        """Reads a genotype from a JSON file.

        Raises:
            ValueError: The file is broken or holds no usable genotype; the
                message names the file.
        """
        try:
            with open(path, encoding="utf-8") as file:
                return cls.from_dict(json.load(file))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}: broken JSON ({error}). A genotype file is written "
                "by `Genotype.save` or by a search's run folder."
            ) from error
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}") from error
