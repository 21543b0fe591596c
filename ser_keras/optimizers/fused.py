"""Keras' optimizers with TensorFlow's fused kernels for their updates.

Keras implements an update as a few dozen operations for each variable. In the
graph of a network of cells, which has hundreds of small variables, these are
more operations than all others together, and take most of the minute before
the first step. TensorFlow's kernels do the same arithmetic in one operation,
in place.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras import _replicas
from ser_keras._keras_private import adam_slots
from ser_keras._keras_private import variable_index
from ser_keras._registry import serializable


class _ClipsGlobally:
    """Mixin of optimizers: `global_clipnorm` clips the global batch's gradient.

    Keras clips each replica's gradient by itself before it adds them, so that
    several replicas would train by another function than one device.
    """

    def apply(self, grads, trainable_variables=None):
        if self.global_clipnorm and _replicas.num_replicas() > 1:
            given = [gradient for gradient in grads if gradient is not None]
            # Keras divides by the scale of the loss afterwards.
            norm = self.global_clipnorm * (self.loss_scale_factor or 1.0)
            clipped = iter(
                _replicas.global_gradients(given, given, clip_norm=norm)
            )
            # Each replica's share is too small for Keras to clip it again.
            grads = [g if g is None else next(clipped) for g in grads]
        return super().apply(grads, trainable_variables)


@serializable
class FusedSGD(_ClipsGlobally, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with one operation per variable and update.

    It has the same arguments and, without momentum, the same operations.

    Example:
    >>> weight = keras.Variable([1.0, 2.0])
    >>> FusedSGD(0.5, momentum=0.9).apply([tf.ones(2)], [weight])
    >>> weight.numpy()
    array([0.5, 1.5], dtype=float32)
    """

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: keras.Variable,
        learning_rate: tf.Tensor,
    ) -> Any:
        if not self.momentum:
            return super().update_step(gradient, variable, learning_rate)
        momentum = self.momentums[variable_index(self, variable)]
        return tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=_resource(momentum).handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.convert_to_tensor(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


@serializable
class FusedAdamW(_ClipsGlobally, keras.optimizers.Adam):
    """`keras.optimizers.AdamW` with two operations per variable and update.

    Args:
        learning_rate: A number or a schedule.
        decay: Decoupled weight decay: before each update a variable is
            multiplied by `1 - decay * learning_rate`. 0 is plain Adam.
        rates: Factors of the learning rate of some variables, by a part of
            their paths, such as `{"classifier": 10.0}`; the first that fits
            counts. What Keras' `MultiOptimizer` does, with one schedule and
            one clipping of all gradients.
        **kwargs: Other arguments of `keras.optimizers.Adam`.

    Raises:
        ValueError: `amsgrad` or `weight_decay` was given.

    Example:
    >>> weight = keras.Variable([1.0, 2.0])
    >>> FusedAdamW(0.1, decay=0.5).apply([tf.ones(2)], [weight])
    >>> weight.numpy().round(3)
    array([0.85, 1.8 ], dtype=float32)

    References:
        - Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
          arXiv 1711.05101, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        decay: float = 0.0,
        rates: Mapping[str, float] | None = None,
        **kwargs: Any,
    ):
        if kwargs.get("amsgrad") or kwargs.get("weight_decay"):
            raise ValueError(
                "`amsgrad` is not in TensorFlow's kernel, and `weight_decay` "
                f"is `decay` here. Received: {kwargs}"
            )
        super().__init__(learning_rate, **kwargs)
        self.decay = decay
        self.rates = dict(rates or {})
        self._factors: list[float] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)
        if self.rates:
            self._factors = [self._factor(x.path) for x in variables]

    def _factor(self, path):
        parts = (part for part in self.rates if part in path)
        return self.rates.get(next(parts, ""), 1.0)

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> Any:
        # Computed once for all variables.
        step = tf.cast(self.iterations + 1, tf.float32)
        self._powers: Any = (
            tf.pow(self.beta_1, step),
            tf.pow(self.beta_2, step),
        )
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._powers = None  # Else the graph would live as long as this.

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: keras.Variable,
        learning_rate: tf.Tensor,
    ) -> Any:
        momentum, velocity = adam_slots(self, variable)
        rate = tf.cast(learning_rate, variable.dtype)
        if self._factors:
            rate = rate * self._factors[variable_index(self, variable)]
        if self.decay:
            variable.assign(variable * (1 - self.decay * rate))
        beta_1_power, beta_2_power = self._powers
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=_resource(momentum).handle,
            v=_resource(velocity).handle,
            beta1_power=tf.cast(beta_1_power, variable.dtype),
            beta2_power=tf.cast(beta_2_power, variable.dtype),
            lr=rate,
            beta1=tf.cast(self.beta_1, variable.dtype),
            beta2=tf.cast(self.beta_2, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.convert_to_tensor(gradient, variable.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "decay": self.decay,
            "rates": self.rates,
        }


def _resource(variable):
    """The TensorFlow variable on this device of a Keras variable."""
    return getattr(variable, "value", variable)
