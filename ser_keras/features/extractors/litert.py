"""LiteRTExtractor: deep features of a LiteRT file."""

import json
import os
import struct
import threading
from typing import Any

import numpy as np

from ser_keras.features.extractors.base import WaveformNetwork
from ser_keras.features.extractors.base import check_file
from ser_keras.features.extractors.base import check_sample_rate
from ser_keras.features.extractors.base import content_hash
from ser_keras.features.extractors.litert_graph import Interpreter
from ser_keras.features.extractors.litert_graph import audio_sample_rate
from ser_keras.features.extractors.litert_graph import cut_at
from ser_keras.features.extractors.litert_graph import pack
from ser_keras.features.extractors.litert_graph import read_model


class LiteRTExtractor(WaveformNetwork):
    """Deep features of a LiteRT file that takes a waveform, such as YAMNet's.

    A file with a fixed input size runs window by window, one with a variable
    input size on whole clips; see `WaveformNetwork`. Quantized outputs are
    dequantized.

    Args:
        path: The `.tflite` file. Its only input is float32 `(samples,)` or
            `(1, samples)`.
        sample_rate: Of the file, Hz. It is compared with the file's metadata.
        hop: Seconds from frame to frame.
        output: Name of the tensor that becomes the features, which may be an
            inner one. None means the first output of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a LiteRT file, has another sample rate, its input
            is not a waveform, or it computes no tensor named `output`.

    Example:
        The 1024 features of YAMNet before its classifier, 2.08 frames a second:

        ```python
        LiteRTExtractor(
            "yamnet.tflite", output="tower0/network/layer28/reduce_mean"
        )
        ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int = 16000,
        hop: float = 0.48,
        output: str | os.PathLike[str] | None = None,
    ):
        self.path = check_file(path)
        self._file = content_hash(path)  # Before the file can change.
        self.output = output
        model = read_model(self.path)
        check_sample_rate(self.path, _rate_in(self.path, model), sample_rate)
        if output is not None:
            cut_at(model, output)
        self._content = pack(model)
        self._local = threading.local()
        interpreter = Interpreter(model_content=self._content)
        details = interpreter.get_input_details()
        shape = details[0]["shape_signature"].tolist()
        waveform = len(shape) == 1 or (len(shape) == 2 and shape[0] in (1, -1))
        if (
            len(details) != 1
            or details[0]["dtype"] is not np.float32
            or not waveform
        ):
            received = [(x["name"], x["shape_signature"]) for x in details]
            raise ValueError(
                f"{self.path} must have one input, a float32 waveform "
                f"`(samples,)` or `(1, samples)`. Received: {received}"
            )
        self._batch = [1] * (len(shape) - 1)
        window = shape[-1] if shape[-1] > 0 else None
        super().__init__(self.path, sample_rate, window, hop)

    def run(self, samples: np.ndarray) -> np.ndarray:
        interpreter = self._interpreter(len(samples))
        number = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(number, samples.reshape([*self._batch, -1]))
        interpreter.invoke()
        details = interpreter.get_output_details()[0]
        x = interpreter.get_tensor(details["index"])
        scale, zero = details["quantization"]
        if scale:
            x = (x.astype("float32") - zero) * scale
        return x

    def settings(self) -> dict[str, Any]:
        return {
            "extractor": "LiteRTExtractor",
            "file": self._file,
            "sample_rate": self.sample_rate,
            "hop": self.hop,
            "output": self.output,
        }

    def _interpreter(self, samples):
        """Interpreter of this thread, for this number of samples.

        An interpreter has one set of tensors, so threads cannot share it.
        """
        local = self._local
        if not hasattr(local, "interpreter"):
            local.interpreter = Interpreter(
                model_content=self._content, num_threads=1
            )
            local.samples = None
        if local.samples != samples:
            local.samples = None  # In case the new size is refused.
            number = local.interpreter.get_input_details()[0]["index"]
            if self.window is None:
                local.interpreter.resize_tensor_input(
                    number, [*self._batch, samples]
                )
            local.interpreter.allocate_tensors()
            local.samples = samples
        return local.interpreter


def _rate_in(path, model):
    """Sample rate in the metadata of a file, Hz, or None.

    In the metadata of `export_litert`, or the standard ones (TFLITE_METADATA).
    """
    contents = {
        entry.name: bytes(model.buffers[entry.buffer].data)
        for entry in model.metadata or []
        if model.buffers[entry.buffer].data is not None
    }
    try:
        if b"ser_keras" in contents:
            return json.loads(contents[b"ser_keras"]).get("sample_rate")
        return audio_sample_rate(contents.get(b"TFLITE_METADATA"))
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(
            f"{path} has damaged metadata, so that its sample rate cannot be "
            f"checked: {error}"
        ) from error
