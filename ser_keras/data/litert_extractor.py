"""Deep features from a LiteRT file."""

import json
import threading

import numpy as np

from ser_keras.data.deep_extractors import WaveformNetwork
from ser_keras.data.deep_extractors import check_file
from ser_keras.data.deep_extractors import check_sample_rate
from ser_keras.data.deep_extractors import content_hash
from ser_keras.data.litert_graph import Interpreter
from ser_keras.data.litert_graph import cut_at
from ser_keras.data.litert_graph import pack
from ser_keras.data.litert_graph import read_model


class LiteRTExtractor(WaveformNetwork):
    """Frames of a LiteRT file that takes a waveform, such as YAMNet's.

    A file with an input of fixed size runs window by window, one with an input
    of variable size on whole clips; see `WaveformNetwork`. Quantized outputs
    become real values.

    Args:
        path: The `.tflite` file. Its one input is float32 `(samples,)` or
            `(1, samples)`.
        sample_rate: Of the file, Hz.
        hop: Seconds from frame to frame.
        output: Name of the tensor that becomes the features, an inner one
            likewise. None means the file's first output.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no LiteRT file, or of another sample rate, its input
            is no waveform, or it computes no tensor named `output`.

    Example:
        The 1024 features of YAMNet before its classifier, at 2.08 Hz:

        ```python
        LiteRTExtractor(
            "yamnet.tflite", output="tower0/network/layer28/reduce_mean"
        )
        ```
    """

    def __init__(self, path, sample_rate=16000, hop=0.48, output=None):
        self.path = check_file(path)
        self.output = output
        model = read_model(self.path)
        check_sample_rate(self.path, _rate_in(model), sample_rate)
        if output is not None:
            cut_at(model, output)
        self._content = pack(model)
        self._interpreters = threading.local()
        details = self._interpreter().get_input_details()
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
        self._shape = [1] * (len(shape) - 1)
        window = shape[-1] if shape[-1] > 0 else None
        super().__init__(self.path, sample_rate, window, hop)

    def run(self, samples):
        interpreter = self._interpreter()
        details = interpreter.get_input_details()[0]
        shape = [*self._shape, len(samples)]
        if details["shape"].tolist() != shape:
            interpreter.resize_tensor_input(details["index"], shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(details["index"], samples.reshape(shape))
        interpreter.invoke()
        details = interpreter.get_output_details()[0]
        x = interpreter.get_tensor(details["index"])
        scale, zero = details["quantization"]
        if scale:
            x = (x.astype("float32") - zero) * scale
        return x

    def settings(self):
        return {
            "extractor": "LiteRTExtractor",
            "file": content_hash(self.path),
            "sample_rate": self.sample_rate,
            "hop": self.hop,
            "output": self.output,
        }

    def _interpreter(self):
        """This thread's: an interpreter has one set of tensors."""
        if not hasattr(self._interpreters, "mine"):
            try:
                mine = Interpreter(model_content=self._content, num_threads=1)
                mine.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise ValueError(
                    f"{self.path} is damaged, or needs operations that this "
                    f"runtime lacks: {error}"
                ) from error
            self._interpreters.mine = mine
        return self._interpreters.mine


def _rate_in(model):
    """Sample rate that `export_litert` wrote into the file, or None."""
    for entry in model.metadata or []:
        if entry.name == b"ser_keras":
            data = bytes(model.buffers[entry.buffer].data)
            return json.loads(data).get("sample_rate")
    return None
