"""Weighted sum of the layers of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
from keras import ops

from ser_keras._registry import serializable

if TYPE_CHECKING:
    import tensorflow as tf


@serializable
class LayerMixture(keras.layers.Layer):
    """Learned weighted sum of several layers of a frozen encoder.

    `y = sum_l softmax(w)_l h_l`, where the layers `h_1 ... h_L` are
    concatenated on the feature axis, as by `TransformersExtractor(layers=[
    ...])`. The initial weights give their mean. Frames of zeros, which are
    padding, stay zero.

    Args:
        num_layers: Number of layers, L.

    Input shape: `(batch, time, num_layers * channels, 1)`, or without the
        last axis.

    Output shape: `(batch, time, channels, 1)`, or without the last axis.

    Raises:
        ValueError: The features cannot be divided by `num_layers`.

    Example:
    >>> x = np.float32([[[1, 2, 3, 4]]])
    >>> LayerMixture(2)(x).numpy()
    array([[[2., 3.]]], dtype=float32)

    References:
        - Yang et al., "SUPERB: Speech processing Universal PERformance
          Benchmark", Interspeech 2021, section 2.
        - Peters et al., "Deep contextualized word representations", NAACL
          2018, equation 1, with a scale of 1.
    """

    def __init__(self, num_layers: int, **kwargs: Any):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(
                "`num_layers` must be a positive integer. Received: "
                f"num_layers={num_layers}"
            )
        self.num_layers = num_layers

    def build(self, input_shape: Sequence[Any]) -> None:
        self.compute_output_shape(input_shape)
        self.mixture = self.add_weight(
            shape=(self.num_layers,), initializer="zeros", name="mixture"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        weights = ops.softmax(self.mixture)
        channels = inputs.shape[2] // self.num_layers
        # Layer by layer: this copies nothing, and all shapes are known.
        return sum(
            weights[i] * inputs[:, :, i * channels : (i + 1) * channels]
            for i in range(self.num_layers)
        )

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        if input_shape[2] % self.num_layers:
            raise ValueError(
                f"The feature axis must be a multiple of {self.num_layers}, "
                f"the number of layers. Received: input_shape={input_shape}"
            )
        batch, time, features, *rest = input_shape
        return (batch, time, features // self.num_layers, *rest)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_layers": self.num_layers}
