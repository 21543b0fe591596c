"""User-registered candidate operations."""

import contextlib
import inspect
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras.genotype import CNN_OPERATIONS
from ser_keras.genotype import RECURRENT_OPERATIONS
from ser_keras.genotype import register_operation_name

BUILT_IN = {"cnn": CNN_OPERATIONS, "recurrent": RECURRENT_OPERATIONS}
_factories = {}


def register_primitive(
    name: str,
    family: str,
    factory: Callable[..., keras.layers.Layer] | None = None,
) -> Any:
    """Registers a candidate operation under a name of the user's choice.

    The layer is created and built with the dtype policy of the network, as if
    that were the global policy. Its `call` may have the arguments `training`
    and `mask`, `(batch, time)`, true on real frames. Its input is zero on
    padded frames, and so is made its output.

    Args:
        name: How genotypes and search spaces refer to the operation.
        family: `"cnn"` or `"recurrent"`.
        factory: A function which returns a `keras.layers.Layer`. For `"cnn"`
            it is called as `factory(filters=..., strides=...)` and the layer
            maps `(batch, time, frequency, filters)` to `(batch,
            ceil(time / strides), ceil(frequency / strides), filters)`. For
            `"recurrent"` it is called as `factory(filters=...)` and the layer
            maps `(batch, time, filters)` to the same shape. Without it,
            `register_primitive` is a decorator.

    Raises:
        ValueError: The name is that of a built-in operation, or is registered
            already.

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
        raise ValueError(
            f"{name!r} is a built-in operation; choose another name. "
            f"Received: name={name!r}, family={family!r}"
        )
    if _factories.get((name, family), factory) is not factory:
        raise ValueError(
            f"A {family} operation named {name!r} is registered already; "
            f"choose another name. Received: factory={factory!r}"
        )
    register_operation_name(name, family)
    _factories[name, family] = factory


def build_primitive(
    name: str,
    family: str,
    dtype: Any = None,
    input_shape: Sequence[int | None] | None = None,
    **arguments: Any,
) -> keras.layers.Layer:
    """The layer of a user-registered operation.

    Args:
        name: A registered name.
        family: `"cnn"` or `"recurrent"`.
        dtype: Dtype policy of the layer; `None`: the global one.
        input_shape: If given, the layer is built for it.
        **arguments: `filters`, and `strides` for `"cnn"`.

    Raises:
        ValueError: No operation of this name is registered.
    """
    if (name, family) not in _factories:
        registered = [n for n, f in _factories if f == family]
        raise ValueError(
            f"Unknown {family} operation {name!r}. Built in: "
            f"{', '.join(BUILT_IN[family])}; registered: "
            f"{', '.join(registered) or 'none'}. "
            "Call `ser_keras.layers.register_primitive` before the model that "
            "uses it is made or loaded."
        )
    with _global_policy(dtype):
        layer = _factories[name, family](**arguments)
        if input_shape is not None:
            layer.build(input_shape)
    return layer


@contextlib.contextmanager
def _global_policy(dtype):
    # The only way to reach layers inside the user's layer.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(before if dtype is None else dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def call_primitive(layer, inputs, mask=None, training=None):
    """Calls a layer with those of `mask` and `training` that it takes.

    Args:
        layer: A Keras layer.
        inputs: Its input, `(batch, time, ...)`.
        mask: `(batch, time)`, true on real frames, or `None`.
        training: Whether to train.

    Returns:
        The layer's output.
    """
    accepted = inspect.signature(layer.call).parameters
    arguments = {}
    if "training" in accepted:
        arguments["training"] = training
    # A functional model has a `mask` argument whatever its layers do with it.
    of_no_use = isinstance(layer, keras.Model) and not layer.supports_masking
    if "mask" in accepted and not of_no_use:
        arguments["mask"] = mask
    # Not the tensor to which Keras attached a mask: a layer without support
    # for masks would warn.
    return layer(tf.identity(inputs), **arguments)
