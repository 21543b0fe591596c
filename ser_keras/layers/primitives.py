"""Candidate operations by name, and how users add their own."""

import keras

from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.genotype import register_operation_name

BUILT_IN = {"cnn": CNN_OPERATIONS, "recurrent": RECURRENT_OPERATIONS}
_factories = {}


def register_primitive(name, family, factory=None):
    """Adds a candidate operation under a name of the user's choice.

    Args:
        name: How genotypes and search spaces call the operation.
        family: `"cnn"` or `"recurrent"`.
        factory: A function which returns a `keras.layers.Layer`. For `"cnn"`
            it is called as `factory(filters=..., strides=...)` and the layer
            maps `(batch, time, frequency, filters)` to `(batch,
            ceil(time / strides), ceil(frequency / strides), filters)`. For
            `"recurrent"` it is called as `factory(filters=...)` and the layer
            maps `(batch, time, filters)` to the same shape. Without it,
            `register_primitive` is a decorator.

    Raises:
        ValueError: The name is built in or taken.

    Example:
    >>> from ser_keras.layers import register_primitive
    >>> @register_primitive("gru_1", "recurrent")
    ... def gru(filters):
    ...     return keras.layers.GRU(filters, return_sequences=True)
    >>> from ser_keras import SearchSpace
    >>> space = SearchSpace(recurrent=("lstm_1", "gru_1", "none"))
    """
    if factory is None:
        return lambda f: register_primitive(name, family, f) or f
    if name in BUILT_IN.get(family, ()):
        raise ValueError(f"{name!r} is a built-in operation.")
    if _factories.get((name, family), factory) is not factory:
        raise ValueError(
            f"A {family} operation named {name!r} is registered already."
        )
    register_operation_name(name, family)
    _factories[name, family] = factory


def build_primitive(name, family, **arguments) -> keras.layers.Layer:
    """The layer that a user's `register_primitive` describes.

    Args:
        name: A registered name.
        family: `"cnn"` or `"recurrent"`.
        **arguments: `filters`, and `strides` for `"cnn"`.

    Raises:
        ValueError: No such name.
    """
    if (name, family) not in _factories:
        raise ValueError(
            f"Unknown {family} operation {name!r}. Built in: "
            f"{', '.join(BUILT_IN[family])}; registered: "
            f"{', '.join(n for n, f in _factories if f == family) or 'none'}. "
            "Call `ser_keras.layers.register_primitive` before the model that "
            "uses it is made or loaded."
        )
    return _factories[name, family](**arguments)
