"""The genotype of a network of two streams."""

import dataclasses
import os
from typing import Any

from ser_keras.genotype.cells import CellGenotype
from ser_keras.genotype.cells import Genotype
from ser_keras.genotype.json_file import JSONFile
from ser_keras.genotype.json_file import read_json
from ser_keras.genotype.operations import STREAMS
from ser_keras.genotype.operations import check_fusion


@dataclasses.dataclass(frozen=True)
class TwoStreamGenotype(JSONFile):
    """The architecture of a network of two streams, and their fusion.

    Args:
        handcrafted: `Genotype` of the stream of hand-crafted features.
        deep: `Genotype` of the stream of deep features.
        fusion: One of `FUSIONS`.

    Raises:
        ValueError: There is no such fusion, or a stream is no `Genotype`.

    Example:
    >>> from ser_keras.genotype import Edge
    >>> cell = CellGenotype((Edge(0, 2, "lstm_1"),), concat=(2,))
    >>> genotype = TwoStreamGenotype(
    ...     handcrafted=Genotype(recurrent=cell),
    ...     deep=Genotype(recurrent=cell),
    ...     fusion="supplement",
    ... )
    >>> TwoStreamGenotype.from_dict(genotype.to_dict()) == genotype
    True
    >>> print(genotype.describe())
    handcrafted_recurrent
      2 <- lstm_1(0)
      output: 2
    deep_recurrent
      2 <- lstm_1(0)
      output: 2
    fusion
      supplement
    """

    handcrafted: Genotype
    deep: Genotype
    fusion: str

    def __post_init__(self):
        for stream in STREAMS:
            if not isinstance(getattr(self, stream), Genotype):
                raise ValueError(
                    f"`{stream}` must be a Genotype. Received: "
                    f"{stream}={getattr(self, stream)!r}"
                )
        check_fusion(self.fusion)

    @property
    def cells(self) -> dict[str, CellGenotype]:
        """The cells of both streams, by names such as `"deep_recurrent"`."""
        return {
            f"{stream}_{kind}": cell
            for stream in STREAMS
            for kind, cell in getattr(self, stream).cells.items()
        }

    def count(self, op: str, kind: str | None = None) -> int:
        """Number of edges with an operation, in both streams.

        Args:
            op: Name of the operation.
            kind: Kind of cell; `None`: all kinds.
        """
        return sum(getattr(self, s).count(op, kind) for s in STREAMS)

    def describe(self) -> str:
        """The architecture as text: a line for each node of each cell."""
        lines = []
        for stream in STREAMS:
            for line in getattr(self, stream).describe().split("\n"):
                indented = line.startswith(" ")
                lines.append(line if indented else f"{stream}_{line}")
        return "\n".join([*lines, "fusion", f"  {self.fusion}"])

    def to_dict(self) -> dict:
        """The genotype as plain JSON types, for `from_dict`."""
        return {
            "version": Genotype.VERSION,
            "streams": {s: getattr(self, s).to_dict() for s in STREAMS},
            "fusion": self.fusion,
        }

    @classmethod
    def from_dict(cls, config: dict) -> "TwoStreamGenotype":
        """The genotype whose `to_dict()` this is.

        Raises:
            ValueError: It is not the dict of a genotype of two streams.
        """
        streams = config.get("streams") if isinstance(config, dict) else None
        if not isinstance(streams, dict) or set(streams) != set(STREAMS):
            raise ValueError(
                "Not a genotype of two streams: expected a JSON object with "
                f"`streams` {STREAMS} and `fusion`. Received: "
                f"{str(config)[:200]}"
            )
        parts = {s: Genotype.from_dict(streams[s]) for s in STREAMS}
        fusion: Any = config.get("fusion")
        return cls(**parts, fusion=fusion)


def genotype_from_dict(config: dict) -> Genotype | TwoStreamGenotype:
    """The genotype, of one stream or of two, whose `to_dict` this is.

    Raises:
        ValueError: It is not the dict of a genotype.
    """
    two = isinstance(config, dict) and "streams" in config
    return (TwoStreamGenotype if two else Genotype).from_dict(config)


def load_genotype(path: str | os.PathLike[str]) -> Genotype | TwoStreamGenotype:
    """Reads a genotype, of one stream or of two, from a JSON file.

    Raises:
        ValueError: The file is broken or holds no valid genotype; the message
            names the file.
    """
    return read_json(path, genotype_from_dict)
