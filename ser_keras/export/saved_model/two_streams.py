"""SavedModels of networks that read deep features, alone or beside others."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from ser_keras._registry import package_versions
from ser_keras.export.saved_model.export import export_serving
from ser_keras.export.saved_model.export import new_folder
from ser_keras.export.saved_model.export import new_version
from ser_keras.export.saved_model.serving_files import write_warm_up
from ser_keras.export.saved_model.signatures import TOO_LARGE
from ser_keras.export.saved_model.signatures import check_files
from ser_keras.export.saved_model.wav_graph import decode_wav
from ser_keras.export.saved_model.wav_graph import too_long
from ser_keras.export.saved_model.wav_graph import verdict
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.models.waveform_model import with_frontend


def export_streams(
    model,
    path,
    labels,
    frontend=None,
    normalization=None,
    extractor=None,
    version=None,
    max_duration=60.0,
    card=None,
):
    """Writes a SavedModel of a network of one or two streams.

    A network without a deep stream is `export_serving`'s. For the others the
    name of a signature says what goes in; batch and lengths are dynamic, what
    follows a clip's end is zero, and a stream that is zero throughout is
    missing.

    | signature                       | inputs                               |
    |---------------------------------|--------------------------------------|
    | `handcrafted_and_deep_features` | `handcrafted` `(batch, time,         |
    |                                 | features)` and `deep` `(batch,       |
    |                                 | frames, channels)`, as `make_dataset`|
    |                                 | yields them                          |
    | `deep_features`                 | `deep`, for a network of that alone  |
    | `serving_default`               | `waveform` `(batch, samples)` in     |
    |                                 | [-1, 1]: the deep extractor is in the|
    |                                 | graph, if it is a `KerasExtractor`,  |
    |                                 | and so is the front end. Otherwise   |
    |                                 | the same as the above                |
    | `serving_lengths`               | with a waveform only: the same, and  |
    |                                 | `lengths` `(batch,)` in samples      |
    | `serving_bytes`                 | with a waveform only: `audio`        |
    |                                 | `(batch,)`, WAV files of 16 bits     |

    Every signature returns `probabilities`, `label`, `labels` and `error`, as
    those of `export_serving` do: what is wrong with a clip is its own error.
    A waveform too short for a deep frame has an error as well. Beside the graph
    are `labels.json`, which also says what the features of each stream are,
    `card.md` and warm-up requests; `model.config` and `batching.config` are in
    the model's folder.

    Args:
        model: A `TwoStreamNet`, or a network from features to logits.
        path: The model's folder.
        labels: Class names in the order of the logits.
        frontend: Layer from waveforms to hand-crafted features; `None` if none
            makes them (openSMILE, say), or there is the deep stream alone.
        normalization: Of the hand-crafted features, or `None`.
        extractor: Of the deep stream; `None` if it is not known.
        version: A positive integer, 1 more than the highest by default.
        max_duration: Longest waveform that the model takes, in seconds.
        card: `ModelCard` with corpus, protocol, scores, licence and limits.

    Returns:
        `pathlib.Path` of the version's folder.

    Raises:
        FileExistsError: This version exists; nothing is overwritten.
        ValueError: `labels` are not as many as the classes, or the extractor's
            features are not what the network reads.
    """
    two = isinstance(model, TwoStreamNet)
    if not two and frontend is not None:
        return export_serving(
            model,
            path,
            labels,
            frontend,
            normalization,
            version,
            card=card,
            max_duration=max_duration,
        )
    labels = tuple(str(label) for label in labels)
    if len(labels) != model.num_classes:
        raise ValueError(
            f"`labels` must be as many as the model's {model.num_classes} "
            f"classes. Received: labels={labels}"
        )
    width = (model.deep_encoder if two else model).feature_shape[1]
    if extractor is not None and extractor.num_features != width:
        raise ValueError(
            f"The network reads {width} deep features. Received an extractor "
            f"of {extractor.num_features}"
        )
    path = pathlib.Path(path)
    target = path / str(new_version(path, version))
    served = _Served(
        model, labels, frontend, normalization, extractor, max_duration
    )
    signatures = served.signatures(width)
    facts = {
        "labels": labels,
        "signatures": sorted(signatures),
        "sample_rate": served.sample_rate,
        "max_duration": max_duration,
        "deep_features": None if extractor is None else extractor.settings(),
        "versions": package_versions(),
    }
    if two:
        facts["handcrafted_features"] = {
            "frontend": _serialized(frontend),
            "normalization": _serialized(normalization),
        }
    with new_folder(target, facts, card, model.count_params()) as folder:
        module = tf.Module()
        module.variables_of_model = served.variables
        tf.saved_model.save(module, str(folder), signatures=signatures)
        served.write_warm_up(folder, path.name, signatures)
    return target


def _serialized(layer):
    return None if layer is None else keras.saving.serialize_keras_object(layer)


class _Served:
    """The functions of a SavedModel."""

    def __init__(
        self, model, labels, frontend, normalization, extractor, max_duration
    ):
        self.model = model
        self.max_duration = max_duration
        self.labels = tf.constant(labels)
        self.variables = [v.value for v in model.variables]
        self.mel = self.extractor = None
        if frontend is not None:
            self.mel = with_frontend(model, frontend, normalization)
        # Only this one's network can be part of the graph.
        if isinstance(extractor, KerasExtractor):
            self.extractor = extractor
            self.shortest = extractor.shortest  # Not while a graph is traced.
            self.too_short = (
                f"shorter than {self.shortest} samples: no deep frame"
            )
            self.variables += [v.value for v in extractor.model.variables]
        rates = [x.sample_rate for x in (frontend, extractor) if x is not None]
        self.sample_rate = rates[0] if rates else None
        if self.extractor is not None and len(set(rates)) > 1:
            raise ValueError(
                "The front end and the extractor of a model that takes "
                f"waveforms must have one sample rate. Received: {rates} Hz"
            )

    def signatures(self, width):
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
        if self.extractor is not None and (self.mel is not None or not two):
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

    def write_warm_up(self, folder, name, signatures):
        """Requests of every signature; those of features are 20 frames."""
        rate = self.sample_rate if "serving_bytes" in signatures else None
        requests = {}
        for key, function in signatures.items():
            specs, _ = function.structured_input_signature
            if specs[-1].name == "deep":
                requests[key] = {
                    spec.name: np.ones((1, 20, spec.shape[2]), "float32")
                    for spec in specs
                }
        write_warm_up(folder, name, rate, **requests)

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
        features = {"deep": self._deep(waveform, lengths)}
        if self.mel is not None:
            features["handcrafted"] = self.mel.features(waveform, lengths)
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

    def _deep(self, waveform, lengths):
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
        return tf.cast(self.model(inputs, training=False), tf.float32)

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
