"""A network with its front end: waveforms in, probabilities out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models.preset import read_metadata
from ser_keras.models.preset import read_network
from ser_keras.models.preset import read_preprocessor

if TYPE_CHECKING:
    from ser_keras.audio.front_end import FrontEnd


def with_frontend(
    model: keras.Model,
    frontend: FrontEnd,
    normalization: keras.layers.Layer | None = None,
    **arguments: Any,
) -> WaveformModel:
    """Puts a front end before a network that was trained on features.

    The result computes features as the training pipeline did, with the same
    layers, so that a service needs waveforms only.

    Args:
        model: A built Keras model from features `(batch, time, features, 1)`
            to logits `(batch, classes)`.
        frontend: `FrontEnd` of the network's training, such as `MFCC`; or its
            `Preprocessor`.
        normalization: That of training, if any: a layer which is called with
            features and their `lengths` in frames.
        **arguments: `name` and other arguments of `keras.Model`.

    Returns:
        A `WaveformModel`.

    Raises:
        ValueError: `model` has not been built, or `frontend` is none.

    Example:
    >>> from ser_keras import MFCC
    >>> frontend = MFCC(sample_rate=16000)
    >>> features = keras.Input((None, frontend.num_features, 1))
    >>> pooled = keras.layers.GlobalAveragePooling2D()(features)
    >>> network = keras.Model(features, keras.layers.Dense(4)(pooled))
    >>> model = with_frontend(network, frontend)
    >>> outputs = model(np.zeros((2, 16000), "float32"))
    >>> outputs["probabilities"].shape, outputs["label_id"].shape
    (TensorShape([2, 4]), TensorShape([2]))
    """
    return WaveformModel(model, frontend, normalization, **arguments)


@serializable
class WaveformModel(keras.Model):
    """Preprocessor and network: waveforms to probabilities.

    Args:
        model: From features `(batch, time, features, 1)` to logits.
        frontend: From waveforms to features `(batch, time, features)`; or the
            `Preprocessor` that has both this and the normalization.
        normalization: Per-utterance normalization, or `None`.
        temperature: Logits are divided by it before the softmax: calibration
            by temperature scaling (Guo et al., "On calibration of modern
            neural networks", ICML 2017, equation 9). 1 changes nothing.
        **kwargs: Arguments of `keras.Model`. `dtype` is float32 unless it is
            given, whatever the global policy: Keras would round waveforms to
            half precision. That of `model` is its own.

    Call arguments:
        inputs: Waveforms, `(batch, samples)`, floats in [-1, 1].
        lengths: `(batch,)`, samples of each clip; what follows them is
            padding of any value and changes nothing. `None`: all samples.
        training: Whether to train.

    Output shape: a dict of `"probabilities"`, `(batch, classes)`, and
    `"label_id"`, `(batch,)`, the most probable class.

    Raises:
        ValueError: `model` has not been built, `frontend` is neither a
            front end nor a preprocessor, or `temperature` is not positive.
    """

    def __init__(
        self,
        model: keras.Model,
        frontend: FrontEnd | Preprocessor,
        normalization: keras.layers.Layer | None = None,
        temperature: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if not model.built:
            raise ValueError(
                "`model` must be built; call it once, or give it an input "
                f"shape. Received: model={model.name!r}"
            )
        check_temperature(temperature)
        self.model = model
        if not isinstance(frontend, Preprocessor):
            frontend = Preprocessor(frontend, normalization)
        elif normalization is not None:
            raise ValueError(
                "`normalization` must be None for a Preprocessor, which has "
                f"its own. Received: normalization={normalization!r}"
            )
        self.preprocessor = frontend
        self.temperature = temperature
        self.build((None, None))

    @property
    def frontend(self) -> FrontEnd:
        """Front end of the preprocessor."""
        return self.preprocessor.frontend

    @property
    def normalization(self) -> keras.layers.Layer | None:
        """Normalization of the preprocessor, or `None`."""
        return self.preprocessor.normalization

    def build(self, input_shape: Sequence[Any]) -> None:
        self.preprocessor(keras.Input(input_shape[1:]))
        self.built = True

    def predict_features(
        self, features: tf.Tensor, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """From features `(batch, time, features)` to the outputs of a call."""
        logits = self.model(features[..., None], training=training)
        logits = scaled_logits(logits, self.temperature)
        return {
            "probabilities": tf.nn.softmax(logits),
            "label_id": tf.argmax(logits, -1, output_type=tf.int32),
        }

    def call(
        self,
        inputs: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        features = self.preprocessor(inputs, lengths)
        return self.predict_features(features, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "frontend": keras.saving.serialize_keras_object(self.frontend),
            "normalization": keras.saving.serialize_keras_object(
                self.normalization
            ),
            "duration": self.preprocessor.duration,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WaveformModel:
        layers = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("model", "frontend", "normalization")
        }
        config = {**config, **layers}
        config["frontend"] = Preprocessor(
            config["frontend"],
            config.pop("normalization"),
            # Files of versions before 0.2.0 have no duration.
            config.pop("duration", None),
        )
        return cls(**config)

    @classmethod
    def from_preset(cls, preset: str | os.PathLike[str]) -> WaveformModel:
        """Reads a trained network with its preprocessor and calibration.

        Args:
            preset: Name of a preset that comes with the package, one of
                `ser_keras.presets()`; or a folder of `save_to_preset`.

        Raises:
            ValueError: There is no such preset, or it has no preprocessor.

        >>> model = WaveformModel.from_preset("emodb_light_sernet")
        >>> silence = np.zeros((1, 16000), "float32")
        >>> model(silence)["probabilities"].shape
        TensorShape([1, 7])
        """
        return cls(
            read_network(preset),
            read_preprocessor(preset),
            temperature=read_metadata(preset)["temperature"],
        )

    def save_to_preset(
        self,
        folder: str | os.PathLike[str],
        labels: Sequence[str],
        card: str | None = None,
    ) -> None:
        """Writes a preset that also the network alone can be read from.

        Args:
            folder: Where; see `LightSERNet.save_to_preset`.
            labels: Class names in the order of the probabilities.
            card: Text of the model card.

        Raises:
            ValueError: There are more or fewer labels than classes.
        """
        self.model.save_to_preset(
            folder, self.preprocessor, labels, self.temperature, card
        )


def check_temperature(temperature):
    """Raises `ValueError` unless it is positive and finite."""
    if not 0 < temperature < float("inf"):
        raise ValueError(
            "`temperature` must be positive and finite. Received: "
            f"temperature={temperature}"
        )


def scaled_logits(logits, temperature):
    """Logits in float32, divided by a temperature."""
    logits = tf.cast(logits, "float32")
    # Not a division by 1, which is one more operation in every export.
    return logits if temperature == 1 else logits / temperature
