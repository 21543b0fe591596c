"""Clips of requests through the signatures of a SavedModel."""

import io

import numpy as np
import soundfile
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from ser_keras.export.serving_files import WARM_UP
from ser_keras.serving.rest import BadRequestError


def split_clips(signature, inputs):
    """The clips of a request one by one, and the signature for them.

    Args:
        signature: That was asked for.
        inputs: Its inputs, from `parse_predict`.

    Returns:
        `(signature, clips)`: waveforms of any signature have their lengths.

    Raises:
        BadRequestError: A length is out of range.
    """
    if signature == "serving_bytes":
        return signature, inputs["audio"]
    if signature == "features":
        return signature, list(inputs["features"])
    waveform = inputs["waveform"]
    lengths = inputs.get("lengths", [waveform.shape[1]] * len(waveform))
    for i, length in enumerate(lengths):
        if not 0 < length <= waveform.shape[1]:
            raise BadRequestError(
                f"`lengths` must be from 1 to {waveform.shape[1]}, the samples "
                f"of `waveform`. Received: {length} for clip {i}"
            )
    clips = zip(waveform, lengths, strict=True)
    return "serving_lengths", [clip[:length] for clip, length in clips]


def run_clips(model, signature, clips):
    """One call of a signature for clips of any lengths.

    Args:
        model: A `ServingModel`.
        signature: As of `split_clips`.
        clips: Its clips, of one or of many requests.

    Returns:
        A dict of arrays for each clip, without a batch axis.
    """
    function = model.signatures[signature]
    if signature == "serving_bytes":
        outputs = _run_files(function, clips, model.sample_rate)
    elif signature == "features":
        outputs = function(features=tf.constant(np.stack(clips)))
    else:
        lengths = np.array([len(clip) for clip in clips], "int32")
        waveform = np.zeros((len(clips), lengths.max()), "float32")
        for row, clip in zip(waveform, clips, strict=True):
            row[: len(clip)] = clip
        outputs = function(
            waveform=tf.constant(waveform), lengths=tf.constant(lengths)
        )
    arrays = {key: value.numpy() for key, value in outputs.items()}
    return [
        {key: array[i] for key, array in arrays.items()}
        for i in range(len(clips))
    ]


def _run_files(function, files, sample_rate):
    try:
        return function(audio=tf.constant(files))
    except tf.errors.InvalidArgumentError:
        # No file can be used. Beside one that can, each says why not.
        good = io.BytesIO()
        noise = np.random.default_rng(0).integers(-99, 99, sample_rate // 10)
        soundfile.write(good, noise.astype("int16"), sample_rate, format="WAV")
        return function(audio=tf.constant([*files, good.getvalue()]))


def warm_up(model):
    """Replays the requests that `export_serving` wrote for this.

    Args:
        model: A `ServingModel`.
    """
    path = model.path / WARM_UP
    if not path.exists():
        return
    for record in tf.data.TFRecordDataset([str(path)]):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        function = model.signatures[request.model_spec.signature_name]
        function(
            **{
                name: tf.constant(tf.make_ndarray(tensor))
                for name, tensor in request.inputs.items()
            }
        )
