"""The convolution block of Light-SERNet."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.masking import FrameLayer
from ser_keras.layers.masking import mask_factor
from ser_keras.layers.masking import zero_padding


@serializable
class ConvNormPool(FrameLayer):
    """Convolution, batch normalisation, ReLU, average pooling.

    Both the convolution and the pooling have "same" padding. With a mask,
    frames outside it must be zero; they stay zero and are left out of every
    average, so that a clip's output does not depend on its padding.

    Args:
        filters: Channels of the output.
        kernel_size: Size of the kernel over time and frequency.
        pool_size: Size and strides of the pooling over time and frequency;
            (1, 1) for none.
        use_bias: Whether the convolution has a bias.
        separable: Whether the convolution is depthwise, followed by one of
            1 x 1: about `kernel area` times fewer multiplications.
        l2: Factor of the kernels' squared weights in the loss.
        momentum: Momentum of the batch normalisation's moving statistics.
        epsilon: Added to the variance by the batch normalisation.

    Call arguments:
        inputs: `(batch, time, frequency, channels)`.
        mask: Booleans `(batch, time)`, the real frames, or `None` for all.
            The mask of the output is `strided_mask(mask, pool_size[0])`.
        training: Whether the batch norm uses the statistics of the batch.

    Output shape: `(batch, time', frequency', filters)`, both divided by the
        pooling's sizes and rounded up.

    Example:
    >>> x = np.ones((2, 5, 40, 1), "float32")
    >>> ConvNormPool(8, kernel_size=(11, 1), pool_size=(2, 2))(x).shape
    TensorShape([2, 3, 20, 8])

    References:
        - Aftab et al., "Light-SERNet", arXiv 2110.03435, section 2.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, int] = (3, 3),
        pool_size: tuple[int, int] = (1, 1),
        use_bias: bool = False,
        separable: bool = False,
        l2: float = 0.0,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.pool_size = tuple(pool_size)
        self.use_bias = use_bias
        self.separable = separable
        self.l2 = l2
        self.momentum = momentum
        self.epsilon = epsilon
        self.norm = BatchNorm(
            affine=True,
            momentum=momentum,
            epsilon=epsilon,
            one_pass=True,
            dtype=self.dtype_policy,
            name="norm",
        )

    def build(self, input_shape: Sequence[Any]) -> None:
        channels = input_shape[-1]
        kernel_size = self.kernel_size
        self.depthwise_kernel = None
        if self.separable:
            self.depthwise_kernel = self._kernel(
                "depthwise_kernel", (*kernel_size, channels, 1)
            )
            kernel_size = (1, 1)
        self.kernel = self._kernel(
            "kernel", (*kernel_size, channels, self.filters)
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer="zeros"
            )
        self.norm.build((*input_shape[:-1], self.filters))

    def _kernel(self, name, shape):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer="glorot_uniform",
            regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
        )

    def call(
        self,
        inputs: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        x = inputs
        if self.depthwise_kernel is not None:
            x = tf.nn.depthwise_conv2d(
                x, self.depthwise_kernel, (1, 1, 1, 1), "SAME"
            )
        x = tf.nn.conv2d(x, self.kernel, 1, "SAME")
        if self.bias is not None:
            add = _add_bias_in_training if training else tf.nn.bias_add
            x = add(x, tf.convert_to_tensor(self.bias))
        x = tf.nn.relu(self.norm(x, training=training))
        mask = mask_factor(mask, x)
        x = zero_padding(x, mask)
        if self.pool_size == (1, 1):
            return x
        x = tf.nn.avg_pool2d(x, self.pool_size, self.pool_size, "SAME")
        if mask is not None:
            # In a window in which the clip ends: the mean of its real frames.
            time = (self.pool_size[0], 1)
            real = tf.nn.avg_pool2d(mask, time, time, "SAME")
            # Where no frame is real, x is 0 and any finite factor will do; an
            # infinite one would ruin the ranges of 8 bit quantisation.
            x *= 1.0 / tf.maximum(real, 1.0 / self.pool_size[0])
        return x

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        batch, *sizes, _ = input_shape
        pooled = [
            None if size is None else -(-size // pool)
            for size, pool in zip(sizes, self.pool_size, strict=True)
        ]
        return (batch, *pooled, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "pool_size": list(self.pool_size),
            "use_bias": self.use_bias,
            "separable": self.separable,
            "l2": self.l2,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }


@tf.custom_gradient
def _add_bias_in_training(x, bias):
    """Adds a bias that the following batch normalisation subtracts again.

    Its gradient is therefore exactly zero. Computing it would be a pass over
    all frames that yields rounding errors.
    """

    def gradient(dy):
        return dy, tf.zeros_like(bias)

    return tf.nn.bias_add(x, bias), gradient
