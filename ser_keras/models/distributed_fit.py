"""Training and evaluation on several replicas, of one or several machines.

`keras.Model.fit` divides batches by `tf.distribute`, which gives a replica
nothing of a batch smaller than their number, runs a step a call under a
strategy, and does not run on several workers. `Network.fit` and
`Network.evaluate` come here where a network was made under a strategy, and go
on as Keras' own do: the same callbacks, logs and history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras import _replicas
from ser_keras._errors import WorkerLostError
from ser_keras._keras_private import restored_epoch


def fit(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: Any = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: dict | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int = 1,
) -> keras.callbacks.History:
    """As `keras.Model.fit`, for a `Network` made under a strategy.

    Args:
        model: The compiled network. Batches are global: they are divided
            evenly between the replicas.
        x: A `tf.data.Dataset` of `(x, y)` or `(x, y, sample_weight)`, or arrays
            of the former two.
        y: Arrays, where `x` is.
        batch_size: Of arrays.
        epochs: As in Keras, and so are the others unless it is said.
        verbose: Same.
        callbacks: Same.
        validation_split: Same.
        validation_data: Tuple or data set, as the training data.
        shuffle: Whether arrays are shuffled.
        class_weight: Same.
        sample_weight: Same.
        initial_epoch: Same.
        steps_per_epoch: Needed of a data set of unknown or no end.
        validation_steps: Same.
        validation_batch_size: Same.
        validation_freq: Every how many epochs to validate.

    Raises:
        ValueError: The data are of another kind, or their number of batches
            is not known.
    """
    _check(model)
    if validation_split:
        _check_arrays(x, "`validation_split`")
        (x, y, sample_weight), validation_data = _split_off(
            (x, y, sample_weight), validation_split
        )
    steps, iterator = _iterator(
        model,
        x,
        y,
        sample_weight,
        batch_size,
        steps_per_epoch,
        shuffle=shuffle,
        class_weight=class_weight,
    )
    validation = None
    if validation_data is not None:
        val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(
            validation_data
        )
        validation = _iterator(
            model,
            val_x,
            val_y,
            val_weight,
            validation_batch_size or batch_size,
            validation_steps,
        )
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=steps,
            model=model,
        )
    model.stop_training = False
    step = _watched(model, model.make_train_function())
    callbacks.on_train_begin()
    logs = {}
    for epoch in range(restored_epoch(model) or initial_epoch, epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        for first, last in _executions(model, steps):
            callbacks.on_train_batch_begin(first)
            logs = step(iterator, tf.constant(last - first + 1))
            callbacks.on_train_batch_end(last, logs)
            if model.stop_training:
                break
        logs = _numbers(model.get_metrics_result())
        if validation is not None and (epoch + 1) % validation_freq == 0:
            val_steps, val_iterator = validation
            found = _evaluate(model, val_steps, val_iterator, callbacks)
            logs |= {f"val_{name}": value for name, value in found.items()}
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    if epochs > 0:
        model.optimizer.finalize_variable_values(model.trainable_weights)
    callbacks.on_train_end(logs)
    return model.history


def evaluate(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    verbose: Any = "auto",
    sample_weight: Any = None,
    steps: int | None = None,
    callbacks: Any = None,
    return_dict: bool = False,
) -> Any:
    """As `keras.Model.evaluate`, see `fit`."""
    _check(model)
    steps, iterator = _iterator(model, x, y, sample_weight, batch_size, steps)
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_progbar=verbose != 0,
            verbose=1 if verbose == "auto" else verbose,
            epochs=1,
            steps=steps,
            model=model,
        )
    logs = _evaluate(model, steps, iterator, callbacks)
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def make_function(model: Any, step: Callable) -> Callable:
    """Function of an iterator and a number of steps, which runs them.

    Args:
        model: Made under a strategy.
        step: `model.train_step` or `model.test_step`.

    Returns:
        `run(iterator, count)`, which returns the model's metrics.
    """
    strategy = model.distribute_strategy
    if model.jit_compile and not model.run_eagerly:
        step = tf.function(step, jit_compile=True, reduce_retracing=True)

    def run_step(iterator):
        strategy.run(step, args=(next(iterator),))

    def run_eagerly(iterator, count=1):
        for _ in range(int(count)):
            run_step(iterator)
        return model.get_metrics_result()

    if model.run_eagerly:
        return run_eagerly
    if model.steps_per_execution == 1:

        @tf.function(autograph=False, reduce_retracing=True)
        def run_one(iterator, count=1):
            run_step(iterator)
            return model.get_metrics_result()

        return run_one

    @tf.function(autograph=False, reduce_retracing=True)
    def run(iterator, count=1):
        def body(done):
            run_step(iterator)
            return (done + 1,)

        tf.while_loop(lambda done: done < count, body, (0,))
        return model.get_metrics_result()

    return run


def _evaluate(model, steps, iterator, callbacks):
    step = _watched(model, model.make_test_function())
    with model.evaluating():
        callbacks.on_test_begin()
        model.reset_metrics()
        logs = {}
        for first, last in _executions(model, steps):
            callbacks.on_test_batch_begin(first)
            logs = step(iterator, tf.constant(last - first + 1))
            callbacks.on_test_batch_end(last, logs)
        logs = _numbers(model.get_metrics_result())
        callbacks.on_test_end(logs)
    return logs


def _watched(model, step):
    """The function, with an error of its own for a worker that is lost."""
    if _replicas.num_workers(model) == 1:
        return step

    def run(iterator, count):
        try:
            return step(iterator, count)
        except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
            raise WorkerLostError(
                "Another worker has ended, and with it this training. Start "
                "the workers again with the same command: they go on after "
                f"the last epoch that is finished. TensorFlow said: {error}"
            ) from error

    return run


def _executions(model, steps):
    """First and last step of each call of a function of `make_function`."""
    together = model.steps_per_execution
    for first in range(0, steps, together):
        yield first, min(first + together, steps) - 1


def _numbers(logs):
    return {name: float(value) for name, value in logs.items()}


def _check(model):
    if not model.compiled:
        raise ValueError("Call `compile()` before `fit()` or `evaluate()`.")
    replicas = model.distribute_strategy.num_replicas_in_sync
    by_xla = model.jit_compile is True and not _replicas.is_tpu(model)
    if by_xla and replicas > 1:
        raise ValueError(
            "TensorFlow does not sum gradients over replicas within a step "
            "that XLA compiles: use jit_compile=False (on the command line "
            "--xla off, or --strategy none). Received: jit_compile=True, "
            f"{replicas} replicas"
        )


def _check_arrays(x, what):
    if isinstance(x, tf.data.Dataset):
        raise ValueError(f"{what} needs arrays. Received: a data set")


def _split_off(data, share):
    """Training and validation part of arrays, the latter their end."""
    size = len(keras.tree.flatten(data[0])[0])
    first = int(np.floor(size * (1 - share)))
    if not 0 < first < size:
        raise ValueError(
            "`validation_split` must leave clips on both sides. Received: "
            f"validation_split={share}, {size} clips"
        )

    def cut(part):
        return keras.tree.map_structure(
            lambda array: None if array is None else array[part], data
        )

    validation = cut(slice(first, None))
    return cut(slice(first)), tuple(v for v in validation if v is not None)


def _iterator(
    model,
    x,
    y,
    sample_weight,
    batch_size,
    steps,
    shuffle=False,
    class_weight=None,
):
    """Number of batches of a pass, and an endless iterator over passes.

    Endless, as an iterator with an end asks all workers at every step whether
    they have one more batch.
    """
    dataset = _dataset(model, x, y, sample_weight, batch_size, shuffle)
    steps = steps or int(dataset.cardinality())
    if steps == tf.data.UNKNOWN_CARDINALITY:
        raise ValueError(
            "Several replicas must know how many batches there are. Give "
            "`steps_per_epoch` (`steps`, `validation_steps`), or apply "
            "tf.data.experimental.assert_cardinality to the data set"
        )
    if steps == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "A data set without an end needs `steps_per_epoch` (`steps`, "
            "`validation_steps`)"
        )
    if steps == 0:
        raise ValueError("The data set has no batch.")
    if class_weight is not None:
        if len(dataset.element_spec) > 2:  # As Keras.
            raise ValueError(
                "Give `class_weight` or sample weights, not both: multiply "
                "them. Received: both"
            )
        dataset = dataset.map(_weighted_by(class_weight))
    model.build_for_replicas(dataset.element_spec)
    strategy = model.distribute_strategy
    divided = strategy.distribute_datasets_from_function(
        lambda context: _divided(dataset, context)
    )
    return steps, iter(divided)


def _dataset(model, x, y, sample_weight, batch_size, shuffle):
    if isinstance(x, tf.data.Dataset):
        return x
    leaves = keras.tree.flatten(x)
    if not leaves or not all(
        isinstance(leaf, (np.ndarray, tf.Tensor, list)) for leaf in leaves
    ):
        raise ValueError(
            "Several replicas take data as a tf.data.Dataset or as arrays. "
            f"Received: {type(x).__name__}"
        )
    data = tuple(part for part in (x, y, sample_weight) if part is not None)
    data = keras.tree.map_structure(np.asarray, data)
    with tf.device("CPU"):
        dataset = tf.data.Dataset.from_tensor_slices(data)
    if shuffle:
        # All workers must draw the same order.
        seed = 0 if _replicas.num_workers(model) > 1 else None
        dataset = dataset.shuffle(len(dataset), seed=seed)
    return dataset.batch(batch_size or 32)


def _weighted_by(class_weight):
    weights = np.ones(max(class_weight) + 1, "float32")
    for label, weight in class_weight.items():
        weights[label] = weight

    def weigh(x, y):
        labels = y
        if y.shape.rank > 1:
            labels = tf.argmax(y, -1) if y.shape[-1] > 1 else y[..., 0]
        return x, y, tf.gather(weights, tf.cast(labels, tf.int32))

    return weigh


def _divided(dataset, context):
    """Data set of the parts of each batch that a worker's replicas get.

    Parts differ by one clip at most, and some are empty if a batch has fewer
    clips than there are replicas.
    """
    count = context.num_replicas_in_sync
    local = count // context.num_input_pipelines
    first = context.input_pipeline_id * local

    def part(batch, replica):
        def cut(tensor):
            size = tensor.shape[0]
            if size is not None and size % count == 0:
                size //= count
                return tf.ensure_shape(
                    tensor[replica * size : (replica + 1) * size],
                    [size, *tensor.shape[1:]],
                )
            size = tf.shape(tensor)[0]
            start, end = replica * size // count, (replica + 1) * size // count
            return tensor[start:end]

        return tf.nest.map_structure(cut, batch)

    def parts(*batch):
        return tf.data.Dataset.range(
            first, first + local, output_type=tf.int32
        ).map(lambda replica: part(batch, replica))

    def unconverted(function):
        return tf.autograph.experimental.do_not_convert(function)

    divided = dataset.repeat().flat_map(unconverted(parts))
    divided = divided.apply(
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    )
    return divided.prefetch(tf.data.AUTOTUNE)
