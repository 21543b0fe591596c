"""LiteRT files (formerly TFLite): one network for phones and small boards."""

import functools
import math
import numbers
import os
import pathlib
import warnings
import weakref
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ser_keras
from ser_keras._files import write_bytes
from ser_keras.audio.io import fit_length
from ser_keras.export.litert.file_format import chain
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.models.network import Network
from ser_keras.models.two_stream import TwoStreamNet
from ser_keras.models.waveform_model import WaveformModel
from ser_keras.models.waveform_model import check_temperature
from ser_keras.models.waveform_model import scaled_logits

_PRECISIONS = ("float32", "float16", "int8", "int8_weights")


def export_litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    labels: Sequence[str],
    preprocessor: Preprocessor | None = None,
    *,
    inputs: tf.Tensor = "waveform",
    precision: str = "float32",
    duration: float | None = None,
    padding: str | None = None,
    representative: Iterable[np.ndarray] | None = None,
    features_path: str | os.PathLike[str] | None = None,
    temperature: float = 1.0,
    bandwidth: float | None = None,
) -> pathlib.Path:
    """Writes a `.tflite` file that the plain LiteRT interpreter runs.

    It has builtin operations only, one input and one output, float32 in every
    precision, and a signature `serving_default` that names them:

    | `inputs`     | input                                | output          |
    |--------------|--------------------------------------|-----------------|
    | `"waveform"` | `waveform` `(1, samples)` in [-1, 1] | `probabilities` |
    |              |                                      | `(1, classes)`  |
    | `"features"` | `features` `(1, time, features)`, as | the same        |
    |              | `make_dataset` yields them           |                 |

    The front end and the softmax are float32 in all of them: a log-mel
    spectrum has more range than 8 bits hold. `"float16"` stores the weights
    in half the space and computes with float32. `"int8"` has weights and
    activations of 8 bits in the whole network. `"int8_weights"` has weights of
    8 bits, and activations that are quantised as they come (dynamic range): it
    needs no clips, and is for encoders, whose activations have outliers.

    Labels, sample rate, front end, normalization, precision and version are
    inside; `load_litert` needs nothing else.

    Args:
        model: A `WaveformModel`, or a network from features `(batch, time,
            features, 1)` to logits.
        path: File to write, such as `"emodb.tflite"`. Replaced if it exists.
        labels: Class names in the order of the logits.
        preprocessor: `Preprocessor` of the network's training, for a network
            of features. `inputs="features"` does without it if the network's
            input has a fixed length.
        inputs: `"waveform"` or `"features"`.
        precision: `"float32"`, `"float16"`, `"int8"` or `"int8_weights"`.
        duration: Length of a clip in seconds; the file takes no other. None
            means the preprocessor's `duration`, if it has one, otherwise 3 s;
            where every clip is made of that, no other is possible.
        padding: What zeros around a short clip mean. `"features"`: those at
            the waveform's end are padding, and the features after the clip
            are zero, as in `make_dataset` and `export_saved_model`;
            `"waveform"`: they are silence, and go through the front end. None
            means `"waveform"` where every clip is made of one duration.
        representative: For `"int8"`: clips of training speakers, from which
            the range of every activation is read; some hundred are enough. An
            iterable of waveforms `(samples,)` or of features
            `(time, features)`, normalized; a `FeatureSet`'s `arrays` for one.
        features_path: With `inputs="waveform"`: another file to write, of the
            same network with features in. It is converted, and for int8
            calibrated, once for both.
        temperature: Logits are divided by it: calibration by temperature
            scaling. A `WaveformModel` has its own.
        bandwidth: Up to which frequency nearly all recordings of the training
            have content, Hz, see `ser_keras.audio.bandwidth`: `predict` and
            the demo warn of a recording without. None: not known.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: An argument is invalid, the network or the preprocessor
            wants another length than `duration` or cannot be in a LiteRT
            file, or there are no representative clips for int8.

    Example:
    >>> from ser_keras import MFCC, Preprocessor
    >>> mfcc = Preprocessor(MFCC(sample_rate=16000))
    >>> features = keras.Input((None, mfcc.num_features, 1))
    >>> pooled = keras.layers.GlobalAveragePooling2D()(features)
    >>> network = keras.Model(features, keras.layers.Dense(2)(pooled))
    >>> path = getfixture("tmp_path") / "tiny.tflite"
    >>> export_litert(network, path, ("calm", "anger"), mfcc).name
    'tiny.tflite'
    """
    files = {inputs: pathlib.Path(path)}
    if features_path is not None:
        if inputs != "waveform":
            raise ValueError(
                "`features_path` must be left out unless `inputs` is "
                f"'waveform'. Received: inputs={inputs!r}, "
                f"features_path={str(features_path)!r}"
            )
        files["features"] = pathlib.Path(features_path)
    for file in files.values():
        if file.is_dir():
            raise ValueError(
                "`path` must be the file to write, such as 'emotion.tflite'. "
                f"Received: the folder {file}"
            )
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            "`model` must be a Keras model; `load_model` reads one. Received: "
            f"model={model!r}"
        )
    if isinstance(model, WaveformModel):
        if preprocessor is not None or temperature != 1:
            raise ValueError(
                "`model` has a preprocessor and a temperature already. "
                f"Received: preprocessor={preprocessor}, "
                f"temperature={temperature}"
            )
        preprocessor, temperature = model.preprocessor, model.temperature
        model = model.model
    two = isinstance(model, TwoStreamNet)
    if two or not isinstance(preprocessor, Preprocessor | None):
        raise ValueError(
            "A LiteRT file has one stream, whose features are those of a front "
            "end: `preprocessor` must be a Preprocessor, and `model` no "
            "TwoStreamNet. `export_saved_model` writes SavedModels of others. "
            f"Received: model={model.name!r}, a {type(model).__name__}, and "
            f"preprocessor={preprocessor!r}"
        )
    check_temperature(temperature)
    fixed = preprocessor is not None and preprocessor.fixes_duration
    if padding is None:
        padding = "waveform" if fixed else "features"
    duration = _duration(duration, preprocessor)
    for name, value, allowed in (
        ("inputs", inputs, ("waveform", "features")),
        ("precision", precision, _PRECISIONS),
        ("padding", padding, ("features", "waveform")),
    ):
        if value not in allowed:
            raise ValueError(
                f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
            )
    samples, shape = _shapes(model, preprocessor, inputs, duration)
    # A word is a sequence as well, of letters.
    if isinstance(labels, str):
        raise ValueError(
            "`labels` must be a sequence of class names. Received: "
            f"labels={labels!r}"
        )
    labels = [str(label) for label in labels]
    classes = model(tf.zeros((*shape, 1)), training=False).shape[-1]
    if classes != len(labels):
        raise ValueError(
            f"`labels` must be as many as the model's {classes} classes. "
            f"Received: labels={labels}"
        )
    front: Any = None
    if preprocessor is not None:
        front = _FrontEnd(preprocessor, samples, padding)
    clips = None
    if precision == "int8":
        clips = _representative_features(representative, front, shape)
    network = [
        _convert(
            lambda x: model(x[..., None], training=False),
            [shape],
            precision,
            clips,
        ),
        _softmax(temperature, len(labels)),
    ]
    metadata = {
        "labels": labels,
        "precision": precision,
        "padding": padding,
        "samples": samples,
        "frames": shape[1],
        "features": shape[2],
        "sample_rate": preprocessor and preprocessor.sample_rate,
        "min_samples": preprocessor.frontend.min_samples if preprocessor else 1,
        "preprocessor": _config(preprocessor),
        "temperature": temperature,
        "bandwidth": bandwidth,
        "version": ser_keras.__version__,
    }
    for kind, file in files.items():
        parts = network
        if kind == "waveform":
            parts = front.parts(precision) + network
        facts = {"inputs": kind, **metadata}
        write_bytes(file, chain(parts, kind, "probabilities", facts))
    return files[inputs]


#: Converted parts of a preprocessor's front end. They are the same in the files
#: of every precision and fold of a run, and take longer than a small network.
_converted = weakref.WeakKeyDictionary()


class _FrontEnd:
    """Waveform `(1, samples)` to the network's input, in convertible parts."""

    def __init__(self, preprocessor, samples, padding):
        self.whole = preprocessor
        self.preprocessor = preprocessor.without_fft()
        self.frontend = self.preprocessor.frontend
        self.samples = samples
        self.padded = padding == "features"

    def features(self, waveform):
        """Features of `(1, samples)`, in TensorFlow."""
        lengths = _valid_lengths(waveform) if self.padded else None
        return self.preprocessor(waveform, lengths)

    def parts(self, precision):
        """Bytes of LiteRT files, to be chained.

        The Fourier transform is float32 always: float16 would fill a quiet
        frequency band with the rounding of a loud one.
        """
        if not self.frontend.splits_spectrum:
            return [self._part(self.features, [(1, self.samples)])]

        def spectrum(waveform):
            if not self.padded:
                return self.frontend.spectrum(waveform)
            lengths = _valid_lengths(waveform)
            return self.frontend.spectrum(waveform, lengths), lengths

        def features(spectrum, lengths=None):
            x = self.frontend.from_spectrum(spectrum, lengths)
            frames = None
            if lengths is not None:
                frames = self.frontend.num_frames(lengths)
            return self.preprocessor.normalize(x, frames)

        stored = "float16" if precision == "float16" else "float32"
        waveform = (1, self.samples)
        shapes = [self.frontend.spectrum(tf.zeros(waveform)).shape]
        if self.padded:
            shapes.append(tf.TensorSpec((1,), tf.int32))
        return [
            self._part(spectrum, [waveform]),
            self._part(features, shapes, stored),
        ]

    def _part(self, function, shapes, stored="float32"):
        """A converted function of this front end, from before if there is one.

        What a foreign layer has in variables is not part of the hash.
        """
        if self.preprocessor.variables:
            return _convert(function, shapes, stored)
        parts = _converted.setdefault(self.whole, {})
        key = (
            self.whole.hash,
            self.samples,
            self.padded,
            function.__name__,
            stored,
        )
        if key not in parts:
            parts[key] = _convert(function, shapes, stored)
        return parts[key]


@functools.lru_cache(8)
def _softmax(temperature, classes):
    """Bytes of the LiteRT file from logits to probabilities."""
    return _convert(
        lambda x: tf.nn.softmax(scaled_logits(x, temperature)), [(1, classes)]
    )


def _valid_lengths(waveform):
    """As `functional.valid_lengths`, but without a constant per sample."""
    active = tf.cast(tf.not_equal(waveform, 0.0), tf.float32)
    after = tf.argmax(tf.reverse(active, [1]), axis=1, output_type=tf.int32)
    sounding = tf.cast(tf.reduce_max(active, axis=1), tf.int32)
    return (waveform.shape[1] - after) * sounding


def _duration(duration, preprocessor):
    """Seconds of a clip, once they are known to be possible."""
    own = preprocessor and preprocessor.duration
    if duration is None:
        return 3.0 if own is None else own
    if not isinstance(duration, numbers.Real) or not 0 < duration < math.inf:
        raise ValueError(
            "`duration` must be positive, finite seconds, or None. "
            f"Received: duration={duration!r}"
        )
    fixed = preprocessor is not None and preprocessor.fixes_duration
    if fixed and duration != own:
        raise ValueError(
            f"`duration` must be None or the preprocessor's own, {own} s, of "
            "which it makes every clip. To change it, train with another one. "
            f"Received: duration={duration}"
        )
    return duration


def _shapes(model, preprocessor, inputs, duration):
    """Samples of a clip, None without a front end, and the features' shape."""
    # A subclassed model may not know; its front end does then.
    expected = getattr(model, "input_shape", (None,) * 4)
    if len(expected) != 4:
        raise ValueError(
            "`model` must read features (batch, time, features, 1). Received: "
            f"model={model.name!r} of input shape {expected}"
        )
    _, frames, width, _ = expected
    if preprocessor is None:
        if inputs == "waveform" or None in (frames, width):
            raise ValueError(
                "`preprocessor` must be given for `inputs='waveform'`, and for "
                "a model without a fixed length. Received: preprocessor=None, "
                f"model={model.name!r} of input shape {expected}"
            )
        return None, (1, frames, width)
    if isinstance(model, Network):
        frames = None  # It reads any number of them.
    samples = round(duration * preprocessor.sample_rate)
    made = tuple(preprocessor.compute_output_shape((1, samples)))
    if made[1] < 1 or any(
        wanted is not None and wanted != size
        for wanted, size in zip((frames, width), made[1:], strict=True)
    ):
        raise ValueError(
            "`duration` and `preprocessor` must make what `model` reads: "
            f"{(frames, width)} frames and features. Received: duration="
            f"{duration} s, of which the preprocessor makes {made[1:]}"
        )
    return samples, made


def _representative_features(clips, front, shape):
    """Features `(1, time, features)` of each clip, as in the file."""
    clips = [] if clips is None else list(clips)
    if not clips:
        raise ValueError(
            "`representative` must be given for precision='int8': the scale "
            "of every activation is read off clips of training speakers. "
            "Received: none"
        )
    features = []
    for i, clip in enumerate(clips):
        clip = np.asarray(clip)
        if clip.dtype.kind != "f":
            raise ValueError(
                "`representative` must be floats, waveforms in [-1, 1]: divide "
                f"int16 by 32768. Received: clip {i} of {clip.dtype}"
            )
        if not np.isfinite(clip).all():
            raise ValueError(
                f"`representative` must be finite. Received: clip {i} with "
                "NaN or infinite values"
            )
        clip = clip.astype("float32")
        if clip.ndim == 1 and front is not None and clip.size:
            mode = "start" if front.padded else "center"
            if len(clip) > front.samples:
                mode = "center"
            clip = fit_length(clip, front.samples, mode)
            clip = front.features(clip[None])[0].numpy()
        if clip.ndim != 2 or clip.shape[1] != shape[2] or not len(clip):
            raise ValueError(
                "`representative` must be waveforms (samples,), with a front "
                f"end, or features (time, {shape[2]}). Received: clip {i} of "
                f"shape {clip.shape}"
            )
        mode = "center" if len(clip) > shape[1] else "start"
        features.append(fit_length(clip, shape[1], mode)[None])
    return features


def _convert(function, shapes, precision="float32", representative=None):
    """Bytes of the LiteRT file of a function; shapes are float32 by default."""
    specs = [
        shape
        if isinstance(shape, tf.TensorSpec)
        else tf.TensorSpec(shape, tf.float32)
        for shape in shapes
    ]
    traced = tf.function(function, autograph=False)
    # An empty module and not the model: the converter makes constants of
    # variables that it cannot find.
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [traced.get_concrete_function(*specs)], tf.Module()
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([x] for x in representative)
        # An operation without an 8-bit kernel is an error, not a float island.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
    with warnings.catch_warnings():
        # Said of every int8 model whose input is float32, as ours are meant
        # to be.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        return converter.convert()


def _config(layer):
    return None if layer is None else keras.saving.serialize_keras_object(layer)
