"""KerasExtractor: deep features of a Keras model."""

import json
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import load_model
from ser_keras.features.extractors.base import WaveformNetwork
from ser_keras.features.extractors.base import check_file
from ser_keras.features.extractors.base import check_sample_rate
from ser_keras.features.store import digest
from ser_keras.features.store import layer_settings


class KerasExtractor(WaveformNetwork):
    """Deep features of a Keras model that takes a waveform.

    A model with a fixed input size runs window by window, one with a variable
    input size on whole clips; see `WaveformNetwork`.

    Args:
        model: `keras.Model` from `(batch, samples)` to `(batch, time,
            features)`, or, with a fixed input size, to any shape with features
            last; or a `.keras` file of one.
        sample_rate: Of the model, Hz. It is compared with the `sample_rate` of
            every layer that has one, such as a front end.
        hop: Seconds from frame to frame.
        layer: Name of a layer of a functional model, whose output becomes the
            features. None means the output of the model.
        trust: Whether to read a file with classes other than those of Keras and
            of this library; see `ser_keras.load_model`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The model does not take a waveform, has another sample rate
            or no layer of that name, or its file is refused.

    >>> model = keras.Sequential([
    ...     keras.Input((None,)), keras.layers.Reshape((-1, 1)),
    ...     keras.layers.Conv1D(8, 400, strides=160)])
    >>> extractor = KerasExtractor(model, sample_rate=16000, hop=0.01)
    >>> extractor.extract(np.ones(16000, "float32")).shape
    (98, 8)
    """

    def __init__(
        self,
        model: Any,
        sample_rate: int = 16000,
        hop: float = 0.48,
        layer: str | None = None,
        trust: bool = False,
    ):
        name = "`model`"
        if isinstance(model, str | pathlib.Path):
            name = check_file(model)
            model = load_model(name, trust, compile=False)
        self.model = model
        self.layer = layer
        for layer_inside in _layers(model):
            found = getattr(layer_inside, "sample_rate", None)
            check_sample_rate(name, found, sample_rate)
        try:
            shape = model.input_shape
        except AttributeError:  # A subclassed model: whole clips.
            shape = (None, None)
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise ValueError(
                f"{name} must take one waveform `(batch, samples)`. Received: "
                f"input_shape={shape}"
            )
        if layer is not None:
            names = [x.name for x in model.layers]
            if layer not in names:
                raise ValueError(
                    f"`layer` must be one of {name}, which are {names}. "
                    f"Received: layer={layer!r}"
                )
            model = keras.Model(model.inputs, model.get_layer(layer).output)
        self._function = tf.function(
            lambda x: model(x, training=False),
            input_signature=[tf.TensorSpec((1, shape[1]), tf.float32)],
        )
        super().__init__(name, sample_rate, shape[1], hop)

    def run(self, samples: np.ndarray) -> np.ndarray:
        return self._function(samples[None]).numpy()

    def settings(self) -> dict[str, Any]:
        return {
            "extractor": "KerasExtractor",
            "model": _digest(self.model),
            "sample_rate": self.sample_rate,
            "hop": self.hop,
            "layer": self.layer,
        }


def _digest(model):
    """Digits that identify a model's configuration and weights."""
    config = keras.saving.serialize_keras_object(model)
    text = json.dumps(layer_settings(config), sort_keys=True, default=str)
    return digest(model.weights, text)


def _layers(model):
    """Layers of a model and of its submodels."""
    for layer in model.layers:
        yield layer
        # Not sublayers: the front end in `AtSpeed` has another sample rate.
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
