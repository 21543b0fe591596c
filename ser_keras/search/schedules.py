"""Learning rate schedules of searches."""

from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable


@serializable
class DelayedStart(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of zero for some steps, then another one.

    It keeps the architecture constant while the weights are warmed up: with
    untrained weights, operations without any win. This is a schedule because
    an optimizer must not be called under `tf.cond` in replica context.

    Args:
        learning_rate: A number or a schedule, applied after the delay.
        steps: Length of the delay, in steps.

    Example:
    >>> schedule = DelayedStart(0.1, steps=2)
    >>> [round(float(schedule(step)), 2) for step in range(4)]
    [0.0, 0.0, 0.1, 0.1]
    """

    def __init__(self, learning_rate: Any, steps: int):
        super().__init__()
        if isinstance(learning_rate, dict):
            learning_rate = keras.optimizers.schedules.deserialize(
                learning_rate
            )
        self.learning_rate = learning_rate
        self.steps = steps

    def __call__(self, step: Any) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        rate = self.learning_rate
        if callable(rate):
            rate = rate(tf.maximum(step - self.steps, 0.0))
        return tf.where(step < self.steps, 0.0, tf.cast(rate, tf.float32))

    def get_config(self) -> dict[str, Any]:
        rate = self.learning_rate
        if callable(rate):
            rate = keras.optimizers.schedules.serialize(rate)
        return {"learning_rate": rate, "steps": self.steps}
