"""The functions of a SavedModel: waveforms, WAV files or features in."""

import keras
import tensorflow as tf

from ser_keras.export.saved_model.wav_graph import decode_wav
from ser_keras.export.saved_model.wav_graph import too_long
from ser_keras.export.saved_model.wav_graph import verdict
from ser_keras.models.waveform_model import WaveformModel

TOO_LARGE = "values too large for the model, whose answer is not finite"


class WaveformFunctions:
    """What a SavedModel of one stream with its front end has.

    Args:
        model: Network from features to logits.
        labels: Class names in the order of the logits.
        preprocessor: `Preprocessor`.
        max_duration: Longest clip, seconds.
        temperature: By which logits are divided.
    """

    variables = ()  # They are constants of the graph.

    def __init__(self, model, labels, preprocessor, max_duration, temperature):
        self._preprocessor = preprocessor
        model = WaveformModel(model, preprocessor, temperature=temperature)
        self.warm_up_rate = preprocessor.sample_rate
        self.signatures = serving_signatures(
            model, labels, self.warm_up_rate, max_duration
        )

    def facts(self):
        """Entries of `labels.json`."""
        rate = self._preprocessor.sample_rate
        if not self._preprocessor.fixes_duration:
            return {"sample_rate": rate}
        # Of a longer clip the middle is used.
        samples = round(self._preprocessor.duration * rate)
        return {"sample_rate": rate, "samples": samples}

    def warm_up_features(self):
        """Requests of signatures without a waveform."""
        second = tf.zeros((1, self.warm_up_rate))
        features = self._preprocessor(second).numpy()
        return {"features": {"features": features}}


def serving_signatures(model, labels, sample_rate, max_duration):
    """Traces what `export_saved_model` writes; see there.

    The weights are constants in the graph, shared by all functions: so
    TensorFlow folds a batch normalisation into the convolution before it,
    which it cannot do with variables (1.5 times faster for Light-SERNet).

    Args:
        model: A `WaveformModel`.
        labels: Class names in the order of the probabilities.
        sample_rate: That WAV files must have, Hz.
        max_duration: Longest clip, seconds.

    Returns:
        Dict of concrete functions by name.

    Raises:
        ValueError: `labels` are not as many as the model's classes.
    """
    max_samples = round(max_duration * sample_rate)
    width = _num_features(model, labels)
    weights = [(variable, variable.numpy()) for variable in model.variables]
    labels_row = tf.constant([labels])

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec((None, None, width), tf.float32)],
    )
    def network(features):
        constants = [(v, tf.constant(value)) for v, value in weights]
        with keras.StatelessScope(state_mapping=constants):
            outputs = model.predict_features(features, training=False)
        return outputs["probabilities"]

    def answer(features, fine, error):
        probabilities = network(features)
        # Finite samples may be so large that what is made of them is not.
        finite = tf.reduce_all(tf.math.is_finite(probabilities), -1)
        error = tf.where(fine & ~finite, TOO_LARGE, error)
        fine &= finite
        best = tf.gather(labels_row[0], tf.argmax(probabilities, -1))
        return {
            "probabilities": _where(fine, probabilities, float("nan")),
            "label": tf.where(fine, best, ""),
            "labels": tf.tile(labels_row, [tf.shape(probabilities)[0], 1]),
            "error": error,
        }

    def serving_default(waveform):
        samples = tf.shape(waveform)[1]
        lengths = tf.fill([tf.shape(waveform)[0]], samples)
        fine, error = check(waveform, lengths, samples)
        features = model.preprocessor(_where(fine, waveform, 0.0))
        return answer(features, fine, error)

    def serving_lengths(waveform, lengths):
        samples = tf.shape(waveform)[1]
        real = tf.sequence_mask(lengths, samples)
        real = tf.where(real, waveform, 0.0)
        fine, error = check(real, lengths, samples)
        lengths = tf.where(fine, lengths, samples)
        features = model.preprocessor(_where(fine, real, 0.0), lengths)
        return answer(features, fine, error)

    def serving_bytes(audio):
        waveform, lengths, fine, error = decode_wav(
            audio, sample_rate, max_samples
        )
        check_files(fine, error)
        lengths = tf.where(fine, lengths, tf.shape(waveform)[1])
        return answer(model.preprocessor(waveform, lengths), fine, error)

    def check(waveform, lengths, samples):
        finite = tf.reduce_all(tf.math.is_finite(waveform), axis=1)
        checks = (
            (lengths < 1, "a clip must have samples"),
            (lengths > samples, "`lengths` must be at most the samples given"),
            (lengths > max_samples, too_long(max_samples, sample_rate)),
            (~finite, "NaN or infinite samples"),
        )
        return verdict(checks)

    def features(features):
        finite = tf.reduce_all(tf.math.is_finite(features), axis=[1, 2])
        fine, error = verdict([(~finite, "NaN or infinite values")])
        return answer(_where(fine, features, 0.0), fine, error)

    waveform = tf.TensorSpec((None, None), tf.float32, "waveform")
    lengths = tf.TensorSpec((None,), tf.int32, "lengths")
    audio = tf.TensorSpec((None,), tf.string, "audio")
    table = tf.TensorSpec((None, None, width), tf.float32, "features")
    return {
        function.__name__: tf.function(function, autograph=False)
        .get_concrete_function(*specs)
        for function, *specs in (
            (serving_default, waveform),
            (serving_lengths, waveform, lengths),
            (serving_bytes, audio),
            (features, table),
        )
    }  # fmt: skip


def check_files(fine, error):
    """Fails, in a graph, if no file of a batch can be used.

    Alone, a bad file is an error of the call, as its caller expects. Among
    good ones, which may be other callers', it has its own.
    """
    useful = tf.reduce_any(fine) | (tf.size(fine) == 0)
    tf.debugging.Assert(useful, ["no file can be used", error])


def _num_features(model, labels):
    """Size of a frame of features; checks the number of classes."""
    second = tf.zeros((1, model.preprocessor.sample_rate))
    features = model.preprocessor(second)
    classes = model.predict_features(features)["probabilities"].shape[-1]
    if classes != len(labels):
        raise ValueError(
            f"`labels` must be as many as the model's {classes} classes. "
            f"Received: labels={labels}"
        )
    return features.shape[-1]


def _where(fine, x, otherwise):
    """Another value for all of the clips with an error.

    NaN in the outputs, which cannot be taken for probabilities; 0 in the
    inputs, because not every operation passes a NaN on.
    """
    fine = tf.reshape(fine, [-1] + [1] * (x.shape.rank - 1))
    return tf.where(fine, x, otherwise)
