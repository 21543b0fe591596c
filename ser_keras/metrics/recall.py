"""Unweighted average recall, the standard metric of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import keras
from keras import ops

from ser_keras._class_numbers import valid_class_numbers
from ser_keras._keras_private import set_direction
from ser_keras._registry import serializable

if TYPE_CHECKING:
    import tensorflow as tf


@serializable
class UnweightedAverageRecall(keras.metrics.Metric):
    """Unweighted average recall (UAR): the mean of the classes' recalls.

    Also called unweighted accuracy (UA) or balanced accuracy. Its chance level
    is 1 / classes, whatever the class distribution. The state is a confusion
    matrix, so the value is that of all examples since the last reset, not a
    mean over batches, and is the same for one replica as for several. Classes
    without examples are left out of the mean. Before the first example the
    value is 0.

    Args:
        num_classes: Number of classes.
        name: Name of the metric in logs.
        dtype: Dtype of the counts; default `keras.config.floatx()`, whatever
            the model's policy: bfloat16 cannot count beyond 256.
        ignore_class: Class number that is not counted, such as -1 for padding,
            or None.

    Input shape:
        `y_true`: class numbers `(batch,)` or `(batch, 1)`, or one-hot labels
        `(batch, classes)`.
        `y_pred`: logits or probabilities `(batch, classes)`. Both may have
        further axes, such as time, before the last one.
        `sample_weight`: `(batch,)`, or a shape that broadcasts to the labels.

    Raises:
        ValueError: `num_classes` is less than 2, or `y_pred` has another
            number of classes.
        tf.errors.InvalidArgumentError: A class number is neither from 0 to
            `num_classes - 1` nor `ignore_class`. In XLA, the value is NaN
            instead.

    Example:
    >>> uar = UnweightedAverageRecall(num_classes=2)
    >>> uar.update_state([0, 0, 0, 1], [[2., 1], [2, 1], [1, 2], [1, 2]])
    >>> round(float(uar.result()), 4)  # (2/3 + 1) / 2
    0.8333

    References:
        Schuller et al., "The INTERSPEECH 2009 Emotion Challenge",
        Interspeech 2009.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "uar",
        dtype: Any = None,
        ignore_class: int | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ValueError(
                "`num_classes` must be an integer of at least 2. Received: "
                f"num_classes={num_classes}"
            )
        set_direction(self, "up")
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.confusion = self.add_variable(
            shape=(num_classes, num_classes),
            initializer="zeros",
            name="confusion",
        )

    def update_state(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
    ) -> None:
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"`y_pred` must have {self.num_classes} classes in its last "
                f"axis. Received: y_pred.shape={y_pred.shape}"
            )
        if len(y_true.shape) == len(y_pred.shape):
            if y_true.shape[-1] == 1:
                y_true = ops.squeeze(y_true, axis=-1)
            else:
                y_true = ops.argmax(y_true, axis=-1)
        counted = ops.ones_like(y_true, "bool")
        if self.ignore_class is not None:
            counted = ops.not_equal(y_true, self.ignore_class)
            y_true = ops.where(counted, y_true, ops.zeros_like(y_true))
        valid = valid_class_numbers(y_true, self.num_classes)
        counted = ops.cast(ops.reshape(counted, (-1, 1)), self.dtype)
        rows = self._one_hot(y_true) * counted
        rows = ops.where(ops.reshape(valid, (-1, 1)), rows, float("nan"))
        columns = self._one_hot(ops.argmax(y_pred, axis=-1))
        if sample_weight is not None:
            weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
            if len(weight.shape) > len(y_true.shape):
                weight = ops.squeeze(weight, axis=-1)
            while len(weight.shape) < len(y_true.shape):
                weight = ops.expand_dims(weight, axis=-1)
            weight = ops.broadcast_to(weight, ops.shape(y_true))
            rows *= ops.reshape(weight, (-1, 1))
        # A sum, not a matrix product, whose factors accelerators round.
        counts = rows[:, :, None] * columns[:, None, :]
        self.confusion.assign_add(ops.sum(counts, axis=0))

    def _one_hot(self, labels):
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
        return ops.one_hot(labels, self.num_classes, dtype=self.dtype)

    def result(self) -> tf.Tensor:
        confusion = ops.convert_to_tensor(self.confusion)
        support = ops.sum(confusion, axis=1)
        recall = ops.divide_no_nan(ops.diagonal(confusion), support)
        # Not "> 0", which is not true of NaN.
        classes = ops.sum(ops.cast(ops.not_equal(support, 0), self.dtype))
        return ops.divide_no_nan(ops.sum(recall), classes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
        }
