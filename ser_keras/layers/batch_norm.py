"""Batch normalisation for searches: fused, scaled per channel, synchronised."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras._replicas import num_replicas
from ser_keras._replicas import presence
from ser_keras.layers.precision import full_precision

# PyTorch's values, with which DARTS was published (Keras: 0.99 and 1e-3).
MOMENTUM = 0.9
EPSILON = 1e-5


@serializable
class BatchNorm(keras.layers.Layer):
    """Batch normalisation of feature maps.

    It differs from `keras.layers.BatchNormalization` in three ways. In
    training it runs TensorFlow's fused kernel. A call can scale each channel:
    then the mixing weight of a candidate needs no pass over the maps of its
    own, and its gradient is a by-product of the kernel. Under `tf.distribute`
    the statistics are those of the global batch.

    Scale, offset and statistics are kept in float32 under every dtype policy
    (in float64 under `"float64"`): moving averages in half precision would
    stop moving.

    Args:
        affine: Whether to learn a scale and an offset for each channel.
        momentum: Share of the moving statistics that a training step keeps.
        epsilon: Added to the variance.
        one_pass: Whether sums are computed as matrix products, all in one
            pass over the batch. On a CPU this takes about a quarter off the
            kernel's time, but it is too inexact for means of a thousand times
            the standard deviation, and has no second derivative. For `affine`
            layers only.

    Call arguments:
        inputs: `(batch, time, frequency, channels)`.
        scale: Factor of each channel, `(channels,)`, or `None`.
        training: Whether to normalise by the statistics of the batch.

    Output shape: as the input.

    Example:
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(3, 2, (8, 4, 4, 5))
    >>> y = BatchNorm()(x.astype("float32"), training=True)
    >>> bool(np.abs(np.mean(y, (0, 1, 2))).max() < 1e-5)
    True

    References:
        - Ioffe and Szegedy, arXiv 1502.03167, algorithms 1 and 2.
    """

    def __init__(
        self,
        affine: bool = False,
        momentum: float = MOMENTUM,
        epsilon: float = EPSILON,
        one_pass: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.affine = affine
        self.one_pass = one_pass
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: Sequence[Any]) -> None:
        shape = (input_shape[-1],)

        def weight(name, initializer, trainable):
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=initializer,
                trainable=trainable,
                autocast=False,
                dtype=full_precision(self),
            )

        self.gamma = weight("gamma", "ones", True) if self.affine else None
        self.beta = weight("beta", "zeros", True) if self.affine else None
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(
        self,
        inputs: tf.Tensor,
        scale: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        channels = inputs.shape[-1]
        wide = self.moving_mean.dtype
        if scale is not None:
            scale = tf.cast(scale, wide)
        if self.affine:
            gamma = tf.convert_to_tensor(self.gamma)
            beta = tf.convert_to_tensor(self.beta)
            if scale is not None:
                gamma, beta = gamma * scale, beta * scale
        else:
            gamma = tf.ones((channels,), wide)
            beta = tf.zeros((channels,), wide)
            if scale is not None:
                gamma = scale
        if not training:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
            factor = gamma * tf.math.rsqrt(variance + self.epsilon)
            outputs = tf.cast(inputs, wide) * factor + (beta - mean * factor)
            return tf.cast(outputs, inputs.dtype)
        moving = [
            tf.convert_to_tensor(self.moving_mean),
            tf.convert_to_tensor(self.moving_variance),
        ]
        one_pass = self.one_pass and inputs.dtype == wide
        if num_replicas() > 1 or inputs.dtype == tf.float64 or one_pass:
            normalize = _normalize
            if one_pass and num_replicas() == 1:
                normalize = _normalize_in_one_pass
            outputs, *batch = normalize(inputs, gamma, beta, self.epsilon)
            moving = [
                self.momentum * old + (1 - self.momentum) * new
                for old, new in zip(moving, batch, strict=True)
            ]
        else:
            outputs, *moving = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=gamma,
                offset=beta,
                mean=moving[0],
                variance=moving[1],
                epsilon=self.epsilon,
                exponential_avg_factor=1 - self.momentum,
                is_training=True,
            )[:3]
        self.moving_mean.assign(moving[0])
        self.moving_variance.assign(moving[1])
        return outputs

    def get_channels(self, channels: slice) -> dict:
        """The weights of some channels, by name."""
        return {
            name: weight.numpy()[channels]
            for name, weight in self._named_weights().items()
        }

    def set_channels(self, channels: slice, values: dict) -> None:
        """Inverse of `get_channels`; names that are missing are not changed."""
        for name, weight in self._named_weights().items():
            if name in values:
                whole = weight.numpy()
                whole[channels] = values[name]
                weight.assign(whole)

    def _named_weights(self):
        weights = {
            "gamma": self.gamma,
            "beta": self.beta,
            "moving_mean": self.moving_mean,
            "moving_variance": self.moving_variance,
        }
        return {k: v for k, v in weights.items() if v is not None}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "affine": self.affine,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "one_pass": self.one_pass,
        }


def spread(values, count):
    """Repeats each of `values` `count` times: one value for each channel."""
    # As a product with a constant: few operations, in the gradient as well.
    size = values.shape[0]
    repeated = np.repeat(np.eye(size), count, axis=1)
    repeated = tf.constant(repeated, values.dtype)
    product = tf.matmul(tf.reshape(values, (1, size)), repeated)
    return tf.reshape(product, (size * count,))


def _normalize_in_one_pass(inputs, gamma, beta, epsilon):
    """`_normalize` on one replica, with a gradient of as few passes."""

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        count = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
        mean = _sum(x) / count
        variance = _sum(tf.square(x)) / count - tf.square(mean)
        variance = tf.maximum(variance, 0.0)
        inverse = tf.math.rsqrt(variance + epsilon)
        factor = gamma * inverse

        def gradient(dy, *_):
            total = _sum(dy)
            d_gamma = (_sum(dy * x) - mean * total) * inverse
            # The input's gradient is linear in `dy` and `x`.
            x_factor = -factor * inverse * d_gamma / count
            constant = -factor * total / count - mean * x_factor
            return dy * factor + (x * x_factor + constant), d_gamma, total

        outputs = x * factor + (beta - mean * factor)
        unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
        return (outputs, mean, unbiased), gradient

    return normalize(inputs, gamma, beta)


def _sum(x):
    """Sum over each channel, as a matrix product, which is faster on a CPU."""
    # Summed clip by clip, so that no float32 sum has too many terms.
    rows = tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1]))
    ones = tf.ones((tf.shape(rows)[0], 1, tf.shape(rows)[1]), x.dtype)
    return tf.reduce_sum(tf.matmul(ones, rows), [0, 1])


def _normalize(inputs, gamma, beta, epsilon):
    """The fused kernel's function, over the batches of all replicas."""
    dtype, inputs = inputs.dtype, tf.cast(inputs, gamma.dtype)
    axes = list(range(inputs.shape.rank - 1))
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], inputs.dtype)
    total = tf.reduce_sum(inputs, axes)
    squares = tf.reduce_sum(tf.square(inputs), axes)
    if num_replicas() > 1:
        present = presence(inputs.dtype)
        if present is not None:
            total, squares = total * present, squares * present
            count *= present
        context = tf.distribute.get_replica_context()
        total, squares, count = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [total, squares, count]
        )
    mean = total / count
    variance = tf.maximum(squares / count - tf.square(mean), 0.0)
    factor = gamma * tf.math.rsqrt(variance + epsilon)
    outputs = inputs * factor + (beta - mean * factor)
    outputs = tf.cast(outputs, dtype)
    # The moving variance is the unbiased one, as in the fused kernel.
    return outputs, mean, variance * count / tf.maximum(count - 1, 1.0)
