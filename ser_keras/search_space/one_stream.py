"""The search space of a network of one stream."""

import math
import random
from collections.abc import Sequence
from typing import Any

from ser_keras.genotype import CELL_KINDS
from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.genotype import CellGenotype
from ser_keras.genotype import Edge
from ser_keras.genotype import Genotype
from ser_keras.genotype import check_operation

#: emoDARTS' subsets of the sequential operations, by name.
SEQUENCES = {
    "all": RECURRENT_OPERATIONS,
    "lstm": ("lstm_1", "lstm_2", "lstm_3", "lstm_4", "skip_connect", "none"),
    "lstm_att": ("lstm_att_1", "lstm_att_2", "skip_connect", "none"),
    "rnn": ("rnn_1", "rnn_2", "rnn_3", "rnn_4", "skip_connect", "none"),
    "rnn_att": ("rnn_att_1", "rnn_att_2", "skip_connect", "none"),
}


class SearchSpace:
    """Search space: candidate operations on a fully connected graph of nodes.

    Node `i` of a cell (state `i + 2`) has an edge from both inputs and from
    all nodes before it, so a cell of 4 nodes has 14 edges. Every edge has all
    candidates of the cell's kind.

    Args:
        cnn: Candidates of the normal and reduction cells; empty for a network
            without CNN cells.
        recurrent: Candidates of the recurrent cells; empty for a network
            without recurrent cells.
        num_nodes: Number of nodes in a CNN cell.
        num_recurrent_nodes: Number of nodes in a recurrent cell (default
            `num_nodes`).
        edges_per_node: Number of edges that each node keeps when an
            architecture is derived.

    Raises:
        ValueError: A candidate is unknown or occurs twice, or there is none
            besides `"none"`.

    Example:
    >>> space = SearchSpace.emodarts("lstm", num_nodes=2)
    >>> space.num_edges("normal"), space.num_edges("recurrent")
    (5, 5)
    >>> space.contains(space.sample(seed=0))
    True

    References:
        - emoDARTS, arXiv 2403.14083, section on the search space; the cell
          graph is that of DARTS, arXiv 1806.09055, section 2.1.
    """

    def __init__(
        self,
        cnn: Sequence[str] = CNN_OPERATIONS,
        recurrent: Sequence[str] = RECURRENT_OPERATIONS,
        num_nodes: int = 4,
        num_recurrent_nodes: int | None = None,
        edges_per_node: int = 2,
    ):
        self.cnn = tuple(cnn)
        self.recurrent = tuple(recurrent)
        self.num_nodes = num_nodes
        self.num_recurrent_nodes = (
            num_nodes if num_recurrent_nodes is None else num_recurrent_nodes
        )
        self.edges_per_node = edges_per_node
        for name in ("num_nodes", "num_recurrent_nodes", "edges_per_node"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. Received: "
                    f"{name}={value}"
                )
        if not self.kinds:
            raise ValueError(
                "A search space needs candidates: `cnn`, `recurrent`, or both. "
                f"Received: cnn={self.cnn}, recurrent={self.recurrent}"
            )
        for kind in self.kinds:
            candidates = self.candidates(kind)
            for op in candidates:
                check_operation(op, kind)
            if len(set(candidates)) != len(candidates):
                raise ValueError(
                    "Each candidate must occur once. Received some twice: "
                    f"{candidates}"
                )
            if not set(candidates) - {"none"}:
                raise ValueError(
                    f"A {kind!r} cell needs a candidate besides 'none'. "
                    f"Received: {candidates}"
                )

    @classmethod
    def emodarts(cls, sequence: str = "all", **kwargs: Any) -> "SearchSpace":
        """The search space of emoDARTS: DARTS' CNN and a sequential network.

        Args:
            sequence: `"all"`, `"lstm"`, `"lstm_att"`, `"rnn"` or `"rnn_att"`.
            **kwargs: Other arguments of `SearchSpace`.

        Raises:
            ValueError: There is no such subset.
        """
        if sequence not in SEQUENCES:
            raise ValueError(
                f"`sequence` must be one of {tuple(SEQUENCES)}. Received: "
                f"sequence={sequence!r}"
            )
        return cls(recurrent=SEQUENCES[sequence], **kwargs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of cell in this space."""
        families = {"cnn": self.cnn, "recurrent": self.recurrent}
        return tuple(k for k, family in CELL_KINDS.items() if families[family])

    def candidates(self, kind: str) -> tuple[str, ...]:
        """Candidates of each edge of cells of this kind."""
        return self.recurrent if kind == "recurrent" else self.cnn

    def edges(self, kind: str) -> list:
        """All edges as `[source, target, [candidate, ...]]`, by target."""
        if kind not in self.kinds:
            return []
        nodes = (
            self.num_recurrent_nodes if kind == "recurrent" else self.num_nodes
        )
        return [
            [source, target, list(self.candidates(kind))]
            for target in range(2, nodes + 2)
            for source in range(target)
        ]

    def num_edges(self, kind: str) -> int:
        """Number of edges in a cell of this kind."""
        return len(self.edges(kind))

    def concat(self, kind: str) -> list[int]:
        """Nodes whose concatenation is the cell's output: all of them."""
        return sorted({target for _, target, _ in self.edges(kind)})

    def derive(self, alphas: dict) -> Genotype:
        """The discrete architecture of given architecture parameters.

        The strength of a candidate is its softmax weight among all candidates
        of its edge; `"none"` is never kept. Each node keeps the
        `edges_per_node` incoming edges whose strongest operation is strongest.
        Ties go to the lower source and to the candidate listed first, so that
        the result depends on the numbers only.

        Args:
            alphas: For each kind of cell, rows of shape
                `(edges, candidates)`: lists of finite numbers.

        Returns:
            The `Genotype`.

        Raises:
            ValueError: Kinds or shapes do not match, or a number is not
                finite.

        References:
            - DARTS, arXiv 1806.09055, section 2.4: strength of an operation
              is its softmax weight among all candidates of the edge.
        """
        if set(alphas) != set(self.kinds):
            raise ValueError(
                f"`alphas` must have the kinds {self.kinds}. Received: "
                f"{tuple(alphas)}"
            )
        cells = {}
        for kind in self.kinds:
            rows = [[float(a) for a in row] for row in alphas[kind]]
            candidates = self.candidates(kind)
            if len(rows) != self.num_edges(kind) or any(
                len(row) != len(candidates) for row in rows
            ):
                raise ValueError(
                    f"`alphas[{kind!r}]` must have the shape "
                    f"({self.num_edges(kind)}, {len(candidates)}). Received: "
                    f"{len(rows)} rows of lengths {sorted(map(len, rows))}"
                )
            if not all(math.isfinite(a) for row in rows for a in row):
                raise ValueError(
                    f"`alphas[{kind!r}]` must be finite. Received: NaN or "
                    "infinity; the search diverged, lower its learning rates"
                )
            cells[kind] = self._derive_cell(kind, rows)
        return Genotype(**cells)

    def _derive_cell(self, kind: Any, rows: Any) -> CellGenotype:
        incoming = {}
        for (source, target, candidates), row in zip(
            self.edges(kind), rows, strict=True
        ):
            weights: dict = dict(zip(candidates, softmax(row), strict=True))
            weights.pop("none", None)
            # `max` returns the first of equals: ties go by candidate order.
            best = max(weights, key=weights.__getitem__)
            incoming.setdefault(target, []).append(
                (-weights[best], Edge(source, target, best))
            )
        edges = []
        for ranked in incoming.values():
            kept = sorted(ranked)[: self.edges_per_node]
            edges += sorted(edge for _, edge in kept)
        return CellGenotype(tuple(edges), tuple(self.concat(kind)))

    def sample(self, seed: int) -> Genotype:
        """A random architecture, uniformly drawn: the baseline of searches."""
        generator = random.Random(seed)
        return self.derive(
            {
                kind: [
                    [generator.gauss(0.0, 1.0) for _ in candidates]
                    for _, _, candidates in self.edges(kind)
                ]
                for kind in self.kinds
            }
        )

    def contains(self, genotype: Genotype) -> bool:
        """Whether `derive` can return this genotype."""
        if set(genotype.cells) != set(self.kinds):
            return False
        for kind, cell in genotype.cells.items():
            targets = [edge.target for edge in cell.edges]
            wanted = {t: min(t, self.edges_per_node) for t in self.concat(kind)}
            if {t: targets.count(t) for t in set(targets)} != wanted:
                return False
            allowed = set(self.candidates(kind)) - {"none"}
            if not {edge.op for edge in cell.edges} <= allowed:
                return False
            if sorted(cell.concat) != self.concat(kind):
                return False
        return True

    def get_config(self) -> dict:
        """The arguments as plain JSON types: `SearchSpace(**config)`."""
        return {
            "cnn": list(self.cnn),
            "recurrent": list(self.recurrent),
            "num_nodes": self.num_nodes,
            "num_recurrent_nodes": self.num_recurrent_nodes,
            "edges_per_node": self.edges_per_node,
        }

    def __eq__(self, other):
        return (
            isinstance(other, SearchSpace)
            and self.get_config() == other.get_config()
        )

    def __hash__(self):
        return hash(repr(self.get_config()))

    def __repr__(self):
        return f"SearchSpace({self.get_config()})"


def softmax(row: Sequence[float]) -> list[float]:
    """Softmax of a list of numbers.

    Example:
    >>> [round(weight, 3) for weight in softmax([0.0, 0.0])]
    [0.5, 0.5]
    """
    peak = max(row)
    exponentials = [math.exp(value - peak) for value in row]
    total = sum(exponentials)
    return [value / total for value in exponentials]
