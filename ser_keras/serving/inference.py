"""Running the signatures of a SavedModel on clips of requests."""

import io

import numpy as np
import soundfile
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from ser_keras.export.saved_model.serving_files import WARM_UP
from ser_keras.serving.rest import BadRequestError


def split_clips(signature, inputs):
    """Splits a request into clips, and selects the signature for them.

    Args:
        signature: Name of the requested signature.
        inputs: Its inputs, from `parse_predict`.

    Returns:
        `(signature, clips)`: files as bytes; waveforms `(samples,)`, for the
        signature with lengths; or dicts of features.

    Raises:
        BadRequestError: A length is out of range.
    """
    if "audio" in inputs:
        return signature, inputs["audio"]
    if "waveform" not in inputs:  # Features of one or two streams.
        rows = zip(*inputs.values(), strict=True)
        return signature, [dict(zip(inputs, row, strict=True)) for row in rows]
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
    """Runs a signature on clips of any lengths, in one batch.

    Args:
        model: A `SavedModel`.
        signature: As from `split_clips`.
        clips: Its clips, of one or several requests.

    Returns:
        List of one dict of arrays for each clip, without a batch axis.

    Raises:
        BadRequestError: The model refuses these clips.
    """
    try:
        outputs = _outputs(model, signature, clips)
    except tf.errors.InvalidArgumentError as error:
        reason = " ".join(error.message.split())[:500]
        raise BadRequestError(reason) from error
    arrays = {key: value.numpy() for key, value in outputs.items()}
    return [
        {key: array[i] for key, array in arrays.items()}
        for i in range(len(clips))
    ]


def _outputs(model, signature, clips):
    function = model.signatures[signature]
    if isinstance(clips[0], bytes):
        return _run_files(function, clips, model.sample_rate)
    if isinstance(clips[0], dict):
        columns = {key: [clip[key] for clip in clips] for key in clips[0]}
    else:
        lengths = np.array([len(clip) for clip in clips], "int32")
        waveform = np.zeros((len(clips), lengths.max()), "float32")
        for row, clip in zip(waveform, clips, strict=True):
            row[: len(clip)] = clip
        columns = {"waveform": waveform, "lengths": lengths}
    tensors = {key: tf.constant(column) for key, column in columns.items()}
    return function(**tensors)


def _run_files(function, files, sample_rate):
    try:
        return function(audio=tf.constant(files))
    except tf.errors.InvalidArgumentError:
        # No file can be used. In a batch with a good one, each has its error.
        good = io.BytesIO()
        noise = np.random.default_rng(0).integers(-99, 99, sample_rate)
        soundfile.write(good, noise.astype("int16"), sample_rate, format="WAV")
        return function(audio=tf.constant([*files, good.getvalue()]))


def warm_up(model):
    """Replays the requests that `export_saved_model` wrote for this.

    Args:
        model: A `SavedModel`.
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
