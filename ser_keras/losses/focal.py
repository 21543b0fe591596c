"""Focal cross-entropy of class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
from keras import ops

from ser_keras._class_numbers import valid_class_numbers
from ser_keras._registry import serializable

if TYPE_CHECKING:
    import tensorflow as tf


@serializable
class SparseCategoricalFocalCrossentropy(keras.losses.Loss):
    """Focal cross-entropy of class numbers, with smoothing and class weights.

    With the smoothed one-hot label `q` and the probabilities `p`, the loss of
    an example of class `y` is
    `-class_weights[y] * sum_c q[c] * (1 - p[c]) ** gamma * log(p[c])`.
    `gamma=0` is cross-entropy; a larger `gamma` reduces the weight of examples
    that are recognised already. The loss is computed from log probabilities,
    which is accurate for confident predictions too.

    As in Keras, and unlike in PyTorch, the mean over a batch divides by the
    number of examples, not by the sum of their weights.

    Args:
        gamma: Focusing exponent, 0 or more.
        from_logits: Whether predictions are logits; else probabilities.
        label_smoothing: Share of the target, at least 0 and less than 1, that
            is distributed evenly over all classes.
        class_weights: List of one weight for each class, or `None` for ones.
        reduction: Reduction over the batch, as in every Keras loss.
        name: Name of the loss.
        dtype: Dtype of the computation; default `keras.config.floatx()`,
            whatever the model's policy.

    Input shape:
        `y_true`: class numbers `(batch,)` or `(batch, 1)`.
        `y_pred`: `(batch, classes)`.

    Raises:
        ValueError: An argument is out of range, labels are one-hot, or
            `class_weights` has another number of classes than the predictions.
        tf.errors.InvalidArgumentError: A class number is out of range. In XLA,
            the loss of its example is NaN instead.

    Example:
    >>> loss = SparseCategoricalFocalCrossentropy(gamma=2.0)
    >>> round(float(loss(np.array([0, 1]), np.zeros((2, 2)))), 4)  # log(2) / 4
    0.1733

    References:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
        equations 4 and 5.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        reduction: str = "sum_over_batch_size",
        name: str = "sparse_categorical_focal_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not gamma >= 0:
            raise ValueError(
                f"`gamma` must be 0 or more. Received: gamma={gamma}"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                "`label_smoothing` must be at least 0 and less than 1. "
                f"Received: label_smoothing={label_smoothing}"
            )
        if class_weights is not None:
            class_weights = [float(weight) for weight in class_weights]
            if not class_weights or not all(w >= 0 for w in class_weights):
                raise ValueError(
                    "`class_weights` must be numbers of 0 or more, one for "
                    f"each class. Received: class_weights={class_weights}"
                )
        self.gamma = gamma
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        classes = y_pred.shape[-1]
        weights = self.class_weights
        if weights is not None and len(weights) != classes:
            raise ValueError(
                f"`class_weights` must have one weight for each of the "
                f"{classes} classes of the predictions. Received: "
                f"class_weights={weights}"
            )
        if len(y_true.shape) == len(y_pred.shape):
            if y_true.shape[-1] != 1:
                raise ValueError(
                    "`y_true` must be class numbers, not one-hot labels. "
                    f"Received: y_true.shape={y_true.shape}"
                )
            y_true = ops.squeeze(y_true, axis=-1)
        valid = valid_class_numbers(y_true, classes)
        y_true = ops.cast(y_true, "int32")
        if self.from_logits:
            log_probabilities = ops.log_softmax(y_pred, axis=-1)
        else:
            total = ops.sum(y_pred, axis=-1, keepdims=True)
            log_probabilities = ops.log(
                ops.maximum(y_pred / total, keras.config.epsilon())
            )
        labels = ops.one_hot(y_true, classes, dtype=log_probabilities.dtype)
        smooth = self.label_smoothing
        terms = -log_probabilities * (
            labels * (1 - smooth) + smooth / classes if smooth else labels
        )
        if self.gamma:  # The gradient of x ** 0 at 0 would be NaN.
            complement = -ops.expm1(log_probabilities)  # 1 - p
            # For the same reason, with exponents below 1.
            complement = ops.maximum(complement, keras.config.epsilon())
            terms *= complement**self.gamma
        loss = ops.sum(terms, axis=-1)
        if weights is not None:
            weights = ops.convert_to_tensor(weights, dtype=loss.dtype)
            loss *= ops.sum(labels * weights, axis=-1)
        return ops.where(valid, loss, float("nan"))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dtype": self.dtype,
            "gamma": self.gamma,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
        }
