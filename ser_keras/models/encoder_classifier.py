"""EncoderClassifier: a pre-trained speech encoder with a classifier on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio.encoder_frames import check_layers
from ser_keras.audio.encoder_frames import front_end_of
from ser_keras.audio.encoder_frames import hidden_states
from ser_keras.audio.encoder_frames import layer_statistics
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.features.feature_set import FeatureSet
from ser_keras.layers.attention_pooling import AttentionPooling
from ser_keras.layers.layer_mixture import LayerMixture
from ser_keras.layers.masking import frame_mask
from ser_keras.layers.precision import full_precision
from ser_keras.models.feature_input import as_features
from ser_keras.models.network import Network


@serializable
class EncoderClassifier(Network):
    """Speech encoder, some of its layers, and a classifier of them.

    Args:
        encoder: `SpeechEncoder`; `from_pretrained` reads one.
        head: Network from hidden states to logits: `StatisticsClassifier`,
            `AttentiveClassifier`, or a `CellNetwork` with `layer_mixture`.
        layer_numbers: Layers that the head gets; 0 is what the first
            layer gets. None: all, or those from `first_layer` on.
        first_layer: Number of the layer whose hidden states the inputs are,
            for fine-tuning of the layers after it. None: the inputs are
            features.
        **kwargs: `name`, `dtype` and `trainable`. The encoder and the head
            have policies of their own.

    Call arguments:
        inputs: Features of `front_end_of(encoder)`, `(batch, time, features,
            1)`, or hidden states, `(batch, frames, units, 1)`; frames of zeros
            at a clip's end are padding.
        training: Whether to apply dropout.

    Output shape: logits, `(batch, num_classes)`, float32.

    Raises:
        ValueError: The encoder has no such layer, the head takes another
            number of features, or inputs have another shape.

    Example:
    >>> from ser_keras.encoders import WhisperEncoder
    >>> encoder = WhisperEncoder(2, 16, 2, 64)
    >>> head = StatisticsClassifier((2, 32, 1), num_classes=4)
    >>> network = EncoderClassifier(encoder, head, layer_numbers=(1, 2))
    >>> network(np.ones((1, 300, 80, 1), "float32")).shape
    TensorShape([1, 4])
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        head: Network,
        layer_numbers: Sequence[int] | None = None,
        first_layer: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.head = head
        self.first_layer = first_layer
        if layer_numbers is None:
            layer_numbers = range(first_layer or 0, encoder.num_layers + 1)
        self.layer_numbers = check_layers(layer_numbers, encoder)
        if min(self.layer_numbers) < (first_layer or 0):
            raise ValueError(
                "`layer_numbers` must be at least `first_layer`. Received: "
                f"layer_numbers={self.layer_numbers}, "
                f"first_layer={first_layer}"
            )
        self.num_classes = head.num_classes
        size = encoder.units
        if first_layer is None:
            size = front_end_of(encoder).num_features
        self.feature_shape = (None, size, 1)
        self._check_head()
        self.build(self.input_shape)

    def _check_head(self):
        count, units = len(self.layer_numbers), self.encoder.units
        wanted: tuple = (None, count * units, 1)
        if isinstance(self.head, StatisticsClassifier):
            wanted = (count, 2 * units, 1)
        if tuple(self.head.feature_shape)[1:] != wanted[1:] or (
            wanted[0] not in (None, self.head.feature_shape[0])
        ):
            raise ValueError(
                f"`head` must take {wanted}, of {count} layers of {units} "
                "units. Received: head with feature_shape="
                f"{self.head.feature_shape}"
            )

    def build(self, input_shape: Sequence[Any]) -> None:
        self.built = True  # Both parts are.

    def call(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        states = self._states(inputs, training)
        return self.head(states[..., None], training=training)

    def _states(self, inputs, training=None):
        """What the head gets, without its last axis."""
        x = as_features(inputs, self.feature_shape)
        lengths = tf.reduce_sum(tf.cast(frame_mask(x), tf.int32), 1)
        states = hidden_states(
            self.encoder,
            x[..., 0],
            self.layer_numbers,
            lengths,
            training,
            self.first_layer,
        )
        if isinstance(self.head, StatisticsClassifier):
            frames = lengths
            if self.first_layer is None:
                frames = self.encoder.num_frames(lengths)
            states = layer_statistics(states, len(self.layer_numbers), frames)
        return states

    def statistics(self, features: FeatureSet) -> FeatureSet:
        """What a `StatisticsClassifier` on top gets of each utterance.

        Args:
            features: `FeatureSet` of the network's inputs.

        Returns:
            `FeatureSet` of arrays `(layers, 2 * units)`.
        """
        compute = tf.function(
            lambda x: self._states(x, training=False),
            reduce_retracing=True,
            autograph=False,
        )
        # Clips of similar length together, with little padding.
        order = np.argsort(features.lengths, kind="stable")
        rows: list = [None] * len(order)
        for some in np.array_split(order, -(-len(order) // 16)):
            clips = [features.arrays[i] for i in some]
            batch = np.zeros(
                (len(clips), max(map(len, clips)), features.num_features, 1),
                "float32",
            )
            for row, clip in zip(batch, clips, strict=True):
                row[: len(clip), :, 0] = clip
            for i, row in zip(some, compute(batch).numpy(), strict=True):
                rows[i] = row
        return FeatureSet(features.manifest, rows)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "head": keras.saving.serialize_keras_object(self.head),
            "layer_numbers": list(self.layer_numbers),
            "first_layer": self.first_layer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EncoderClassifier:
        parts = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("encoder", "head")
        }
        return cls(**{**config, **parts})


@serializable
class StatisticsClassifier(Network):
    """Linear classifier of the statistics of an encoder's layers.

    Standardisation, dropout and one linear layer, on the rows of
    `EncoderStatistics`. `set_standardization` sets what the first subtracts
    and divides by; nothing of it is trained.

    Args:
        input_shape: `(layers, 2 * units, 1)`.
        num_classes: Number of classes.
        rows: Those layers of the inputs that are used. None: all.
        dropout: Dropout rate before the linear layer.
        **kwargs: `name`, `dtype` and `trainable`.

    Call arguments:
        inputs: `(batch, layers, 2 * units, 1)`.
        training: Whether to apply dropout.

    Output shape: logits, `(batch, num_classes)`, float32.

    Raises:
        ValueError: Inputs have another shape.

    Example:
    >>> head = StatisticsClassifier((2, 32, 1), num_classes=4)
    >>> head(np.ones((1, 2, 32, 1), "float32")).shape
    TensorShape([1, 4])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        rows: Sequence[int] | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.feature_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.rows = tuple(range(input_shape[0]) if rows is None else rows)
        self.dropout = dropout
        self.build(self.input_shape)

    def build(self, input_shape: Sequence[Any]) -> None:
        size = len(self.rows) * input_shape[2]
        self.mean, self.deviation = (
            self.add_weight(
                name=name,
                shape=(size,),
                initializer=initializer,
                trainable=False,
                dtype=full_precision(self),
                autocast=False,
            )
            for name, initializer in (("mean", "zeros"), ("deviation", "ones"))
        )
        self.head_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy
        )
        self.classifier = keras.layers.Dense(
            self.num_classes, dtype="float32", name="classifier"
        )
        self.classifier.build((None, size))

    def set_standardization(
        self, mean: np.ndarray, deviation: np.ndarray
    ) -> None:
        """Sets the mean and the deviation of each statistic.

        Args:
            mean: `(rows * 2 * units,)`.
            deviation: The same.
        """
        self.mean.assign(mean)
        self.deviation.assign(deviation)

    def call(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        x = as_features(inputs, self.feature_shape)[..., 0]
        x = tf.concat([x[:, row] for row in self.rows], -1)
        x = (tf.cast(x, self.mean.dtype) - self.mean) / self.deviation
        return self.classifier(self.head_dropout(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_shape": list(self.feature_shape),
            "num_classes": self.num_classes,
            "rows": list(self.rows),
            "dropout": self.dropout,
        }


@serializable
class AttentiveClassifier(Network):
    """Mixture of an encoder's layers, attentive statistics, and a classifier.

    Args:
        input_shape: `(time, layers * units, 1)`; time may be None.
        num_classes: Number of classes.
        num_layers: Layers in the inputs, one after the other.
        units: Width of the projection of each frame.
        dropout: Dropout rate before the last layer.
        **kwargs: `name`, `dtype` and `trainable`.

    Call arguments:
        inputs: `(batch, time, layers * units, 1)`, of `EncoderFrames`; frames
            of zeros at a clip's end are padding.
        training: Whether to apply dropout.

    Output shape: logits, `(batch, num_classes)`, float32.

    Raises:
        ValueError: The features cannot be divided by `num_layers`, or inputs
            have another shape.

    Example:
    >>> head = AttentiveClassifier((None, 64, 1), num_classes=4, num_layers=2)
    >>> head(np.ones((1, 50, 64, 1), "float32")).shape
    TensorShape([1, 4])

    References:
        - Yang et al., "SUPERB: Speech processing Universal PERformance
          Benchmark", Interspeech 2021, section 2 (the mixture).
        - Okabe et al., "Attentive Statistics Pooling for Deep Speaker
          Embedding", arXiv 1803.10963, equations 1 to 5.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        num_classes: int,
        num_layers: int = 1,
        units: int = 256,
        dropout: float = 0.3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.feature_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.num_layers = num_layers
        self.units = units
        self.dropout = dropout
        self.build(self.input_shape)

    def build(self, input_shape: Sequence[Any]) -> None:
        policy = {"dtype": self.dtype_policy}
        self.mixture = LayerMixture(self.num_layers, name="mixture", **policy)
        self.mixture.build(input_shape[:-1])
        size = input_shape[2] // self.num_layers
        # Units of an encoder differ in scale by orders of magnitude.
        self.norm = keras.layers.LayerNormalization(name="norm", **policy)
        self.norm.build((None, None, size))
        self.projection = keras.layers.Dense(
            self.units, activation="gelu", name="projection", **policy
        )
        self.projection.build((None, None, size))
        self.pool = AttentionPooling(name="pool", **policy)
        self.pool.build((None, None, self.units))
        self.head_dropout = keras.layers.Dropout(self.dropout, **policy)
        self.classifier = keras.layers.Dense(
            self.num_classes, dtype="float32", name="classifier"
        )
        self.classifier.build((None, 2 * self.units))

    def call(
        self, inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        x = as_features(inputs, self.feature_shape)
        mask = frame_mask(x)
        x = self.projection(self.norm(self.mixture(x[..., 0])))
        x = self.pool(x, mask=mask)
        return self.classifier(self.head_dropout(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_shape": list(self.feature_shape),
            "num_classes": self.num_classes,
            "num_layers": self.num_layers,
            "units": self.units,
            "dropout": self.dropout,
        }
