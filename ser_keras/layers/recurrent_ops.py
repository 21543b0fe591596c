"""Mixed operations of a recurrent cell: all edges that leave one state."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.primitives import build_primitive
from ser_keras.layers.primitives import call_primitive
from ser_keras.layers.recurrent_stacks import RecurrentStacks
from ser_keras.layers.temporal_attention import TemporalAttention


@dataclasses.dataclass(frozen=True)
class _Stack:
    """A stack of recurrent layers, and which candidates read it.

    Attributes:
        depth: Number of layers.
        readers: Dict from the number of a layer to the candidate, `(edge,
            operation)`, that reads its output.
    """

    depth: int
    readers: dict


@serializable
class RecurrentMixedOp(FrameLayer):
    """Softmax-weighted candidates of the edges that leave a recurrent state.

    For each edge with candidates `o_k` and mixing weights `w_k` the output is
    `sum_k w_k o_k(x)`; with one candidate it is `o(x)`, an edge of a derived
    cell. Candidates: `"lstm_1"` ... `"lstm_4"`, `"rnn_1"` ... `"rnn_4"`
    (stacks of one-way layers); `"lstm_att_1"`, `"lstm_att_2"`, `"rnn_att_1"`,
    `"rnn_att_2"` (stacks of bidirectional layers and `TemporalAttention`);
    `"skip_connect"`; `"none"`, which only takes its share of the weights; and
    names given to `register_primitive`.

    All edges of a state read the same sequence, so layers of the same number
    run as one recurrence (`RecurrentStacks`). For an edge with the candidates
    `lstm_1` and `lstm_3`, and one with `lstm_2`, these are three stacks:

        lstm_1: x -> layer 1
        lstm_2: x -> layer 1 -> layer 2
        lstm_3: x -> layer 1 -> layer 2 -> layer 3

    The three first layers are one recurrence, the two second layers another
    one. With `shared_stacks` the candidates `lstm_1` and `lstm_3` of the first
    edge read layers 1 and 3 of a single stack.

    Args:
        candidates: Operation names of each edge.
        filters: Channels of the input, of every layer and of each output.
        shared_stacks: Whether the stacks of one family on one edge share
            their first layers, so that `lstm_1` ... `lstm_4` are one stack of
            four layers whose every layer is an output. By default each is a
            stack of its own, as in the paper.
        dropout: Dropout rate between bidirectional layers.

    Call arguments:
        inputs: `(batch, time, filters)`.
        weights: One 1-D tensor of mixing weights for each edge, or `None` if
            each edge has one candidate.
        mask: `(batch, time)`, true on real frames, which come first; or
            `None`.
        training: Whether to apply dropout.

    Output shape: a list with, for each edge, `(batch, time, filters)`, zero
        on padded frames; `None` for an edge of `"none"` alone.

    Raises:
        ValueError: No mixing weights for an edge with several candidates.

    Example:
    >>> mixed = RecurrentMixedOp([["lstm_2", "rnn_att_1", "none"]], 8)
    >>> x = np.zeros((2, 20, 8), "float32")
    >>> [y.shape for y in mixed(x, weights=[np.float32([0.2, 0.5, 0.3])])]
    [TensorShape([2, 20, 8])]

    References:
        - DARTS, arXiv 1806.09055, equation 2; emoDARTS, arXiv 2403.14083.
    """

    def __init__(
        self,
        candidates: Sequence[Sequence[str]],
        filters: int,
        shared_stacks: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.candidates = [list(names) for names in candidates]
        self.filters = filters
        self.shared_stacks = shared_stacks
        self.dropout = dropout

    def build(self, input_shape: Sequence[Any]) -> None:
        # Saved files name their groups after the attributes that hold layers
        # (`stacks`, `attention`, `others`), which therefore keep their names.
        self.stacks = {}
        self._one_way, self._two_way = {}, {}
        for cell in ("lstm", "rnn"):
            one_way = self._find_stacks(cell)
            two_way = self._find_stacks(f"{cell}_att")
            if not one_way and not two_way:
                continue
            self._one_way[cell], self._two_way[cell] = one_way, two_way
            self.stacks[cell] = RecurrentStacks(
                cell,
                [stack.depth for stack in one_way],
                [stack.depth for stack in two_way],
                self.filters,
                dropout=self.dropout,
                dtype=self.dtype_policy,
                name=cell,
            )
            self.stacks[cell].build()
        one_way = [c for s in self._one_way.values() for c in _readers(s)]
        self._attended = [
            c for s in self._two_way.values() for c in _readers(s)
        ]
        self.attention = None
        if self._attended:
            self.attention = TemporalAttention(
                len(self._attended),
                self.filters,
                dtype=self.dtype_policy,
                name="attention",
            )
            self.attention.build()
        # Operations of users.
        self.others, self._registered = [], []
        for edge, names in enumerate(self.candidates):
            for op in names:
                if op not in RECURRENT_OPERATIONS:
                    layer = build_primitive(
                        op,
                        "recurrent",
                        dtype=self.dtype_policy,
                        input_shape=(None, None, self.filters),
                        filters=self.filters,
                    )
                    self.others.append(layer)
                    self._registered.append((edge, op))
        # The candidate of each output, in the order in which they are stacked.
        # The identity is one output, which edges share.
        self._output_candidates = [*one_way, *self._attended, *self._registered]
        self._has_identity = any("skip_connect" in n for n in self.candidates)
        if self._has_identity:
            self._output_candidates.append("skip_connect")

    def _find_stacks(self, family):
        """The stacks of one family, such as `"lstm_att"`, by depth."""
        stacks = []
        for edge, names in enumerate(self.candidates):
            readers = {}
            for op in names:
                prefix, _, depth = op.rpartition("_")
                if prefix == family and op in RECURRENT_OPERATIONS:
                    readers[int(depth)] = (edge, op)
            if self.shared_stacks and readers:
                stacks.append(_Stack(max(readers), readers))
            else:
                stacks += [_Stack(n, {n: c}) for n, c in readers.items()]
        return sorted(stacks, key=lambda stack: stack.depth)

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
        outputs = self._compute_outputs(inputs, mask, training)
        if not outputs:
            return [None] * len(self.candidates)
        edges = [e for e, n in enumerate(self.candidates) if n != ["none"]]
        if weights is None:
            single = [x for output in outputs for x in tf.unstack(output)]
            chosen = [(edge, self.candidates[edge][0]) for edge in edges]
            mixed = tf.stack([single[self._position(*c)] for c in chosen])
        else:
            stacked = tf.concat(outputs, 0)
            mixed = tf.matmul(
                self._mixing_matrix(edges, weights, stacked.dtype),
                tf.reshape(stacked, [len(self._output_candidates), -1]),
            )
            shape = tf.shape(stacked)
            mixed = tf.reshape(mixed, [len(edges), shape[1], -1, self.filters])
        mixed = tf.transpose(mixed, [0, 2, 1, 3])
        if mask is not None:
            mixed = mixed * tf.cast(mask, mixed.dtype)[None, :, :, None]
        result = [None] * len(self.candidates)
        for edge, output in zip(edges, tf.unstack(mixed), strict=True):
            result[edge] = output
        return result

    def _compute_outputs(self, inputs, mask, training):
        """Outputs of all candidates: `(candidates, time, batch, filters)`.

        Returns:
            List of tensors; concatenated, they are in the order of
            `self._output_candidates`.
        """
        x = tf.transpose(inputs, [1, 0, 2])[None]
        lengths = None
        if mask is not None:
            lengths = tf.reduce_sum(tf.cast(mask, "int32"), 1)
        outputs, attended, last = [], [], []
        for cell, layer in self.stacks.items():
            one_way, two_way = layer(x, lengths=lengths, training=training)
            outputs += _read(self._one_way[cell], one_way)
            attended += _read(self._two_way[cell], [o for o, _ in two_way])
            last += _read(self._two_way[cell], [state for _, state in two_way])
        if self.attention is not None:
            outputs.append(
                self.attention(
                    tf.concat(attended, 0), tf.concat(last, 0), mask=mask
                )
            )
        for layer in self.others:
            output = call_primitive(layer, inputs, mask, training)
            output = tf.cast(output, x.dtype)
            outputs.append(tf.transpose(output, [1, 0, 2])[None])
        if self._has_identity:
            outputs.append(x)
        return outputs

    def _position(self, edge, op):
        """Position of a candidate's output among all of them."""
        identity = op == "skip_connect"
        return self._output_candidates.index(op if identity else (edge, op))

    def _mixing_matrix(self, edges, weights, dtype):
        """`(edges, outputs)`: the weight of each output on each edge."""
        flat = tf.concat([tf.cast(weights[edge], dtype) for edge in edges], 0)
        # A product with ones and zeros: the gradient of a gather is sparse.
        size = sum(len(self.candidates[edge]) for edge in edges)
        selection = np.zeros((len(edges), len(self._output_candidates), size))
        number = 0
        for row, edge in enumerate(edges):
            for op in self.candidates[edge]:
                if op != "none":
                    selection[row, self._position(edge, op), number] = 1
                number += 1
        return tf.linalg.matvec(tf.constant(selection, dtype), flat)

    def get_candidate(self, edge: int, op: str) -> dict:
        """The weights of candidate `op` of edge number `edge`.

        Returns:
            Dict of arrays, such as `"layer_1/kernel"` in the layout of
            `keras.layers.LSTM`; empty for operations without weights.

        Raises:
            ValueError: The edge has no such candidate.
        """
        self._check_candidate(edge, op)
        if (edge, op) in self._registered:
            layer = self.others[self._registered.index((edge, op))]
            return {str(i): w for i, w in enumerate(layer.get_weights())}
        return {
            name: keras.ops.convert_to_numpy(variable)[index]
            for name, (variable, index) in self._locate(edge, op).items()
        }

    def set_candidate(self, edge: int, op: str, values: dict) -> None:
        """Inverse of `get_candidate`; names that are missing are not changed.

        Raises:
            ValueError: A name that `get_candidate` would not return.
        """
        known = self.get_candidate(edge, op)
        if set(values) - set(known):
            raise ValueError(
                f"`values` must have names of {sorted(known)}. "
                f"Received: {sorted(values)}"
            )
        if (edge, op) in self._registered:
            layer = self.others[self._registered.index((edge, op))]
            layer.set_weights(list({**known, **values}.values()))
            return
        for name, (variable, index) in self._locate(edge, op).items():
            if name in values:
                array = np.array(keras.ops.convert_to_numpy(variable))
                array[index] = values[name]
                variable.assign(array)

    def _locate(self, edge, op):
        """Where a candidate's weights are: `{name: (variable, index)}`."""
        found = {}
        for groups in (self._one_way, self._two_way):
            for cell, stacks in groups.items():
                for number, stack in enumerate(stacks):
                    for layers, candidate in stack.readers.items():
                        if candidate == (edge, op):
                            found = self.stacks[cell].layer_weights(
                                number, layers, groups is self._two_way
                            )
        if (edge, op) in self._attended:
            head = self._attended.index((edge, op))
            found |= self.attention.head_weights(head)
        return found

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
            "shared_stacks": self.shared_stacks,
            "dropout": self.dropout,
        }


def _readers(stacks):
    """The candidates that read some stacks, by layer, then by stack."""
    depth = max((stack.depth for stack in stacks), default=0)
    return [
        stack.readers[layer]
        for layer in range(1, depth + 1)
        for stack in stacks
        if layer in stack.readers
    ]


def _read(stacks, outputs):
    """What the candidates read, in the order of `_readers`.

    Args:
        stacks: List of `_Stack`, by depth.
        outputs: For each layer the outputs of the stacks that have it,
            `(stacks, ...)`.

    Returns:
        List of tensors `(candidates, ...)`.
    """
    parts = []
    for layer, output in enumerate(outputs, 1):
        read = [layer in s.readers for s in stacks if s.depth >= layer]
        count = sum(read)
        if all(read):
            parts.append(output)
        elif count and not any(read[count:]):
            # The stacks that end here come first.
            parts.append(tf.split(output, [count, len(read) - count])[0])
        elif count:
            positions = [i for i, wanted in enumerate(read) if wanted]
            parts.append(tf.gather(output, positions))
    return [part for part in parts if part.shape[0]]
