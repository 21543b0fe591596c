"""Mixed operations of a CNN cell: all edges that leave one state."""

import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.layers.factorized_reduce import FactorizedReduce
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import mask_factor
from ser_keras.layers.masking import zero_padding
from ser_keras.layers.pool_norm import PoolNorm
from ser_keras.layers.primitives import build_primitive
from ser_keras.layers.separable_convs import SeparableConvs

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
    output is `sum_k w_k o_k(x)`; with one candidate it is `o(x)`: an edge of
    a derived cell. All edges of a state read the same tensor, so whatever
    they have in common is computed once, and convolutions of one geometry run
    as a single convolution.

    Args:
        candidates: Operation names of each edge.
        filters: Channels of the input and of each output.
        strides: 1, or 2 for the edges that leave a reduction cell's inputs.
        affine: Whether batch norms learn a scale and an offset: not during a
            search, where that would rescale the mixing weights.

    Call arguments:
        inputs: `(batch, time, frequency, filters)`, zero on padded frames.
        weights: One 1-D tensor of mixing weights for each edge, or `None`.
        mask: `(batch, time)`, true on real frames, or `None`.
        training: Whether batch norms use and record the batch's statistics.

    Output shape: a list with, for each edge, `(batch, ceil(time / strides),
    ceil(frequency / strides), filters)`; `None` for an edge of `"none"` alone.

    Example:
    >>> mixed = ConvMixedOp([["max_pool_3x3", "sep_conv_3x3", "none"]], 8)
    >>> x = np.zeros((2, 20, 16, 8), "float32")
    >>> [y.shape for y in mixed(x, weights=[np.float32([0.2, 0.5, 0.3])])]
    [TensorShape([2, 20, 16, 8])]

    References:
        - DARTS, arXiv 1806.09055, equation 2; emoDARTS, arXiv 2403.14083.
    """

    def __init__(self, candidates, filters, strides=1, affine=False, **kwargs):
        super().__init__(**kwargs)
        self.candidates = [list(names) for names in candidates]
        self.filters = filters
        self.strides = strides
        self.affine = affine

    def build(self, input_shape):
        self.pools, self.convolutions, self.others = {}, {}, {}
        self.reduce = None
        edges = self._edges_of
        for op in ("max_pool_3x3", "avg_pool_3x3"):
            if edges(op) and not self.affine:
                self.pools[op] = self._pool(op, op)
            elif edges(op):
                for edge in edges(op):
                    self.pools[f"{op}_{edge}"] = self._pool(op, f"{op}_{edge}")
        for pool in self.pools.values():
            pool.build(input_shape)
        if self.strides == 2 and edges("skip_connect"):
            self.reduce = FactorizedReduce(
                self.filters, len(edges("skip_connect")), self.affine
            )
            self.reduce.build(input_shape)
        for op, geometry in _CONVOLUTIONS.items():
            if edges(op):
                self.convolutions[op] = SeparableConvs(
                    len(edges(op)),
                    self.filters,
                    strides=self.strides,
                    affine=self.affine,
                    name=op,
                    **geometry,
                )
                self.convolutions[op].build(input_shape)
        for edge, names in enumerate(self.candidates):
            for op in names:
                if op not in CNN_OPERATIONS:
                    layer = build_primitive(
                        op, "cnn", filters=self.filters, strides=self.strides
                    )
                    layer.build(input_shape)
                    self.others[f"{op}_{edge}"] = layer

    def _pool(self, op, name):
        return PoolNorm(op[:3], self.strides, self.affine, name=name)

    def _edges_of(self, op):
        return [e for e, names in enumerate(self.candidates) if op in names]

    def call(self, inputs, weights=None, mask=None, training=None):
        if weights is None and any(len(n) > 1 for n in self.candidates):
            raise ValueError(
                "`weights` must be given where an edge has several "
                f"candidates. Received: weights=None, with {self.candidates}"
            )
        out_mask = mask
        if mask is not None and self.strides == 2:
            out_mask = mask[:, ::2]
        # Sums over candidates are made on the concatenation of all edges,
        # one operation for a search cell, where every edge has every one.
        whole, terms = [], [[] for _ in self.candidates]

        def add(op, output):
            edges = self._edges_of(op)
            if len(edges) == len(self.candidates):
                whole.append(output)
                return
            for edge, part in zip(
                edges, tf.split(output, len(edges), -1), strict=True
            ):
                terms[edge].append(part)

        copies_of = {1: inputs}

        def tiled(count):
            if count not in copies_of:
                copies_of[count] = tf.concat([inputs] * count, -1)
            return copies_of[count]

        columns = self._columns(weights)
        factor = mask_factor(out_mask, inputs)
        shared = self._shared_maps(inputs, mask, out_mask, training)
        self._add_shared(whole, terms, shared, weights, columns)
        stacked = dict(self.convolutions)
        if self.reduce is not None:
            stacked["skip_connect"] = self.reduce
        for op, layer in stacked.items():
            copies = 1 if op == "skip_connect" else layer.num_edges
            output = layer(
                tiled(copies),
                weights=columns.get(op),
                mask=out_mask if op == "skip_connect" else factor,
                training=training,
            )
            add(op, output)
        for key, layer in self.others.items():
            op, edge = key.rsplit("_", 1)
            output = _call_user_layer(layer, inputs, mask, training)
            output = zero_padding(output, out_mask)
            if weights is not None:
                output *= self._weight(weights, int(edge), op)
            terms[int(edge)].append(output)
        if whole:
            parts = tf.split(tf.add_n(whole), len(terms), -1)
            terms = [
                [part, *term] for part, term in zip(parts, terms, strict=True)
            ]
        return [tf.add_n(term) if term else None for term in terms]

    def _shared_maps(self, x, mask, out_mask, training):
        """Pools and identity, which edges have in common."""
        shared = {
            key: pool(x, input_mask=mask, mask=out_mask, training=training)
            for key, pool in self.pools.items()
        }
        if self.strides == 1 and self._edges_of("skip_connect"):
            shared["skip_connect"] = x
        return shared

    def _add_shared(self, whole, terms, shared, weights, columns):
        if weights is not None and all(
            op in names for op in shared for names in self.candidates
        ):
            if shared:
                whole.append(self._mix_shared(shared, columns))
            return
        for edge, names in enumerate(self.candidates):
            for op in names:
                term = shared.get(f"{op}_{edge}", shared.get(op))
                if term is None:
                    continue
                if weights is not None:
                    term = term * self._weight(weights, edge, op)
                terms[edge].append(term)

    def _mix_shared(self, shared, columns):
        """All edges' mixtures of the shared maps, as one 1x1 convolution."""
        weights = tf.stack([columns[op] for op in shared])
        kernel = tf.reshape(
            tf.reshape(weights, (len(shared), 1, -1, 1))
            * tf.constant(np.eye(self.filters)[:, None, :], weights.dtype),
            (1, 1, len(shared) * self.filters, -1),
        )
        maps = tf.concat(list(shared.values()), -1)
        return tf.nn.conv2d(maps, kernel, 1, "VALID")

    def _weight(self, weights, edge, op):
        return weights[edge][self.candidates[edge].index(op)]

    def _columns(self, weights):
        """For each operation, its weights on the edges that have it."""
        if weights is None:
            return {}
        names = self.candidates[0]
        if all(other == names for other in self.candidates):
            columns = tf.unstack(tf.stack(weights), axis=1)
            return dict(zip(names, columns, strict=True))
        return {
            op: tf.stack(
                [self._weight(weights, edge, op) for edge in self._edges_of(op)]
            )
            for op in dict.fromkeys(sum(self.candidates, []))
        }

    def get_candidate(self, edge: int, op: str) -> dict:
        """The weights of one candidate, by name: empty where it has none."""
        self._check_candidate(edge, op)
        if op in self.convolutions:
            member = self._edges_of(op).index(edge)
            return self.convolutions[op].get_edge(member)
        if op == "skip_connect" and self.reduce is not None:
            return self.reduce.get_edge(self._edges_of(op).index(edge))
        if op in ("max_pool_3x3", "avg_pool_3x3"):
            return self._pool_of(edge, op).norm.get_channels(slice(None))
        if f"{op}_{edge}" in self.others:
            layer = self.others[f"{op}_{edge}"]
            return {str(i): w for i, w in enumerate(layer.get_weights())}
        return {}

    def set_candidate(self, edge: int, op: str, values: dict) -> None:
        """The inverse of `get_candidate`; missing names stay as they are."""
        self._check_candidate(edge, op)
        if op in self.convolutions:
            member = self._edges_of(op).index(edge)
            self.convolutions[op].set_edge(member, values)
        elif op == "skip_connect" and self.reduce is not None:
            member = self._edges_of(op).index(edge)
            self.reduce.set_edge(member, values)
        elif op in ("max_pool_3x3", "avg_pool_3x3"):
            self._pool_of(edge, op).norm.set_channels(slice(None), values)
        elif f"{op}_{edge}" in self.others:
            layer = self.others[f"{op}_{edge}"]
            layer.set_weights([values[str(i)] for i in range(len(values))])

    def _pool_of(self, edge, op):
        return self.pools[f"{op}_{edge}" if self.affine else op]

    def _check_candidate(self, edge, op):
        if op not in self.candidates[edge]:
            raise ValueError(
                f"Edge {edge} has the candidates {self.candidates[edge]}. "
                f"Received: op={op!r}"
            )

    def get_config(self):
        return {
            **super().get_config(),
            "candidates": self.candidates,
            "filters": self.filters,
            "strides": self.strides,
            "affine": self.affine,
        }


def _call_user_layer(layer, inputs, mask, training):
    """Passes `training`, and `mask` to layers that do something with it."""
    arguments = {}
    if layer._call_has_mask_arg and layer.supports_masking:
        arguments["mask"] = mask
    if layer._call_has_training_arg:
        arguments["training"] = training
    return layer(inputs, **arguments)
