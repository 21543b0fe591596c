"""The search space of a network of two streams."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ser_keras.genotype import FUSIONS
from ser_keras.genotype import STREAMS
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.genotype import check_fusion
from ser_keras.search_space.one_stream import SearchSpace


class TwoStreamSearchSpace:
    """Search space of two streams and their fusion.

    Every stream has architecture parameters of its own, for kinds such as
    `"deep_recurrent"`. The kind `"fusion"` is one edge between the streams,
    whose candidates are the fusions.

    Args:
        handcrafted: `SearchSpace` of the hand-crafted stream.
        deep: `SearchSpace` of the deep stream. By default it has no CNN cells:
            the channels of an embedding have no order.
        fusions: Candidates, of `ser_keras.genotype.FUSIONS`; a single one is
            fixed, not searched.

    Raises:
        ValueError: A candidate is unknown or occurs twice, or there is none.

    Example:
    >>> space = TwoStreamSearchSpace(fusions=("late", "supplement"))
    >>> space.kinds[2:]
    ('handcrafted_recurrent', 'deep_recurrent', 'fusion')
    >>> space.contains(space.sample(seed=0))
    True

    References:
        - EmotionNAS, arXiv 2203.13617, abstract: each stream's structure is
          searched by itself. The space and the fusions are ours.
    """

    def __init__(
        self,
        handcrafted: SearchSpace | None = None,
        deep: SearchSpace | None = None,
        fusions: Sequence[str] = FUSIONS,
    ):
        if deep is None:
            deep = SearchSpace.emodarts("lstm_att", cnn=())
        self.handcrafted = handcrafted or SearchSpace.emodarts("lstm_att")
        self.deep = deep
        self.fusions = tuple(fusions)
        for name in self.fusions:
            check_fusion(name)
        if not fusions or len(set(fusions)) < len(fusions):
            raise ValueError(
                "`fusions` must be one or more candidates, each once. "
                f"Received: fusions={fusions}"
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of cell by stream, and `"fusion"` if there is a choice."""
        kinds = [f"{s}_{k}" for s in STREAMS for k in self.of(s).kinds]
        return (*kinds, "fusion") if len(self.fusions) > 1 else tuple(kinds)

    def of(self, stream: str) -> SearchSpace:
        """The space of one stream."""
        return getattr(self, stream)

    def _split(self, kind):
        stream, _, rest = kind.partition("_")
        return self.of(stream), rest

    def candidates(self, kind: str) -> tuple[str, ...]:
        """Candidates of each edge of this kind."""
        if kind == "fusion":
            return self.fusions
        space, kind = self._split(kind)
        return space.candidates(kind)

    def edges(self, kind: str) -> list:
        """All edges as `[source, target, [candidate, ...]]`, by target."""
        if kind == "fusion":
            return [[0, 1, list(self.fusions)]]
        space, kind = self._split(kind)
        return space.edges(kind)

    def num_edges(self, kind: str) -> int:
        """Number of edges in a cell of this kind; 1 of a fusion."""
        return len(self.edges(kind))

    def derive(self, alphas: dict) -> TwoStreamGenotype:
        """The discrete architecture of given architecture parameters.

        Args:
            alphas: For each kind rows of shape `(edges, candidates)`.

        Raises:
            ValueError: As `SearchSpace.derive`.
        """
        if set(alphas) != set(self.kinds):
            raise ValueError(
                f"`alphas` must have the kinds {self.kinds}. Received: "
                f"{tuple(alphas)}"
            )
        fusion = self.fusions[0]
        if "fusion" in alphas:
            (row,) = alphas["fusion"]
            if len(row) != len(self.fusions):
                raise ValueError(
                    f"`alphas['fusion']` must have {len(self.fusions)} numbers "
                    f"in its row. Received: {len(row)}"
                )
            if not all(math.isfinite(a) for a in row):
                raise ValueError(
                    "`alphas['fusion']` must be finite. Received: NaN or "
                    "infinity; the search diverged, lower its learning rates"
                )
            # The first of equals, as in cells.
            fusion = self.fusions[row.index(max(row))]
        parts = {}
        for stream in STREAMS:
            space = self.of(stream)
            own = {kind: alphas[f"{stream}_{kind}"] for kind in space.kinds}
            parts[stream] = space.derive(own)
        return TwoStreamGenotype(**parts, fusion=fusion)

    def sample(self, seed: int) -> TwoStreamGenotype:
        """A random architecture, uniformly drawn: the baseline of searches."""
        seeds = random.Random(seed)
        parts = {s: self.of(s).sample(seeds.getrandbits(32)) for s in STREAMS}
        return TwoStreamGenotype(**parts, fusion=seeds.choice(self.fusions))

    def contains(self, genotype: TwoStreamGenotype) -> bool:
        """Whether `derive` can return this genotype."""
        return (
            isinstance(genotype, TwoStreamGenotype)
            and genotype.fusion in self.fusions
            and all(self.of(s).contains(getattr(genotype, s)) for s in STREAMS)
        )

    def get_config(self) -> dict:
        """The space as plain JSON types, for `search_space_from_config`."""
        return {
            **{stream: self.of(stream).get_config() for stream in STREAMS},
            "fusions": list(self.fusions),
        }

    def __eq__(self, other):
        return (
            isinstance(other, TwoStreamSearchSpace)
            and self.get_config() == other.get_config()
        )

    def __hash__(self):
        return hash(repr(self.get_config()))

    def __repr__(self):
        return f"TwoStreamSearchSpace({self.get_config()})"


def search_space_from_config(
    config: dict,
) -> SearchSpace | TwoStreamSearchSpace:
    """The space, of one stream or of two, whose `get_config()` this is."""
    if "fusions" not in config:
        return SearchSpace(**config)
    streams = {stream: SearchSpace(**config[stream]) for stream in STREAMS}
    return TwoStreamSearchSpace(**streams, fusions=config["fusions"])
