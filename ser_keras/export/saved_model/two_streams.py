"""The functions of a SavedModel that reads deep features, alone or not."""

import keras
import numpy as np
import tensorflow as tf

from ser_keras.export.saved_model.signatures import TOO_LARGE
from ser_keras.export.saved_model.signatures import check_files
from ser_keras.export.saved_model.wav_graph import decode_wav
from ser_keras.export.saved_model.wav_graph import too_long
from ser_keras.export.saved_model.wav_graph import verdict
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.models.waveform_model import scaled_logits


class StreamFunctions:
    """What a SavedModel of a network that reads deep features has.

    Args:
        model: `TwoStreamNet`, or a network of deep features alone.
        labels: Class names in the order of the logits.
        preprocessor: `StreamPreprocessors` of `handcrafted` and `deep`, or
            `DeepFeatures`.
        max_duration: Longest waveform, seconds.
        temperature: By which logits are divided.

    Raises:
        ValueError: `labels` are not as many as the classes, the extractor's
            features are not what the network reads, or the streams want
            waveforms of different sample rates.
    """

    def __init__(self, model, labels, preprocessor, max_duration, temperature):
        if len(labels) != model.num_classes:
            raise ValueError(
                f"`labels` must be as many as the model's {model.num_classes} "
                f"classes. Received: labels={labels}"
            )
        self.model = model
        self.max_duration = max_duration
        self.temperature = temperature
        self.labels = tf.constant(labels)
        self.variables = [v.value for v in model.variables]
        self.frontend, deep = None, preprocessor
        # Of deep features, what makes both streams is outside of the graph.
        in_graph = preprocessor.in_graph
        two = isinstance(model, TwoStreamNet)
        if two:
            self.frontend = preprocessor.streams["handcrafted"]
            deep = preprocessor.streams["deep"]
            in_graph &= isinstance(self.frontend, Preprocessor)
        width = (model.deep_encoder if two else model).feature_shape[1]
        if deep.num_features != width:
            raise ValueError(
                f"The network reads {width} deep features. Received an "
                f"extractor of {deep.num_features}"
            )
        self.extractor = None
        # Only this one's network can be part of the graph.
        if in_graph:
            self.extractor = deep.extractor
            # Found by trying, which is not possible while a graph is traced.
            self.shortest = self.extractor.shortest
            self.too_short = (
                f"shorter than {self.shortest} samples: no deep frame"
            )
            self.variables += [v.value for v in self.extractor.model.variables]
        streams = (self.frontend, deep) if two else (deep,)
        rates = [x.sample_rate for x in streams]
        self.sample_rate = rates[0]
        if self.extractor is not None and len(set(rates)) > 1:
            raise ValueError(
                "The front end and the extractor of a model that takes "
                f"waveforms must have one sample rate. Received: {rates} Hz"
            )
        self._deep = deep
        self.signatures = self._trace(width)

    @property
    def warm_up_rate(self):
        """Sample rate of warm-up requests; None without waveforms."""
        return self.sample_rate if self.extractor is not None else None

    def facts(self):
        """Entries of `labels.json`."""
        return {
            "signatures": sorted(self.signatures),
            "sample_rate": self.sample_rate,
            "deep_features": self._deep.content,
        }

    def warm_up_features(self):
        """Requests of signatures without a waveform, of 20 frames."""
        requests = {}
        for key, function in self.signatures.items():
            specs, _ = function.structured_input_signature
            if specs[-1].name == "deep":
                requests[key] = {
                    spec.name: np.ones((1, 20, spec.shape[2]), "float32")
                    for spec in specs
                }
        return requests

    def _trace(self, width):
        """Concrete functions by name."""
        deep = tf.TensorSpec((None, None, width), tf.float32, "deep")
        two = isinstance(self.model, TwoStreamNet)
        if not two:
            features, specs = self.deep_features, [deep]
        else:
            bands = self.model.handcrafted_encoder.feature_shape[1]
            shape = (None, None, bands)
            specs = [tf.TensorSpec(shape, tf.float32, "handcrafted"), deep]
            features = self.handcrafted_and_deep_features
        # Traced once, and in the file once, for all signatures.
        self.network = tf.function(
            self._logits,
            input_signature=[
                {x.name: tf.TensorSpec(x.shape, x.dtype) for x in specs}
            ],
            autograph=False,
        )
        functions = {features.__name__: (features, specs)}
        functions["serving_default"] = functions[features.__name__]
        if self.extractor is not None:
            waveform = tf.TensorSpec((None, None), tf.float32, "waveform")
            lengths = tf.TensorSpec((None,), tf.int32, "lengths")
            functions["serving_default"] = self.waveform, [waveform]
            functions["serving_lengths"] = self.lengths, [waveform, lengths]
            audio = tf.TensorSpec((None,), tf.string, "audio")
            functions["serving_bytes"] = self.files, [audio]
        return {
            name: tf.function(function, autograph=False).get_concrete_function(
                *specs
            )
            for name, (function, specs) in functions.items()
        }

    def deep_features(self, deep):
        return self._answer(deep=deep)

    def handcrafted_and_deep_features(self, handcrafted, deep):
        return self._answer(handcrafted=handcrafted, deep=deep)

    def waveform(self, waveform):
        shape = tf.shape(waveform)
        return self.lengths(waveform, tf.fill((shape[0],), shape[1]))

    def lengths(self, waveform, lengths):
        samples = tf.shape(waveform)[1]
        longest = round(self.max_duration * self.sample_rate)
        real = tf.sequence_mask(lengths, samples)
        waveform = tf.where(real, waveform, 0.0)
        finite = tf.reduce_all(tf.math.is_finite(waveform), axis=1)
        fine, error = verdict(
            (
                (lengths < 1, "a clip must have samples"),
                (lengths > samples, "`lengths` must be at most the samples"),
                (lengths < self.shortest, self.too_short),
                (lengths > longest, too_long(longest, self.sample_rate)),
                (~finite, "NaN or infinite samples"),
            )
        )
        return self._heard(waveform, lengths, fine, error)

    def files(self, audio):
        longest = round(self.max_duration * self.sample_rate)
        waveform, lengths, fine, error = decode_wav(
            audio, self.sample_rate, longest
        )
        short = fine & (lengths < self.shortest)
        error = tf.where(short, self.too_short, error)
        fine &= ~short
        check_files(fine, error)
        return self._heard(waveform, lengths, fine, error)

    def _heard(self, waveform, lengths, fine, error):
        samples = tf.shape(waveform)[1]
        waveform = tf.where(fine[:, None], waveform, 0.0)
        # What is wrong is run as silence, as long as the longest, and a frame
        # at least: an extractor may not take less.
        more = tf.maximum(self.shortest - samples, 0)
        waveform = tf.pad(waveform, [[0, 0], [0, more]])
        lengths = tf.where(fine, lengths, samples + more)
        features = {"deep": self._deep_frames(waveform, lengths)}
        if self.frontend is not None:
            features["handcrafted"] = self.frontend(waveform, lengths)
        return self._named(features, fine, error)

    def _answer(self, **features):
        # Without any frame, a stream is missing from all clips.
        features = {name: _one_frame(x) for name, x in features.items()}
        finite = [
            tf.reduce_all(tf.math.is_finite(x), axis=[1, 2])
            for x in features.values()
        ]
        checks = [
            (~fine, f"NaN or infinite values in {name}")
            for name, fine in zip(features, finite, strict=True)
        ]
        fine, error = verdict(checks)
        clean = fine[:, None, None]
        features = {k: tf.where(clean, x, 0.0) for k, x in features.items()}
        return self._named(features, fine, error)

    def _deep_frames(self, waveform, lengths):
        # Clip by clip, as the features of training were extracted: whatever
        # the extractor does over time, padding has no part in it.
        width = self.extractor.num_features
        frames = tf.map_fn(
            lambda clip: _frames(self.extractor, clip[0][: clip[1]]),
            (waveform, lengths),
            fn_output_signature=tf.RaggedTensorSpec(
                (None, width), tf.float32, ragged_rank=0
            ),
        )
        return tf.ensure_shape(frames.to_tensor(), (None, None, width))

    def _logits(self, features):
        inputs = {name: x[..., None] for name, x in features.items()}
        if len(inputs) == 1:
            (inputs,) = inputs.values()
        return scaled_logits(
            self.model(inputs, training=False), self.temperature
        )

    def _named(self, features, fine, error):
        logits = self.network(features)
        finite = tf.reduce_all(tf.math.is_finite(logits), -1)
        error = tf.where(fine & ~finite, TOO_LARGE, error)
        fine &= finite
        label = tf.gather(self.labels, tf.argmax(logits, -1))
        return {
            "probabilities": tf.where(
                fine[:, None], tf.nn.softmax(logits), float("nan")
            ),
            "label": tf.where(fine, label, ""),
            "labels": tf.tile(self.labels[None], [tf.shape(logits)[0], 1]),
            "error": error,
        }


def _one_frame(x):
    """Adds a frame of zeros to features that have none."""
    missing = tf.maximum(1 - tf.shape(x)[1], 0)
    return tf.pad(x, [[0, 0], [0, missing], [0, 0]])


def _frames(extractor, samples):
    """What `KerasExtractor.extract` computes, in a graph."""
    model = extractor.model
    if extractor.layer is not None:
        output = model.get_layer(extractor.layer).output
        model = keras.Model(model.inputs, output)
    size = extractor.window
    if size is None:
        return model(samples[None], training=False)[0]
    step = round(extractor.hop * extractor.sample_rate)
    more = tf.maximum(tf.size(samples) - size + step - 1, 0) // step
    missing = more * step + size - tf.size(samples)
    samples = tf.pad(samples, [[0, tf.maximum(missing, 0)]])
    windows = tf.signal.frame(samples, size, step)[: more + 1]
    frames = model(windows, training=False)
    return tf.reduce_mean(frames, list(range(1, frames.shape.rank - 1)))
