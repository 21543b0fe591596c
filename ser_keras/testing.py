"""Checks that any Keras layer or model should pass: ours, and yours."""

import inspect
import json

import keras
import numpy as np
import tensorflow as tf

from ser_keras.training.distribution import strategy


def check_layer(
    layer_class, config, inputs, trains=True, rtol=1e-5, atol=1e-6, **call
):
    """Checks a layer's configuration, types, symbolic call and gradients.

    Its configuration survives JSON and makes an equal layer, every
    constructor argument is an attribute, outputs have the layer's compute
    type, a functional model gives the eager call's numbers and a shape which
    agrees, and a gradient reaches every trainable weight.

    Args:
        layer_class: A registered `keras.layers.Layer` class.
        config: Dict of constructor arguments.
        inputs: Array `(batch, ...)`.
        trains: Whether to check gradients.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        **call: Other arguments of the layer's call.

    Returns:
        The layer's output for `inputs`, as numpy arrays.

    Raises:
        AssertionError: One of these is not so.

    Example:
    >>> check_layer(keras.layers.ReLU, {}, np.float32([[-1, 2]])).tolist()
    [[0.0, 2.0]]
    """
    layer = layer_class(**config)
    _check_config(layer, config)
    outputs = keras.tree.map_structure(np.asarray, layer(inputs, **call))
    symbolic = keras.Input(inputs.shape[1:], dtype=str(inputs.dtype))
    model = keras.Model(symbolic, layer(symbolic, **call))
    for ours, theirs, tensor in zip(
        keras.tree.flatten(outputs),
        keras.tree.flatten(model(inputs)),
        keras.tree.flatten(model.output),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
        if not tf.TensorShape(tensor.shape).is_compatible_with(ours.shape):
            raise AssertionError(
                f"symbolic shape {tensor.shape}, real shape {ours.shape}"
            )
        if np.issubdtype(ours.dtype, np.floating):
            np.testing.assert_equal(str(ours.dtype), layer.compute_dtype)
    if trains:
        _check_gradients(layer, inputs, call)
    return outputs


def _check_config(layer, config):
    received = json.loads(json.dumps(layer.get_config()))
    for name, value in config.items():
        np.testing.assert_(hasattr(layer, name), f"no attribute {name}")
        if name not in received:
            raise AssertionError(f"get_config() has no {name}")
        if isinstance(value, (str, int, float, bool, type(None))):
            np.testing.assert_equal(received[name], value, err_msg=name)
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        variadic = parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if not variadic and name not in received:
            raise AssertionError(f"get_config() has no {name}")
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    copy = keras.saving.deserialize_keras_object(saved)
    np.testing.assert_(type(copy) is type(layer), f"came back as {type(copy)}")
    np.testing.assert_equal(json.loads(json.dumps(copy.get_config())), received)


def _check_gradients(layer, inputs, call):
    if "training" in inspect.signature(layer.call).parameters:
        call = {"training": True, **call}
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(layer(inputs, **call))
        # Not a plain sum, which has no gradient behind a normalisation.
        loss = sum(tf.reduce_sum(tf.sin(y + 0.1) ** 2) for y in outputs)
    variables = layer.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        if gradient is None:
            raise AssertionError(f"no gradient reaches {variable.path}")
        np.testing.assert_(
            np.isfinite(np.asarray(gradient)).all(),
            f"gradient of {variable.path} is not finite",
        )


def check_tf_data(layer, inputs, rtol=1e-5, atol=1e-6):
    """Checks that a layer gives the same numbers everywhere in `tf.data`.

    That is: called directly, mapped over single examples, mapped over a
    batch. Single examples have no batch axis, as in keras-hub's converters.

    Args:
        layer: A layer or function without trainable state.
        inputs: Array `(batch, ...)`.
        rtol: Relative tolerance.
        atol: Absolute tolerance.

    Returns:
        The direct output, as numpy arrays.

    Raises:
        AssertionError: They differ.

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
        for ours, theirs in zip(
            keras.tree.flatten(direct), keras.tree.flatten(mapped), strict=True
        ):
            np.testing.assert_allclose(theirs, ours, rtol=rtol, atol=atol)
    return direct


def check_model_saving(model, inputs, path, rtol=0, atol=1e-6):
    """Checks that a model read back from a `.keras` file is the same model.

    Args:
        model: A built model.
        inputs: Whatever the model is called with.
        path: Where to write, `....keras`.
        rtol: Relative tolerance.
        atol: Absolute tolerance.

    Returns:
        The model that was read.

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


def check_replicas(build, dataset, steps=3, rtol=1e-5, atol=1e-5, seed=0):
    """Checks that two replicas train a model as one device does.

    The process needs two GPUs or two logical CPUs; see
    `tf.config.set_logical_device_configuration`.

    Args:
        build: Function without arguments that returns a compiled model
            without dropout. It is called twice, from the same seed.
        dataset: `tf.data.Dataset` of global batches of an even size, the
            same at every iteration, with at least `steps` of them.
        steps: Number of training steps.
        rtol: Relative tolerance of the weights.
        atol: Absolute tolerance of the weights.
        seed: Seed of both runs.

    Returns:
        The two models, of one device and of several.

    Raises:
        AssertionError: The weights differ after the steps, or did not move.
        RuntimeError: There is one device only.
    """
    if strategy("mirrored").num_replicas_in_sync < 2:
        raise RuntimeError("check_replicas needs two devices")
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
            "no weight moved",
        )
    _check_weights(*models, rtol=rtol, atol=atol)
    return tuple(models)


def _check_weights(model, other, rtol, atol):
    for old, new in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(
            np.asarray(new), np.asarray(old), rtol, atol, err_msg=old.path
        )
