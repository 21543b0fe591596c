"""Preprocessing of a recurrent cell's input: to its number of channels."""

import keras

from ser_keras._registry import serializable


@serializable
class SequenceProjection(keras.layers.Layer):
    """Dense layer over the channels, then layer normalisation.

    Not batch normalisation: the statistics of a batch of sequences depend on
    how much of it is padding.

    Args:
        filters: Output channels.

    Input shape: `(batch, time, channels)`

    Output shape: `(batch, time, filters)`

    Example:
    >>> SequenceProjection(6)(np.zeros((2, 5, 3), "float32")).shape
    TensorShape([2, 5, 6])
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        self.dense = keras.layers.Dense(
            self.filters, dtype=self.dtype_policy, name="dense"
        )
        self.dense.build(input_shape)
        self.norm = keras.layers.LayerNormalization(
            dtype=self.dtype_policy, name="norm"
        )
        self.norm.build((*input_shape[:-1], self.filters))

    def call(self, inputs):
        return self.norm(self.dense(inputs))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
