"""Checks for tests of Keras layers and models."""

import inspect
import json
import os
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._keras_private import flatten_layers
from ser_keras.training.runtime import strategy

#: Dtype policies of `check_precision`.
POLICIES = ("float32", "mixed_bfloat16", "bfloat16", "mixed_float16")


def check_layer(
    layer_class: type[Any],
    config: dict[str, Any],
    inputs: Any,
    trains: bool = True,
    symbolic: bool = True,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    **call: Any,
) -> Any:
    """Checks a layer's configuration, symbolic call and gradients.

    The configuration survives JSON and yields an equal layer; every
    constructor argument is an attribute and an entry of the configuration,
    which also has `dtype` and `trainable`; a functional model of the layer
    gives the same numbers as an eager call, with a compatible shape; and a
    finite gradient reaches every trainable weight.

    Args:
        layer_class: A registered subclass of `keras.layers.Layer`.
        config: Dict of constructor arguments.
        inputs: Array `(batch, ...)`, or a nested structure of them.
        trains: Whether to check gradients.
        symbolic: Whether to check a functional model, whose first axis, the
            batch, has an unknown size.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        **call: Other arguments of the layer's call.

    Returns:
        The layer's output for `inputs`, as numpy arrays.

    Raises:
        AssertionError: A check fails; the message says which.

    Example:
    >>> check_layer(keras.layers.ReLU, {}, np.float32([[-1, 2]])).tolist()
    [[0.0, 2.0]]
    """
    layer = layer_class(**config)
    _check_config(layer, config)
    outputs = layer(inputs, **call)
    for x in _tensors(outputs):
        if x.dtype.is_floating:
            np.testing.assert_equal(x.dtype.name, layer.compute_dtype)
    if symbolic:
        _check_symbolic(layer, inputs, outputs, call, rtol, atol)
    if trains:
        _check_gradients(layer, inputs, call)
    return keras.tree.map_structure(
        lambda x: None if x is None else np.asarray(x), outputs
    )


def _check_symbolic(layer, inputs, outputs, call, rtol, atol):
    symbolic = keras.tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=str(x.dtype)), inputs
    )
    model = keras.Model(
        keras.tree.flatten(symbolic), _tensors(layer(symbolic, **call))
    )
    for eager, functional, tensor in zip(
        _tensors(outputs),
        keras.tree.flatten(model(keras.tree.flatten(inputs))),
        model.outputs,
        strict=True,
    ):
        np.testing.assert_allclose(eager, functional, rtol=rtol, atol=atol)
        if not tf.TensorShape(tensor.shape).is_compatible_with(eager.shape):
            raise AssertionError(
                f"symbolic shape {tensor.shape}, real shape {eager.shape}"
            )


def _tensors(outputs):
    """Flat list of a layer's outputs without those that are `None`."""
    return [x for x in keras.tree.flatten(outputs) if x is not None]


def _check_config(layer, config):
    received = json.loads(json.dumps(layer.get_config()))
    parameters = inspect.signature(type(layer)).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = [p.name for p in parameters if p.kind not in variadic]
    for name in ("dtype", "trainable", *named):
        np.testing.assert_(hasattr(layer, name), f"no attribute {name}")
    for name in ("dtype", "trainable", *named, *config):
        np.testing.assert_(name in received, f"get_config() has no {name}")
    for name, value in config.items():
        if isinstance(value, (str, int, float, bool, type(None))):
            np.testing.assert_equal(received[name], value, err_msg=name)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    copy = keras.saving.deserialize_keras_object(saved)
    np.testing.assert_(type(copy) is type(layer), f"came back as {type(copy)}")
    np.testing.assert_equal(json.loads(json.dumps(copy.get_config())), received)


def _check_gradients(layer, inputs, call):
    if "training" in inspect.signature(layer.call).parameters:
        call = {"training": True, **call}
    with tf.GradientTape() as tape:
        outputs = _tensors(layer(inputs, **call))
        # Not a plain sum, whose gradient after a normalisation is zero.
        loss = sum(tf.reduce_sum(tf.sin(y + 0.1) ** 2) for y in outputs)
    variables = layer.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        if gradient is None:
            raise AssertionError(f"no gradient reaches {variable.path}")
        # Of an embedding it is sparse.
        gradient = tf.convert_to_tensor(gradient)
        np.testing.assert_(
            np.isfinite(np.asarray(gradient)).all(),
            f"gradient of {variable.path} is not finite",
        )


def check_precision(
    layer_class: type[Any],
    config: dict[str, Any],
    inputs: Any,
    policies: Sequence[str] = POLICIES,
    float32: Sequence[str] = (),
    output_dtype: str | None = None,
    **call: Any,
) -> None:
    """Checks that a dtype policy reaches all layers and variables of a layer.

    With each policy as `dtype`, and another global policy: all layers within
    the layer have the policy; its floating-point variables have the policy's
    variable dtype, and its outputs, which are finite, the compute dtype; and
    a copy made from its configuration has the same policies.

    Args:
        layer_class: A registered subclass of `keras.layers.Layer`.
        config: Dict of constructor arguments without `dtype`.
        inputs: Array `(batch, ...)`, or a nested structure of them.
        policies: Names of dtype policies.
        float32: Names of layers and of variables that are in float32 under
            every policy.
        output_dtype: Dtype of floating-point outputs under every policy;
            default: the policy's compute dtype.
        **call: Other arguments of the layer's call.

    Raises:
        AssertionError: A check fails; the message says which.

    Example:
    >>> check_precision(keras.layers.Dense, {"units": 2}, np.ones((3, 4)))

    References:
        - `run_precision_test` of keras-hub.
    """
    before = keras.config.dtype_policy()
    # Another global policy, so that a layer which ignores `dtype` is detected.
    keras.config.set_dtype_policy("float64")
    try:
        for name in policies:
            policy = keras.DTypePolicy(name)
            layer = layer_class(**config, dtype=policy)
            outputs = _tensors(layer(inputs, **call))
            _check_policy(layer, policy, float32)
            wanted = output_dtype or policy.compute_dtype
            for x in outputs:
                if not x.dtype.is_floating:
                    continue
                if x.dtype.name != wanted:
                    raise AssertionError(
                        f"{name}: an output is {x.dtype.name}, not {wanted}"
                    )
                if not np.isfinite(np.asarray(x, "float32")).all():
                    raise AssertionError(f"{name}: an output is not finite")
            saved = keras.saving.serialize_keras_object(layer)
            copy = keras.saving.deserialize_keras_object(
                json.loads(json.dumps(saved))
            )
            if not copy.built:
                copy(inputs, **call)
            _check_policy(copy, policy, float32)
    finally:
        keras.config.set_dtype_policy(before)


def _check_policy(layer, policy, float32):
    owners = {}
    for sublayer in flatten_layers(layer):  # Outer layers come first.
        wanted = "float32" if sublayer.name in float32 else policy.name
        if sublayer.dtype_policy.name != wanted:
            raise AssertionError(
                f"{policy.name}: layer {sublayer.path} of {layer.name} has "
                f"the policy {sublayer.dtype_policy.name}, not {wanted}"
            )
        owners |= {id(variable): sublayer for variable in sublayer.variables}
    for variable in layer.variables:
        wanted = [owners[id(variable)].variable_dtype]
        if variable.name in float32:
            wanted.append("float32")
        floating = tf.as_dtype(variable.dtype).is_floating
        if floating and variable.dtype not in wanted:
            raise AssertionError(
                f"{policy.name}: variable {variable.path} is "
                f"{variable.dtype}, not {' or '.join(wanted)}"
            )


def check_tf_data(
    layer: Callable, inputs: Any, rtol: float = 1e-5, atol: float = 1e-6
) -> Any:
    """Checks that a layer gives the same numbers in `tf.data`.

    The layer is called directly, mapped over single examples and mapped over
    batches. Single examples have no batch axis, as in keras-hub's converters.

    Args:
        layer: A layer or function without trainable state.
        inputs: Array `(batch, ...)`.
        rtol: Relative tolerance.
        atol: Absolute tolerance.

    Returns:
        The direct output, as numpy arrays.

    Raises:
        AssertionError: The results differ.

    Example:
    >>> check_tf_data(tf.abs, np.float32([[-1, 2], [3, -4]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    direct = keras.tree.map_structure(np.asarray, layer(inputs))
    examples = tf.data.Dataset.from_tensor_slices(inputs)
    for dataset in (
        examples.map(layer).batch(len(inputs)),
        examples.batch(len(inputs)).map(layer),
    ):
        mapped = next(iter(dataset))
        for expected, found in zip(
            keras.tree.flatten(direct), keras.tree.flatten(mapped), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
    return direct


def check_model_saving(
    model: keras.Model,
    inputs: Any,
    path: str | os.PathLike[str],
    rtol: float = 0,
    atol: float = 1e-6,
) -> keras.Model:
    """Checks that a model loaded from its `.keras` file is the same.

    Args:
        model: A built model.
        inputs: The model's inputs.
        path: The file to write, `....keras`.
        rtol: Relative tolerance.
        atol: Absolute tolerance.

    Returns:
        The loaded model.

    Raises:
        AssertionError: Outputs or weights differ.

    Example:
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> path = getfixture("tmp_path") / "model.keras"
    >>> check_model_saving(model, np.ones((4, 2)), path).count_params()
    9
    """
    before = model(inputs, training=False)
    model.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_(type(loaded) is type(model), f"read {type(loaded)}")
    after = loaded(inputs, training=False)
    for old, new in zip(
        keras.tree.flatten(before), keras.tree.flatten(after), strict=True
    ):
        np.testing.assert_allclose(new, old, rtol=rtol, atol=atol)
    _check_weights(model, loaded, rtol=0, atol=0)
    return loaded


def check_replicas(
    build: Callable[[], keras.Model],
    dataset: tf.data.Dataset,
    steps: int = 3,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    seed: int = 0,
) -> tuple[keras.Model, keras.Model]:
    """Checks that two replicas train a model as one device does.

    The process needs two GPUs or two logical CPUs; see
    `tf.config.set_logical_device_configuration`.

    Args:
        build: Function without arguments that returns a compiled model
            without dropout. It is called twice, with the same seed.
        dataset: `tf.data.Dataset` of at least `steps` global batches, which
            are the same at every iteration.
        steps: Number of training steps.
        rtol: Relative tolerance of the weights.
        atol: Absolute tolerance of the weights.
        seed: Seed of both runs.

    Returns:
        The two models, trained on one device and on several.

    Raises:
        AssertionError: The weights differ after the steps, or did not change.
        RuntimeError: There is only one device.
    """
    if strategy("mirrored").num_replicas_in_sync < 2:
        raise RuntimeError(
            "check_replicas needs two devices; see "
            "`tf.config.set_logical_device_configuration`. Received: one"
        )
    models = []
    for name in ("none", "mirrored"):
        keras.utils.set_random_seed(seed)
        with strategy(name).scope():
            model = build()
        start = [np.array(w.value) for w in model.weights]
        model.fit(dataset.take(steps), epochs=1, verbose=0)
        models.append(model)
        moved = zip(start, model.weights, strict=False)
        np.testing.assert_(
            not start
            or any((a != np.asarray(b.value)).any() for a, b in moved),
            "no weight changed",
        )
    one, several = models
    _check_weights(one, several, rtol=rtol, atol=atol)
    return one, several


def _check_weights(model, other, rtol, atol):
    for old, new in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(
            np.asarray(new), np.asarray(old), rtol, atol, err_msg=old.path
        )
