"""What TensorFlow Serving reads beside a SavedModel."""

import io
import re

import numpy as np
import soundfile
import tensorflow as tf

from ser_keras._files import write_text

WARM_UP = "assets.extra/tf_serving_warmup_requests"
_OURS = "# Renewed by every export as long as this line is here."

BATCHING = """\
# For tensorflow_model_server --enable_batching --batching_parameters_file=...
# With batching, send WAV files (serving_bytes): clips of any lengths share a
# batch. Waveforms share one only with others of their length, because
# pad_variable_length_inputs is left off: padded by the server, a clip's answer
# would depend on whose clips it was batched with.
max_batch_size { value: 32 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
pad_variable_length_inputs: false
"""


def model_config(name, versions):
    """TensorFlow Serving's `model.config` of one model.

    The last two versions are served: `stable` is the older one of them,
    `canary` the newer. With one version, both are.

    Args:
        name: Of the model.
        versions: Version numbers, sorted.

    Returns:
        Text of a `ModelServerConfig`.
    """
    served = versions[-2:]
    specific = " ".join(f"versions: {version}" for version in served)
    return f"""\
{_OURS}
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {specific} }} }}
    version_labels {{ key: "stable" value: {served[0]} }}
    version_labels {{ key: "canary" value: {served[-1]} }}
  }}
}}
"""


def write_model_config(path, versions):
    """Writes `model.config` and `batching.config`, if they are not the user's.

    Args:
        path: The model's folder; its name is the model's.
        versions: Version numbers, sorted.
    """
    name = re.sub(r'["\\\n]', "_", path.resolve().name)
    target = path / "model.config"
    if not target.exists() or _OURS in target.read_text().splitlines():
        write_text(target, model_config(name, versions))
    if not (path / "batching.config").exists():
        write_text(path / "batching.config", BATCHING)


def write_warm_up(folder, name, sample_rate, **features):
    """Requests that TensorFlow Serving replays before a version is ready.

    Args:
        folder: A version's folder.
        name: Of the model.
        sample_rate: Hz, of a model that takes waveforms; otherwise None.
        **features: Of the signature's name, a dict from its inputs' names to
            arrays.
    """
    requests = [_request(name, key, **value) for key, value in features.items()]
    if sample_rate is not None:
        rng = np.random.default_rng(0)
        noise = rng.normal(0.0, 0.05, (2, 3 * sample_rate)).astype("float32")
        wav = io.BytesIO()
        soundfile.write(wav, noise[0], sample_rate, "PCM_16", format="WAV")
        lengths = np.array([3 * sample_rate, 2 * sample_rate], "int32")
        requests = [
            _request(name, "serving_default", waveform=noise[:1]),
            _request(name, "serving_lengths", waveform=noise, lengths=lengths),
            _request(name, "serving_bytes", audio=[wav.getvalue()]),
            _request(name, "serving_bytes", audio=[wav.getvalue()] * 8),
            *requests,
        ]
    target = folder / WARM_UP
    target.parent.mkdir()
    with tf.io.TFRecordWriter(str(target)) as writer:
        for request in requests:
            # PredictionLog.predict_log.request.
            writer.write(_field(6, _field(1, request)))


def _request(model, signature, **inputs):
    """Bytes of a `tensorflow.serving.PredictRequest`.

    By hand, so that an export does not need the package
    tensorflow-serving-api; a test reads them with it.
    """
    spec = _field(1, model.encode()) + _field(3, signature.encode())
    entries = [
        _field(1, key.encode())
        + _field(2, tf.make_tensor_proto(value).SerializeToString())
        for key, value in inputs.items()
    ]
    return _field(1, spec) + b"".join(_field(2, entry) for entry in entries)


def _field(number, payload):
    """A length-delimited field of protocol buffers' wire format."""
    return _varint(8 * number + 2) + _varint(len(payload)) + payload


def _varint(value):
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
