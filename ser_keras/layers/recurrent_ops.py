"""Mixed operations of a recurrent cell: all edges that leave one state."""

import inspect

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.primitives import build_primitive
from ser_keras.layers.recurrent_stacks import RecurrentStacks
from ser_keras.layers.temporal_attention import TemporalAttention


@serializable
class RecurrentMixedOp(FrameLayer):
    """Softmax-weighted candidates of the edges that leave a recurrent state.

    For each edge with candidates `o_k` and mixing weights `w_k` the output is
    `sum_k w_k o_k(x)`; with one candidate it is `o(x)`: an edge of a derived
    cell. Candidates: `"lstm_1"` ... `"lstm_4"`, `"rnn_1"` ... `"rnn_4"`
    (stacked one-way layers); `"lstm_att_1"`, `"lstm_att_2"`, `"rnn_att_1"`,
    `"rnn_att_2"` (stacked bidirectional layers and `TemporalAttention`);
    `"skip_connect"`; `"none"`, which only takes its share of the weights; and
    names given to `register_primitive`. All edges of a state read the same
    sequence, so the layers of one depth of all candidates run as one
    recurrence.

    Args:
        candidates: Operation names of each edge.
        filters: Channels of the input, of every layer and of each output.
        shared_stacks: Whether the stacks of one family on one edge share
            their first layers, so that `lstm_1` ... `lstm_4` are one stack of
            four layers, read at four depths. By default each is a stack of
            its own, as in the paper.
        dropout: Dropout between bidirectional layers, in training.

    Call arguments:
        inputs: `(batch, time, filters)`.
        weights: One 1-D tensor of mixing weights for each edge, or `None` if
            each edge has one candidate.
        mask: `(batch, time)`, true on real frames, which come first; or
            `None`.
        training: Whether to drop.

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
        self, candidates, filters, shared_stacks=False, dropout=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.candidates = [list(names) for names in candidates]
        self.filters = filters
        self.shared_stacks = shared_stacks
        self.dropout = dropout

    def build(self, input_shape):
        self.stacks = {}
        self._plans = {}
        heads = 0
        for cell in ("lstm", "rnn"):
            plan = self._plan(cell)
            if not plan["one"] and not plan["two"]:
                continue
            self._plans[cell] = plan
            self.stacks[cell] = RecurrentStacks(
                cell,
                [depth for depth, _ in plan["one"]],
                [depth for depth, _ in plan["two"]],
                self.filters,
                dropout=self.dropout,
                dtype=self.dtype_policy,
                name=cell,
            )
            self.stacks[cell].build((None, None, self.filters))
            heads += len(self._finals(cell, "two"))
        self.attention = None
        if heads:
            self.attention = TemporalAttention(
                heads,
                self.filters,
                dtype=self.dtype_policy,
                name="attention",
            )
            self.attention.build(None)
        self.others, self._other_keys = [], []
        for edge, names in enumerate(self.candidates):
            for op in names:
                if op not in RECURRENT_OPERATIONS:
                    layer = build_primitive(
                        op, "recurrent", filters=self.filters
                    )
                    layer.build((None, None, self.filters))
                    self.others.append(layer)
                    self._other_keys.append((edge, op))

    def _plan(self, cell):
        """Stacks of one family: `(depth, {depth read: (edge, op)})`."""
        plan = {"one": [], "two": []}
        for edge, names in enumerate(self.candidates):
            found = {"one": {}, "two": {}}
            for op in names:
                family, _, depth = op.rpartition("_")
                if op not in RECURRENT_OPERATIONS or not depth.isdigit():
                    continue
                if family in (cell, f"{cell}_att"):
                    way = "one" if family == cell else "two"
                    found[way][int(depth)] = (edge, op)
            for way, reads in found.items():
                if self.shared_stacks and reads:
                    plan[way].append((max(reads), reads))
                else:
                    plan[way] += [(n, {n: key}) for n, key in reads.items()]
        for stacks in plan.values():
            stacks.sort(key=lambda stack: stack[0])
        return plan

    def _finals(self, cell, way):
        """Candidates in the order in which `call` collects their outputs."""
        stacks = self._plans[cell][way]
        found = []
        for depth in range(1, max([n for n, _ in stacks], default=0) + 1):
            found += [
                reads[depth]
                for n, reads in stacks
                if n >= depth and depth in reads
            ]
        return found

    def call(self, inputs, weights=None, mask=None, training=None):
        if weights is None and any(len(n) > 1 for n in self.candidates):
            raise ValueError(
                "`weights` must be given when an edge has several candidates. "
                f"Received: candidates={self.candidates}"
            )
        x = tf.transpose(inputs, [1, 0, 2])[None]
        lengths = None
        if mask is not None:
            lengths = tf.reduce_sum(tf.cast(mask, "int32"), 1)
        terms, keys = self._terms(x, lengths, mask, training)
        for layer, key in zip(self.others, self._other_keys, strict=True):
            accepted = inspect.signature(layer.call).parameters
            offered = {"mask": mask, "training": training}
            output = layer(
                # Not the tensor to which Keras attached the mask: a layer
                # without masks would warn.
                tf.identity(inputs),
                **{k: v for k, v in offered.items() if k in accepted},
            )
            terms.append(tf.transpose(output, [1, 0, 2])[None])
            keys.append((key[0], key[1]))
        if any("skip_connect" in names for names in self.candidates):
            terms.append(x)
            keys.append("skip_connect")
        if not terms:
            return [None] * len(self.candidates)
        edges = [e for e, n in enumerate(self.candidates) if n != ["none"]]
        if weights is None:
            singles = [x for term in terms for x in tf.unstack(term)]
            mixed = tf.stack([singles[self._column(keys, e, 0)] for e in edges])
        else:
            every = tf.concat(terms, 0)
            mixed = tf.matmul(
                self._mixing_matrix(keys, edges, weights, x.dtype),
                tf.reshape(every, [len(keys), -1]),
            )
            shape = tf.shape(every)
            mixed = tf.reshape(mixed, [len(edges), shape[1], -1, self.filters])
        mixed = tf.transpose(mixed, [0, 2, 1, 3])
        if mask is not None:
            mixed = mixed * tf.cast(mask, mixed.dtype)[None, :, :, None]
        outputs = [None] * len(self.candidates)
        for edge, output in zip(edges, tf.unstack(mixed), strict=True):
            outputs[edge] = output
        return outputs

    def _terms(self, x, lengths, mask, training):
        """Outputs of all built-in candidates, and which is which."""
        terms, keys = [], []
        attended, lasts, attended_keys = [], [], []
        for cell, stacks in self.stacks.items():
            one_way, two_way = stacks(x, lengths=lengths, training=training)
            terms += self._select(cell, "one", one_way)
            keys += self._finals(cell, "one")
            attended += self._select(cell, "two", [o for o, _ in two_way])
            lasts += self._select(cell, "two", [s for _, s in two_way])
            attended_keys += self._finals(cell, "two")
        if self.attention is not None:
            terms.append(
                self.attention(
                    tf.concat(attended, 0), tf.concat(lasts, 0), mask=mask
                )
            )
            keys += attended_keys
        return terms, keys

    def _select(self, cell, way, outputs):
        """Of each depth's units, those that a candidate reads."""
        stacks = self._plans[cell][way]
        selected = []
        for depth, output in enumerate(outputs, 1):
            read = [depth in reads for n, reads in stacks if n >= depth]
            if all(read):
                selected.append(output)
            elif any(read) and not any(read[sum(read) :]):
                # The ones that end here come first.
                ends = [sum(read), len(read) - sum(read)]
                selected.append(tf.split(output, ends)[0])
            elif any(read):
                positions = [i for i, wanted in enumerate(read) if wanted]
                selected.append(tf.gather(output, positions))
        return [x for x in selected if x.shape[0]]

    def _column(self, keys, edge, position):
        op = self.candidates[edge][position]
        return keys.index(op if op == "skip_connect" else (edge, op))

    def _mixing_matrix(self, keys, edges, weights, dtype):
        """`(edges, outputs)`: which output has which weight on which edge."""
        flat = tf.concat([tf.cast(weights[edge], dtype) for edge in edges], 0)
        # A product with ones and zeros: the gradient of a gather is sparse.
        size = sum(len(self.candidates[edge]) for edge in edges)
        places = np.zeros((len(edges), len(keys), size))
        number = 0
        for row, edge in enumerate(edges):
            for position, op in enumerate(self.candidates[edge]):
                if op != "none":
                    column = self._column(keys, edge, position)
                    places[row, column, number] = 1
                number += 1
        return tf.linalg.matvec(tf.constant(places, dtype), flat)

    def get_candidate(self, edge: int, op: str) -> dict:
        """The weights of candidate `op` of edge number `edge`.

        Returns:
            Dict of arrays, such as `"layer_1/kernel"` in the layout of
            `keras.layers.LSTM`; empty for operations without weights.
        """
        self._check(edge, op)
        if (edge, op) in self._other_keys:
            layer = self.others[self._other_keys.index((edge, op))]
            return {str(i): w for i, w in enumerate(layer.get_weights())}
        return {
            name: keras.ops.convert_to_numpy(variable)[index]
            for name, (variable, index) in self._locate(edge, op).items()
        }

    def set_candidate(self, edge: int, op: str, values: dict) -> None:
        """The inverse of `get_candidate`; missing names stay as they are.

        Raises:
            ValueError: A name that `get_candidate` would not return.
        """
        known = self.get_candidate(edge, op)
        if set(values) - set(known):
            raise ValueError(
                f"`values` must have names of {sorted(known)}. "
                f"Received: {sorted(values)}"
            )
        if (edge, op) in self._other_keys:
            layer = self.others[self._other_keys.index((edge, op))]
            layer.set_weights(list({**known, **values}.values()))
            return
        for name, (variable, index) in self._locate(edge, op).items():
            if name in values:
                whole = np.array(keras.ops.convert_to_numpy(variable))
                whole[index] = values[name]
                variable.assign(whole)

    def _locate(self, edge, op):
        found = {}
        for cell, plan in self._plans.items():
            for way in ("one", "two"):
                for stack, (_, reads) in enumerate(plan[way]):
                    for depth, key in reads.items():
                        if key == (edge, op):
                            found = self.stacks[cell].layer_weights(
                                stack, depth, way == "two"
                            )
        heads = [key for c in self._plans for key in self._finals(c, "two")]
        if (edge, op) in heads:
            found |= self.attention.head_weights(heads.index((edge, op)))
        return found

    def _check(self, edge, op):
        if op not in self.candidates[edge]:
            raise ValueError(
                f"`op` must be one of {self.candidates[edge]}. Received: {op!r}"
            )

    def get_config(self):
        return {
            **super().get_config(),
            "candidates": self.candidates,
            "filters": self.filters,
            "shared_stacks": self.shared_stacks,
            "dropout": self.dropout,
        }
