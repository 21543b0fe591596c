"""Light-SERNet, a small convolutional network."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.layers.attention_pooling import MeanPooling
from ser_keras.layers.conv_norm_pool import ConvNormPool
from ser_keras.layers.masking import frame_mask
from ser_keras.layers.masking import strided_mask
from ser_keras.models.feature_input import as_features
from ser_keras.models.network import Network

# Kernels of the three paths (frames, features): time, frequency, both.
PATHS = ((11, 1), (1, 9), (3, 3))
PATH_FILTERS = 32
# Channels, kernel and pooling of the local blocks.
BLOCKS = (
    (64, (3, 3), (2, 2)),
    (96, (3, 3), (2, 2)),
    (128, (3, 3), (2, 1)),
    (160, (3, 3), (2, 1)),
    (320, (1, 1), (1, 1)),
)


@serializable
class LightSERNet(Network):
    """Light-SERNet: three parallel paths, local blocks, global average pooling.

    The input goes through three parallel convolutions, with kernels of 11
    frames, of 9 features, and of 3 x 3 of both; then through five blocks; a
    dense layer classifies the mean over time and frequency. With 4 classes it
    has 462 468 parameters, with 7 classes 463 431.

    Clips may have any length. The published network was given clips of
    exactly 3 s, shorter ones padded with digital silence on both sides, whose
    features are not zero: there the padding is part of the clip. In this
    library padding is frames at a clip's end that are exactly zero; with
    `masking` it stays zero in every layer and is left out of every average,
    so that a prediction depends neither on the other clips of its batch nor
    on the amount of padding. Without zero frames both are the same network.
    (In training, the statistics of batch normalisation include padding, as
    those of `CellNetwork` do.)

    Args:
        input_shape: `(time, features, 1)`; time may be `None`.
        num_classes: Number of classes.
        width: Factor of all numbers of channels, which are rounded to
            multiples of 8.
        separable: Whether the 3 x 3 convolutions of the blocks are depthwise,
            each followed by one of 1 x 1.
        dropout: Dropout rate before the last layer.
        l2: Factor of the squared weights of the blocks' convolutions in the
            loss.
        momentum: Momentum of the batch normalisation's moving statistics.
        epsilon: Added to the variance by the batch normalisation.
        masking: Whether to mask padding.
        **kwargs: `name`, `dtype` and `trainable`. All layers get the dtype
            policy; logits and the variables of batch norms are in full
            precision under each.

    Call arguments:
        inputs: `(batch, time, features, 1)`.
        training: Whether to apply dropout, and batch norms use the statistics
            of the batch.

    Output shape: logits, `(batch, num_classes)`, float32.

    Raises:
        ValueError: An argument is out of range, or inputs have another shape
            or no frame.

    Example:
    >>> network = LightSERNet((None, 40, 1), num_classes=7)
    >>> network.count_params()
    463431
    >>> network(np.zeros((2, 184, 40, 1), "float32")).shape
    TensorShape([2, 7])

    References:
        - Aftab et al., "Light-SERNet: A Lightweight Fully Convolutional
          Neural Network for Speech Emotion Recognition", arXiv 2110.03435,
          figure 1 and section 2.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int,
        width: float = 1.0,
        separable: bool = False,
        dropout: float = 0.3,
        l2: float = 1e-6,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        masking: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.feature_shape = input_shape
        self.num_classes = num_classes
        self.width = width
        self.separable = separable
        self.dropout = dropout
        self.l2 = l2
        self.momentum = momentum
        self.epsilon = epsilon
        self.masking = masking
        self._check_arguments()
        self.build(self.input_shape)

    @classmethod
    def published(
        cls,
        num_classes: int,
        input_shape: Sequence[int | None] = (184, 40, 1),
        **kwargs: Any,
    ) -> LightSERNet:
        """The network of the paper's code: for clips of 3 s, without masking.

        Its front end is `ser_keras.FixedDuration` of `MFCC.light_sernet()`.

        Args:
            num_classes: Number of classes.
            input_shape: `(time, features, 1)`; 434 frames are 7 s.
            **kwargs: Arguments that differ.

        Example:
        >>> LightSERNet.published(4).count_params()
        462468
        """
        return cls(input_shape, num_classes, **({"masking": False} | kwargs))

    def build(self, input_shape: Sequence[Any]) -> None:
        channels = input_shape[-1]
        norm: dict[str, Any] = {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }
        filters = self._filters(PATH_FILTERS)
        self.paths = []
        for kernel in PATHS:
            path = ConvNormPool(
                filters,
                kernel,
                pool_size=(2, 2),
                use_bias=True,
                dtype=self.dtype_policy,
                name=f"path_{kernel[0]}x{kernel[1]}",
                **norm,
            )
            path.build((None, None, None, channels))
            self.paths.append(path)
        channels = len(PATHS) * filters
        self.blocks = []
        for number, (filters, kernel, pool) in enumerate(BLOCKS, start=1):
            block = ConvNormPool(
                self._filters(filters),
                kernel,
                pool,
                separable=self.separable and kernel != (1, 1),
                l2=self.l2,
                dtype=self.dtype_policy,
                name=f"block_{number}",
                **norm,
            )
            block.build((None, None, None, channels))
            self.blocks.append(block)
            channels = block.filters
        self.pool = MeanPooling(dtype=self.dtype_policy, name="pool")
        self.head_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy
        )
        # In float32 under every policy, as the softmax of its logits.
        self.classifier = keras.layers.Dense(
            self.num_classes, dtype="float32", name="classifier"
        )
        self.classifier.build((None, channels))

    def _filters(self, filters):
        """Channels at this width: multiples of a CPU's vectors, int8 tiles."""
        return max(8, 8 * round(self.width * filters / 8))

    def call(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        x = as_features(inputs, self.feature_shape)
        mask = frame_mask(x) if self.masking else None
        x = tf.concat(
            [path(x, mask=mask, training=training) for path in self.paths], -1
        )
        mask = strided_mask(mask, 2)
        for block in self.blocks:
            x = block(x, mask=mask, training=training)
            mask = strided_mask(mask, block.pool_size[0])
        x = self.pool(tf.reduce_mean(x, 2), mask=mask)
        return self.classifier(self.head_dropout(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_shape": list(self.feature_shape),
            "num_classes": self.num_classes,
            "width": self.width,
            "separable": self.separable,
            "dropout": self.dropout,
            "l2": self.l2,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "masking": self.masking,
        }

    def _check_arguments(self):
        shape = self.feature_shape
        listed = isinstance(shape, (tuple, list, tf.TensorShape))
        if listed:
            shape = self.feature_shape = tuple(shape)
        if (
            not listed
            or len(shape) != 3
            or not (shape[0] is None or _is_size(shape[0]))
            or not all(_is_size(size) for size in shape[1:])
        ):
            raise ValueError(
                "`input_shape` must be (time, features, 1), time a positive "
                f"integer or None. Received: input_shape={shape!r}"
            )
        if not _is_size(self.num_classes):
            raise ValueError(
                "`num_classes` must be a positive integer. Received: "
                f"num_classes={self.num_classes}"
            )
        for name, high, zero, wanted in (
            ("dropout", 1, True, "a rate in [0, 1)"),
            ("momentum", 1, True, "a rate in [0, 1)"),
            ("l2", math.inf, True, "0 or more"),
            ("width", math.inf, False, "positive and finite"),
            ("epsilon", math.inf, False, "positive and finite"),
        ):
            value = getattr(self, name)
            real = isinstance(value, numbers.Real)
            if not real or not 0 <= value < high or not (value or zero):
                raise ValueError(
                    f"`{name}` must be {wanted}. Received: {name}={value!r}"
                )


def _is_size(value):
    return isinstance(value, numbers.Integral) and value >= 1
