"""Mixed operations of a CNN cell: all edges that leave one state."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.layers.factorized_reduce import FactorizedReduce
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import mask_factor
from ser_keras.layers.masking import strided_mask
from ser_keras.layers.masking import zero_padding
from ser_keras.layers.pool_norm import PoolNorm
from ser_keras.layers.primitives import build_primitive
from ser_keras.layers.primitives import call_primitive
from ser_keras.layers.separable_convs import SeparableConvs

_POOLS = ("max_pool_3x3", "avg_pool_3x3")
_CONVOLUTIONS = {
    "sep_conv_3x3": {"kernel_size": 3, "stages": 2},
    "sep_conv_5x5": {"kernel_size": 5, "stages": 2},
    "dil_conv_3x3": {"kernel_size": 3, "dilation": 2},
    "dil_conv_5x5": {"kernel_size": 5, "dilation": 2},
}


@serializable
class ConvMixedOp(FrameLayer):
    """Softmax-weighted candidates of the edges that leave one CNN state.

    For each edge `e` with candidates `o_k` and mixing weights `w_k` the
    output is `sum_k w_k o_k(x)`; with one candidate it is `o(x)`, an edge of
    a derived cell. All edges of a state read the same tensor, so what they
    have in common is computed once:

    | candidate                | computed                                      |
    |--------------------------|-----------------------------------------------|
    | pooling, identity        | once; then mixed for all edges by one 1x1     |
    |                          | convolution                                   |
    | convolutions, reduction  | as one convolution whose output has the       |
    |                          | channels of all edges that have the candidate |
    | registered by users      | for each edge                                 |

    Args:
        candidates: Operation names of each edge.
        filters: Channels of the input and of each output.
        strides: 1, or 2 for the edges that leave a reduction cell's inputs.
        affine: Whether batch norms learn a scale and an offset: not during a
            search, where that would rescale the mixing weights.

    Call arguments:
        inputs: `(batch, time, frequency, filters)`, zero on padded frames.
        weights: One 1-D tensor of mixing weights for each edge, or `None` if
            each edge has one candidate.
        mask: `(batch, time)`, true on real frames, or `None`.
        training: Whether batch norms use the statistics of the batch.

    Output shape: a list with, for each edge, `(batch, ceil(time / strides),
        ceil(frequency / strides), filters)`; `None` for an edge of `"none"`
        alone.

    Raises:
        ValueError: No mixing weights for an edge with several candidates.

    Example:
    >>> mixed = ConvMixedOp([["max_pool_3x3", "sep_conv_3x3", "none"]], 8)
    >>> x = np.zeros((2, 20, 16, 8), "float32")
    >>> [y.shape for y in mixed(x, weights=[np.float32([0.2, 0.5, 0.3])])]
    [TensorShape([2, 20, 16, 8])]

    References:
        - DARTS, arXiv 1806.09055, equation 2; emoDARTS, arXiv 2403.14083.
    """

    def __init__(
        self,
        candidates: Sequence[Sequence[str]],
        filters: int,
        strides: int = 1,
        affine: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.candidates = [list(names) for names in candidates]
        self.filters = filters
        self.strides = strides
        self.affine = affine

    def build(self, input_shape: Sequence[Any]) -> None:
        # Saved files name their groups after the attributes that hold layers
        # (`pools`, `convolutions`, `others`, `reduce`), which therefore keep
        # their names. `others` are the operations of users.
        self.pools, self.convolutions, self.others = {}, {}, {}
        self.reduce = None
        for op in _POOLS:
            # A learned scale belongs to one edge.
            names = [op] if self._edges(op) else []
            if self.affine:
                names = [f"{op}_{edge}" for edge in self._edges(op)]
            for name in names:
                self.pools[name] = PoolNorm(
                    op[:3],
                    self.strides,
                    self.affine,
                    dtype=self.dtype_policy,
                    name=name,
                )
        for pool in self.pools.values():
            pool.build(input_shape)
        if self.strides == 2 and self._edges("skip_connect"):
            self.reduce = FactorizedReduce(
                self.filters,
                len(self._edges("skip_connect")),
                self.affine,
                dtype=self.dtype_policy,
            )
            self.reduce.build(input_shape)
        for op, geometry in _CONVOLUTIONS.items():
            if self._edges(op):
                self.convolutions[op] = SeparableConvs(
                    len(self._edges(op)),
                    self.filters,
                    strides=self.strides,
                    affine=self.affine,
                    dtype=self.dtype_policy,
                    name=op,
                    **geometry,
                )
                self.convolutions[op].build(input_shape)
        for edge, names in enumerate(self.candidates):
            for op in names:
                if op not in CNN_OPERATIONS:
                    self.others[f"{op}_{edge}"] = build_primitive(
                        op,
                        "cnn",
                        dtype=self.dtype_policy,
                        input_shape=input_shape,
                        filters=self.filters,
                        strides=self.strides,
                    )

    def _edges(self, op):
        """Numbers of the edges that have a candidate."""
        return [e for e, names in enumerate(self.candidates) if op in names]

    def call(
        self,
        inputs: tf.Tensor,
        weights: Sequence[tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> list[tf.Tensor | None]:
        if weights is None and any(len(n) > 1 for n in self.candidates):
            raise ValueError(
                "`weights` must be given where an edge has several "
                f"candidates. Received: weights=None, with candidates="
                f"{self.candidates}"
            )
        output_mask = strided_mask(mask, self.strides)
        by_op = self._weights_by_operation(weights)
        sums = _EdgeSums(len(self.candidates))
        self._add_shared(
            sums, inputs, weights, by_op, mask, output_mask, training
        )
        self._add_convolutions(sums, inputs, by_op, output_mask, training)
        for name, layer in self.others.items():
            op, edge = name.rsplit("_", 1)
            output = call_primitive(layer, inputs, mask, training)
            output = zero_padding(tf.cast(output, inputs.dtype), output_mask)
            if weights is not None:
                output *= self._weight(weights, int(edge), op)
            sums.add(int(edge), output)
        return sums.compute()

    def _add_shared(
        self, sums, inputs, weights, by_op, mask, output_mask, training
    ):
        """Adds what edges have in common: pooling, and the identity."""
        maps = {
            name: pool(
                inputs, input_mask=mask, mask=output_mask, training=training
            )
            for name, pool in self.pools.items()
        }
        if self.strides == 1 and self._edges("skip_connect"):
            maps["skip_connect"] = inputs
        on_every_edge = all(
            name in names for name in maps for names in self.candidates
        )
        if maps and weights is not None and on_every_edge:
            every_edge = range(len(self.candidates))
            sums.add_stacked(every_edge, self._mix_for_all_edges(maps, by_op))
            return
        for edge, names in enumerate(self.candidates):
            for op in names:
                output = maps.get(f"{op}_{edge}", maps.get(op))
                if output is None:
                    continue
                if weights is not None:
                    output = output * self._weight(weights, edge, op)
                sums.add(edge, output)

    def _mix_for_all_edges(self, maps, by_op):
        """The mixtures of maps on all edges, as one 1x1 convolution.

        Args:
            maps: Dict of `(batch, time, frequency, filters)`, by operation.
            by_op: Mixing weights `(edges,)` of each operation.

        Returns:
            `(batch, time, frequency, edges * filters)`.
        """
        weights = tf.stack([by_op[op] for op in maps])
        # (maps * filters, edges * filters): each edge's weight of each map
        # times the identity.
        kernel = tf.reshape(
            tf.reshape(weights, (len(maps), 1, -1, 1))
            * tf.constant(np.eye(self.filters)[:, None, :], weights.dtype),
            (1, 1, len(maps) * self.filters, -1),
        )
        return tf.nn.conv2d(
            tf.concat(list(maps.values()), -1), kernel, 1, "VALID"
        )

    def _add_convolutions(self, sums, inputs, by_op, output_mask, training):
        """Adds the convolutions, each stacked for the edges that have it."""
        factor = mask_factor(output_mask, inputs)
        # The input repeated along the channels: once for each edge.
        repeated = {1: inputs}
        for op, layer in self.convolutions.items():
            count = layer.num_edges
            if count not in repeated:
                repeated[count] = tf.concat([inputs] * count, -1)
            output = layer(
                repeated[count],
                weights=by_op.get(op),
                mask=factor,
                training=training,
            )
            sums.add_stacked(self._edges(op), output)
        if self.reduce is not None:
            output = self.reduce(
                inputs,
                weights=by_op.get("skip_connect"),
                mask=output_mask,
                training=training,
            )
            sums.add_stacked(self._edges("skip_connect"), output)

    def _weight(self, weights, edge, op):
        return weights[edge][self.candidates[edge].index(op)]

    def _weights_by_operation(self, weights):
        """For each operation, its weights on the edges that have it."""
        if weights is None:
            return {}
        names = self.candidates[0]
        if all(other == names for other in self.candidates):
            by_op = tf.unstack(tf.stack(weights), axis=1)
            return dict(zip(names, by_op, strict=True))
        return {
            op: tf.stack(
                [self._weight(weights, edge, op) for edge in self._edges(op)]
            )
            for op in dict.fromkeys(sum(self.candidates, []))
        }

    def get_candidate(self, edge: int, op: str) -> dict:
        """The weights of candidate `op` of edge number `edge`.

        Returns:
            Dict of arrays, by name; empty for operations without weights.

        Raises:
            ValueError: The edge has no such candidate.
        """
        self._check_candidate(edge, op)
        if op in self.convolutions:
            position = self._edges(op).index(edge)
            return self.convolutions[op].get_edge(position)
        if op == "skip_connect" and self.reduce is not None:
            return self.reduce.get_edge(self._edges(op).index(edge))
        if op in _POOLS:
            return self._pool(edge, op).norm.get_channels(slice(None))
        if f"{op}_{edge}" in self.others:
            layer = self.others[f"{op}_{edge}"]
            return {str(i): w for i, w in enumerate(layer.get_weights())}
        return {}

    def set_candidate(self, edge: int, op: str, values: dict) -> None:
        """Inverse of `get_candidate`; names that are missing are not changed.

        Raises:
            ValueError: The edge has no such candidate.
        """
        self._check_candidate(edge, op)
        if op in self.convolutions:
            position = self._edges(op).index(edge)
            self.convolutions[op].set_edge(position, values)
        elif op == "skip_connect" and self.reduce is not None:
            position = self._edges(op).index(edge)
            self.reduce.set_edge(position, values)
        elif op in _POOLS:
            self._pool(edge, op).norm.set_channels(slice(None), values)
        elif f"{op}_{edge}" in self.others:
            layer = self.others[f"{op}_{edge}"]
            layer.set_weights([values[str(i)] for i in range(len(values))])

    def _pool(self, edge, op):
        return self.pools[f"{op}_{edge}" if self.affine else op]

    def _check_candidate(self, edge, op):
        if op not in self.candidates[edge]:
            raise ValueError(
                f"`op` must be one of {self.candidates[edge]}, the candidates "
                f"of edge {edge}. Received: op={op!r}"
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "candidates": self.candidates,
            "filters": self.filters,
            "strides": self.strides,
            "affine": self.affine,
        }


class _EdgeSums:
    """Sums of the candidates' outputs on each edge.

    What has the channels of all edges is added as it is and split once, which
    in a search cell, where every edge has every candidate, is a single
    operation.

    Args:
        num_edges: Number of edges.
    """

    def __init__(self, num_edges):
        self.of_all_edges = []
        self.of_edge = [[] for _ in range(num_edges)]

    def add(self, edge, output):
        """Adds `(batch, time, frequency, filters)` to one edge."""
        self.of_edge[edge].append(output)

    def add_stacked(self, edges, output):
        """Adds `(batch, time, frequency, len(edges) * filters)` to `edges`."""
        if len(edges) == len(self.of_edge):
            self.of_all_edges.append(output)
            return
        parts = tf.split(output, len(edges), -1)
        for edge, part in zip(edges, parts, strict=True):
            self.add(edge, part)

    def compute(self):
        """List of the sums; `None` for an edge to which nothing was added."""
        terms = self.of_edge
        if self.of_all_edges:
            parts = tf.split(tf.add_n(self.of_all_edges), len(terms), -1)
            terms = [
                [part, *rest] for part, rest in zip(parts, terms, strict=True)
            ]
        return [tf.add_n(term) if term else None for term in terms]
