"""A network with its front end: waveforms in, probabilities out."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable


def with_frontend(model, frontend, normalization=None, **arguments):
    """Puts a front end before a network that was trained on features.

    The result computes features as the training pipeline did, with the same
    layers, so that a service needs waveforms only.

    Args:
        model: A built Keras model from features `(batch, time, features, 1)`
            to logits `(batch, classes)`.
        frontend: A layer from waveforms `(batch, samples)` to features
            `(batch, time, features)`, such as `MFCC`, which is called with
            `lengths=` in samples and has a method `num_frames(samples)`.
        normalization: The per-utterance normalization of training, if any:
            a layer which is called with features and `lengths=` in frames.
        **arguments: `name` and other arguments of `keras.Model`.

    Returns:
        A `WaveformModel`.

    Raises:
        ValueError: `model` has not been built.

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
    """A front end, a normalization and a network; see `with_frontend`.

    Args:
        model: From features `(batch, time, features, 1)` to logits.
        frontend: From waveforms to features `(batch, time, features)`.
        normalization: Per-utterance normalization, or `None`.

    Call arguments:
        inputs: Waveforms, `(batch, samples)`, floats in [-1, 1].
        lengths: `(batch,)`, samples of each clip; what follows them is
            padding of any value and changes nothing. `None`: all samples.
        training: Whether to train.

    Output shape: a dict of `"probabilities"`, `(batch, classes)`, and
    `"label_id"`, `(batch,)`, the most probable class.

    Raises:
        ValueError: `model` has not been built.
    """

    def __init__(self, model, frontend, normalization=None, **kwargs):
        super().__init__(**kwargs)
        if not model.built:
            raise ValueError(
                "`model` must be built; call it once, or give it an input "
                f"shape. Received: model={model.name!r}"
            )
        self.model = model
        self.frontend = frontend
        self.normalization = normalization
        self.build((None, None))

    def build(self, input_shape):
        waveform = keras.Input(input_shape[1:])
        features = self.frontend(waveform)
        if self.normalization is not None:
            self.normalization(features)
        self.built = True

    def features(self, inputs, lengths=None):
        """Computes what the network reads.

        Args:
            inputs: Waveforms, `(batch, samples)`.
            lengths: `(batch,)` in samples, or `None`.

        Returns:
            `(batch, time, features)`; frames after a clip's end are zero.
        """
        inputs = tf.cast(inputs, "float32")
        frames = None
        if lengths is not None:
            real = tf.sequence_mask(lengths, tf.shape(inputs)[1])
            # Not a product: the padding may be NaN.
            inputs = tf.where(real, inputs, 0.0)
            frames = self.frontend.num_frames(lengths)
        features = self.frontend(inputs, lengths=lengths)
        return self.normalize(features, frames)

    def normalize(self, features, frames=None):
        """Normalizes features and zeroes what is beyond a clip's end.

        Args:
            features: `(batch, time, features)`, from the front end.
            frames: `(batch,)`, frames of each clip; `None`: all.

        Returns:
            `(batch, time, features)`.
        """
        if self.normalization is not None:
            features = self.normalization(features, lengths=frames)
        if frames is not None:
            real = tf.sequence_mask(frames, tf.shape(features)[1])
            features = tf.where(real[:, :, None], features, 0.0)
        return features

    def predict_features(self, features, training=None):
        """From features `(batch, time, features)` to the outputs of a call."""
        logits = self.model(features[..., None], training=training)
        logits = tf.cast(logits, "float32")
        return {
            "probabilities": tf.nn.softmax(logits),
            "label_id": tf.argmax(logits, -1, output_type=tf.int32),
        }

    def call(self, inputs, lengths=None, training=None):
        features = self.features(inputs, lengths)
        return self.predict_features(features, training=training)

    def get_config(self):
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "frontend": keras.saving.serialize_keras_object(self.frontend),
            "normalization": keras.saving.serialize_keras_object(
                self.normalization
            ),
        }

    @classmethod
    def from_config(cls, config):
        layers = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("model", "frontend", "normalization")
        }
        return cls(**{**config, **layers})
