"""Stacks of recurrent layers which read one sequence, run side by side."""

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

    The layers of one depth are the units of one recurrence, with their
    weights stacked in a few variables: `recurrent_kernel_<depth>` etc. Units
    of a depth are ordered: one-way stacks, then the forward, then the
    backward directions of two-way stacks; within each, by the stacks' depth.

    Args:
        cell: `"lstm"` or `"rnn"`.
        depths: Layers of each one-way stack, ascending.
        two_way_depths: Layers of each bidirectional stack, ascending.
        filters: Channels of the input and of each direction's state.
        dropout: Dropout between layers of bidirectional stacks, in training.

    Call arguments:
        x: `(1, time, batch, filters)`.
        lengths: Valid frames of each clip, `(batch,)`, or `None` for all.
        training: Whether to drop.

    Output shape: two lists with an entry for each depth: outputs of the
    one-way stacks which are at least that deep, `(stacks, time, batch,
    filters)`; and `(outputs, last)` of the two-way stacks, `(stacks, time,
    batch, 2 * filters)` and `(stacks, batch, 2 * filters)`, the final state
    of either direction. Padded frames hold arbitrary finite numbers.

    Example:
    >>> stacks = RecurrentStacks("lstm", [1, 2, 2], [1], filters=4)
    >>> one_way, two_way = stacks(np.zeros((1, 7, 5, 4), "float32"))
    >>> [tuple(x.shape) for x in one_way]
    [(3, 7, 5, 4), (2, 7, 5, 4)]
    >>> [tuple(x.shape) for x in two_way[0]]
    [(1, 7, 5, 8), (1, 5, 8)]
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

    def units(self, depth):
        """How many one-way and two-way stacks have a layer at `depth`."""
        one_way = sum(n >= depth for n in self.depths)
        return one_way, sum(n >= depth for n in self.two_way_depths)

    def build(self, input_shape):
        c, width = self.filters, _CELLS[self.cell][1] * self.filters
        self.weights_of_depth = []
        for depth in range(1, max(self.depths + self.two_way_depths) + 1):
            one, two = self.units(depth)
            shapes = {
                "one_way": (one, c, width),
                "two_way": (2 * two, c if depth == 1 else 2 * c, width),
            }
            made = {
                name: self.add_weight(
                    name=f"kernel_{name}_{depth}",
                    shape=shape,
                    initializer=_glorot(shape[1], width),
                )
                for name, shape in shapes.items()
                if shape[0]
            }
            made["recurrent"] = self.add_weight(
                name=f"recurrent_kernel_{depth}",
                shape=(one + 2 * two, c, width),
                initializer=_orthogonal,
            )
            made["bias"] = self.add_weight(
                name=f"bias_{depth}",
                shape=(one + 2 * two, width),
                initializer=_forget if self.cell == "lstm" else "zeros",
            )
            self.weights_of_depth.append(made)

    def call(self, x, lengths=None, training=None):
        one_way, two_way = [], []
        for depth, variables in enumerate(self.weights_of_depth, 1):
            values = {
                name: tf.convert_to_tensor(variable)
                for name, variable in variables.items()
            }
            if depth == 1:
                below = x, x
            else:
                below = one_way[-1], two_way[-1][-1]
            inputs = self._project(below, lengths, values)
            inputs = inputs + values["bias"][:, None, None]
            one, two = self.units(depth)
            run = _CELLS[self.cell][0]
            h = run(inputs, values["recurrent"], _mode(inputs, training))
            single, forward, backward = tf.split(h, [one, two, two])
            one_way.append(single)
            backward_last = recurrence.last_frame(backward, lengths)
            outputs = tf.concat(
                [forward, recurrence.reverse(backward, lengths)], -1
            )
            last = recurrence.last_frame(forward, lengths)
            last = tf.concat([last, backward_last], -1)
            two_way.append((outputs, last, outputs))
            if training and self.dropout and self.units(depth + 1)[1]:
                # Dropped for the next layer only, as in `torch.nn.LSTM`.
                dropped = keras.random.dropout(
                    outputs, self.dropout, seed=self.seed_generator
                )
                two_way[-1] = (outputs, last, dropped)
        return one_way, [entry[:2] for entry in two_way]

    def _project(self, below, lengths, values):
        """Gate inputs of a depth; `below` are outputs of the one before."""
        parts = []
        if "one_way" in values:
            kernel = values["one_way"]
            parts.append(_each(_deepest(below[0], kernel.shape[0]), kernel))
        if "two_way" in values:
            kernel = values["two_way"]
            x = _deepest(below[1], kernel.shape[0] // 2)
            forward, backward = tf.split(kernel, 2)
            parts.append(_each(x, forward))
            parts.append(_each(recurrence.reverse(x, lengths), backward))
        return tf.concat(parts, 0)

    def layer_weights(self, stack, layers, two_way=False):
        """Where the weights of one stack are.

        Args:
            stack: Its position in `depths`, or in `two_way_depths`.
            layers: How many layers, from the first, are asked for.
            two_way: Whether it is bidirectional.

        Returns:
            Dict from names such as `"layer_1/kernel"` or
            `"layer_2/backward/bias"` to `(variable, index)`.
        """
        found = {}
        depths = self.two_way_depths if two_way else self.depths
        for depth in range(1, layers + 1):
            one, two = self.units(depth)
            made = self.weights_of_depth[depth - 1]
            # Deeper stacks come last, so the first ones end first.
            position = stack - sum(n < depth for n in depths)
            directions = ("forward", "backward") if two_way else ("",)
            for direction in directions:
                prefix = f"layer_{depth}/" + (direction and direction + "/")
                unit = position
                if two_way:
                    unit += one + two * (direction == "backward")
                if two_way:
                    kernel = made["two_way"], unit - one
                else:
                    kernel = made["one_way"], unit
                found[prefix + "kernel"] = kernel
                found[prefix + "recurrent_kernel"] = made["recurrent"], unit
                found[prefix + "bias"] = made["bias"], unit
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


def _deepest(x, units):
    """The last `units` stacks: those that go on; a shared input stays one."""
    if x.shape[0] in (1, units):
        return x
    return tf.split(x, [x.shape[0] - units, units])[1]


def _each(x, kernel):
    """A matrix product for each unit: `(units, time, batch, channels)`."""
    shape = tf.shape(x)
    units, channels, width = kernel.shape
    x = tf.reshape(x, [x.shape[0], -1, channels])
    y = tf.matmul(x, kernel)
    return tf.reshape(y, [units, shape[1], shape[2], width])


def _mode(inputs, training):
    """How to run a recurrence; what is exported has nothing special in it.

    Loops over a clip or two spend their time between small products; XLA
    removes that. It compiles again for every shape, hence static ones only.
    """
    if not training or tf.executing_eagerly():
        return "inline"
    small = inputs.shape.is_fully_defined() and inputs.shape[2] <= 4
    return "compiled" if small and inputs.shape[3] >= 64 else "shared"


def _glorot(fan_in, fan_out):
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


def _forget(shape, dtype=None):
    """Zeros, but one for the forget gate."""
    gate = keras.ops.arange(shape[1]) // (shape[1] // 4) == 1
    gate = keras.ops.cast(gate, dtype or keras.config.floatx())
    return keras.ops.broadcast_to(gate, shape)
