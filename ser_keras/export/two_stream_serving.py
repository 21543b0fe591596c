"""SavedModels of networks that read deep features, alone or beside others."""

import json
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

from ser_keras._registry import package_versions
from ser_keras.data.keras_extractor import KerasExtractor
from ser_keras.export.serving import CARD
from ser_keras.export.serving import _exists
from ser_keras.export.serving import _new_version
from ser_keras.export.serving import export_serving
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
    |                                 | graph, if it is a `KerasExtractor`.  |
    |                                 | Otherwise the same as the above      |
    | `serving_lengths`               | with a waveform only: the same, and  |
    |                                 | `lengths` `(batch,)` in samples      |

    Every signature returns `probabilities`, `label` and `labels`, as those of
    `export_serving` do. `labels.json` says what the deep features are.

    Args:
        model: A `TwoStreamNet`, or a network from features to logits.
        path: The model's folder.
        labels: Class names in the order of the logits.
        frontend: Layer from waveforms to hand-crafted features; `None` for a
            network of the deep stream alone.
        normalization: Of the hand-crafted features, or `None`.
        extractor: Of the deep stream; `None` if it is not known.
        version: A positive integer, 1 more than the highest by default.

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
            model, path, labels, frontend, normalization, version
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
    served = _Served(model, labels, frontend, normalization, extractor)
    card = {
        "labels": labels,
        "sample_rate": served.sample_rate,
        "deep_features": None if extractor is None else extractor.settings(),
        "versions": package_versions(),
    }
    path = pathlib.Path(path)
    target = path / str(_new_version(path, version))
    signatures = served.signatures(width)
    path.mkdir(parents=True, exist_ok=True)
    # A hidden name beside it: no server looks there, and renaming is atomic.
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=path))
    try:
        folder = temporary / "model"
        module = tf.Module()
        module.variables_of_model = served.variables
        tf.saved_model.save(module, str(folder), signatures=signatures)
        (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
        if target.exists():  # Another process was quicker.
            raise _exists(target)
        folder.rename(target)
    finally:
        shutil.rmtree(temporary)
    return target


class _Served:
    """The functions of a SavedModel."""

    def __init__(self, model, labels, frontend, normalization, extractor):
        self.model = model
        self.labels = tf.constant(labels)
        self.variables = [v.value for v in model.variables]
        self.mel = self.extractor = None
        if frontend is not None:
            self.mel = with_frontend(model, frontend, normalization)
        # Only this one's network can be part of the graph.
        if isinstance(extractor, KerasExtractor):
            self.extractor = extractor
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
        if self.mel is None:
            features, specs = self.deep_features, [deep]
        else:
            bands = self.model.handcrafted_encoder.feature_shape[1]
            shape = (None, None, bands)
            specs = [tf.TensorSpec(shape, tf.float32, "handcrafted"), deep]
            features = self.handcrafted_and_deep_features
        functions = {features.__name__: (features, specs)}
        functions["serving_default"] = functions[features.__name__]
        if self.extractor is not None:
            waveform = tf.TensorSpec((None, None), tf.float32, "waveform")
            lengths = tf.TensorSpec((None,), tf.int32, "lengths")
            functions["serving_default"] = self.waveform, [waveform]
            functions["serving_lengths"] = self.lengths, [waveform, lengths]
        return {
            name: tf.function(function, autograph=False).get_concrete_function(
                *specs
            )
            for name, (function, specs) in functions.items()
        }

    def deep_features(self, deep):
        return self._named(self.model(deep[..., None], training=False))

    def handcrafted_and_deep_features(self, handcrafted, deep):
        inputs = {"handcrafted": handcrafted, "deep": deep}
        inputs = {name: x[..., None] for name, x in inputs.items()}
        return self._named(self.model(inputs, training=False))

    def waveform(self, waveform):
        shape = tf.shape(waveform)
        return self.lengths(waveform, tf.fill((shape[0],), shape[1]))

    def lengths(self, waveform, lengths):
        deep = self._deep(waveform, lengths)
        if self.mel is None:
            return self.deep_features(deep)
        mel = self.mel.features(waveform, lengths)
        return self.handcrafted_and_deep_features(mel, deep)

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

    def _named(self, logits):
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
        count = tf.shape(probabilities)[0]
        return {
            "probabilities": probabilities,
            "label": tf.gather(self.labels, tf.argmax(logits, -1)),
            "labels": tf.tile(self.labels[None], [count, 1]),
        }


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
