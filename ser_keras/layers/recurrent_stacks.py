"""Stacks of recurrent layers that read one sequence, computed side by side."""

import math

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers import recurrence
from ser_keras.layers.masking import FrameLayer

_CELLS = {"lstm": (recurrence.lstm, 4), "rnn": (recurrence.simple_rnn, 1)}


@serializable
class RecurrentStacks(FrameLayer):
    """Several stacks of LSTM or tanh-RNN layers on the same input.

    The first layers of all stacks are the units of one recurrence, with their
    weights stacked in a few variables (`recurrent_kernel_1` etc.); the second
    layers are those of the next one, and so on. One-way stacks come first,
    then the forward and then the backward directions of bidirectional stacks;
    within each, stacks are ordered by depth. With `depths=[1, 2, 2]` and
    `two_way_depths=[1, 2]`, of which stack 0 ends after its first layer:

        layer 1: one-way 0, 1, 2 | forward 0, 1 | backward 0, 1
        layer 2: one-way    1, 2 | forward    1 | backward    1

    Args:
        cell: `"lstm"` or `"rnn"`.
        depths: Number of layers of each one-way stack, ascending.
        two_way_depths: Number of layers of each bidirectional stack,
            ascending.
        filters: Channels of the input and of each direction's state.
        dropout: Dropout rate between layers of bidirectional stacks.

    Call arguments:
        x: `(1, time, batch, filters)`.
        lengths: Real frames of each clip, `(batch,)`, or `None` for all.
        training: Whether to apply dropout.

    Output shape: two lists with an entry for each layer. The first has the
        outputs of the one-way stacks with at least that many layers,
        `(stacks, time, batch, filters)`; the second the pairs `(outputs,
        last)` of the bidirectional ones, `(stacks, time, batch, 2 * filters)`
        and `(stacks, batch, 2 * filters)`, the final state of either
        direction. Padded frames hold arbitrary finite numbers.

    Example:
    >>> stacks = RecurrentStacks("lstm", [1, 2, 2], [1], filters=4)
    >>> one_way, two_way = stacks(np.zeros((1, 7, 5, 4), "float32"))
    >>> [tuple(x.shape) for x in one_way]
    [(3, 7, 5, 4), (2, 7, 5, 4)]
    >>> [tuple(x.shape) for x in two_way[0]]
    [(1, 7, 5, 8), (1, 5, 8)]

    References:
        - Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, with the
          forget gate of Gers et al., 2000; Elman, 1990.
    """

    def __init__(
        self, cell, depths, two_way_depths, filters, dropout=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.cell = cell
        self.depths = list(depths)
        self.two_way_depths = list(two_way_depths)
        self.filters = filters
        self.dropout = dropout
        self.seed_generator = keras.random.SeedGenerator()

    def units(self, layer):
        """Numbers of one-way and of bidirectional stacks that have a layer.

        Args:
            layer: Number of the layer, 1 for the first.

        Returns:
            Pair of integers.
        """
        one_way = sum(depth >= layer for depth in self.depths)
        return one_way, sum(depth >= layer for depth in self.two_way_depths)

    def build(self, x_shape=None):
        c, width = self.filters, _CELLS[self.cell][1] * self.filters
        self.layer_variables = []
        for layer in range(1, max(self.depths + self.two_way_depths) + 1):
            one, two = self.units(layer)
            shapes = {
                "one_way": (one, c, width),
                "two_way": (2 * two, c if layer == 1 else 2 * c, width),
            }
            variables = {
                name: self.add_weight(
                    name=f"kernel_{name}_{layer}",
                    shape=shape,
                    initializer=glorot_uniform(shape[1], width),
                )
                for name, shape in shapes.items()
                if shape[0]
            }
            variables["recurrent"] = self.add_weight(
                name=f"recurrent_kernel_{layer}",
                shape=(one + 2 * two, c, width),
                initializer=_orthogonal,
            )
            variables["bias"] = self.add_weight(
                name=f"bias_{layer}",
                shape=(one + 2 * two, width),
                initializer=_unit_forget if self.cell == "lstm" else "zeros",
            )
            self.layer_variables.append(variables)

    def call(self, x, lengths=None, training=None):
        one_way, two_way = [], []
        # What one-way and bidirectional stacks read.
        one_way_input = two_way_input = x
        for layer, variables in enumerate(self.layer_variables, 1):
            values = {
                name: tf.convert_to_tensor(variable)
                for name, variable in variables.items()
            }
            inputs = self._project(
                one_way_input, two_way_input, lengths, values
            )
            inputs = inputs + values["bias"][:, None, None]
            one, two = self.units(layer)
            run = _CELLS[self.cell][0]
            h = run(inputs, values["recurrent"], _mode(inputs, training))
            one_way_input, forward, backward = tf.split(h, [one, two, two])
            one_way.append(one_way_input)
            backward_last = recurrence.last_frame(backward, lengths)
            two_way_input = tf.concat(
                [forward, recurrence.reverse(backward, lengths)], -1
            )
            last = recurrence.last_frame(forward, lengths)
            last = tf.concat([last, backward_last], -1)
            two_way.append((two_way_input, last))
            if training and self.dropout and self.units(layer + 1)[1]:
                # Only of the next layer's input, as in `torch.nn.LSTM`.
                two_way_input = keras.random.dropout(
                    two_way_input, self.dropout, seed=self.seed_generator
                )
        return one_way, two_way

    def _project(self, one_way, two_way, lengths, values):
        """Inputs of a layer's units, from the outputs of the layer below."""
        parts = []
        if "one_way" in values:
            kernel = values["one_way"]
            parts.append(_each(_last_stacks(one_way, kernel.shape[0]), kernel))
        if "two_way" in values:
            kernel = values["two_way"]
            x = _last_stacks(two_way, kernel.shape[0] // 2)
            forward, backward = tf.split(kernel, 2)
            parts.append(_each(x, forward))
            parts.append(_each(recurrence.reverse(x, lengths), backward))
        return tf.concat(parts, 0)

    def layer_weights(self, stack, layers, two_way=False):
        """Where the weights of one stack are.

        Args:
            stack: Its position in `depths`, or in `two_way_depths`.
            layers: Number of layers to return, from the first on.
            two_way: Whether it is bidirectional.

        Returns:
            Dict from names such as `"layer_1/kernel"` or
            `"layer_2/backward/bias"` to `(variable, index)`.
        """
        found = {}
        depths = self.two_way_depths if two_way else self.depths
        for layer in range(1, layers + 1):
            one, two = self.units(layer)
            variables = self.layer_variables[layer - 1]
            # Of the stacks before this one, those that have ended are absent.
            position = stack - sum(depth < layer for depth in depths)
            if two_way:
                kernel, first_kernel = variables["two_way"], one
                units = {
                    f"layer_{layer}/forward/": one + position,
                    f"layer_{layer}/backward/": one + two + position,
                }
            else:
                kernel, first_kernel = variables["one_way"], 0
                units = {f"layer_{layer}/": position}
            for prefix, unit in units.items():
                found |= {
                    prefix + "kernel": (kernel, unit - first_kernel),
                    prefix + "recurrent_kernel": (variables["recurrent"], unit),
                    prefix + "bias": (variables["bias"], unit),
                }
        return found

    def get_config(self):
        return {
            **super().get_config(),
            "cell": self.cell,
            "depths": self.depths,
            "two_way_depths": self.two_way_depths,
            "filters": self.filters,
            "dropout": self.dropout,
        }


def _last_stacks(x, count):
    """The last `count` stacks, which have a further layer.

    The input of the first layer, which all stacks share, is returned as it is.
    """
    if x.shape[0] in (1, count):
        return x
    return tf.split(x, [x.shape[0] - count, count])[1]


def _each(x, kernel):
    """A matrix product for each unit: `(units, time, batch, channels)`."""
    shape = tf.shape(x)
    units, channels, width = kernel.shape
    x = tf.reshape(x, [x.shape[0], -1, channels])
    y = tf.matmul(x, kernel)
    return tf.reshape(y, [units, shape[1], shape[2], width])


def _mode(inputs, training):
    """The mode of a recurrence: plain in inference, which may be exported.

    A loop over one or two clips spends most of its time between small
    products, which XLA avoids. It compiles anew for every shape, hence only
    static ones.
    """
    if not training or tf.executing_eagerly():
        return "inline"
    small = inputs.shape.is_fully_defined() and inputs.shape[2] <= 4
    return "compiled" if small and inputs.shape[3] >= 64 else "shared"


def glorot_uniform(fan_in, fan_out):
    """`keras.initializers.GlorotUniform` of one unit's kernel."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return keras.initializers.RandomUniform(-limit, limit)


def _orthogonal(shape, dtype=None):
    """`keras.initializers.Orthogonal` for each unit."""
    units, rows, columns = shape
    normal = keras.initializers.RandomNormal(stddev=1.0)
    q, r = keras.ops.qr(normal((units, columns, rows), dtype="float32"))
    signs = keras.ops.sign(keras.ops.diagonal(r, axis1=1, axis2=2))
    q = keras.ops.transpose(q * signs[:, None], [0, 2, 1])
    return keras.ops.cast(q, dtype or keras.config.floatx())


def _unit_forget(shape, dtype=None):
    """Zeros, but one for the forget gate, as `unit_forget_bias` of Keras."""
    gate = keras.ops.arange(shape[1]) // (shape[1] // 4) == 1
    gate = keras.ops.cast(gate, dtype or keras.config.floatx())
    return keras.ops.broadcast_to(gate, shape)
