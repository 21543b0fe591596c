"""ONNXExtractor: deep features of an ONNX file."""

import os
from typing import Any

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras.features.extractors.base import WaveformNetwork
from ser_keras.features.extractors.base import check_file
from ser_keras.features.extractors.base import check_sample_rate
from ser_keras.features.extractors.base import content_hash

# Otherwise results depend on the processor: kernels of uint8 by int8 saturate
# at 16 bits with AVX2 but without VNNI (sums were half of the right values); on
# Arm, float32 would become bfloat16 if the default changed.
_PRECISION = {
    "session.x64quantprecision": "1",
    "mlas.enable_gemm_fastmath_arm64_bfloat16": "0",
}


class ONNXExtractor(WaveformNetwork):
    """Deep features of an ONNX file that takes a waveform.

    A file with a fixed input size runs window by window, one with a variable
    input size on whole clips; see `WaveformNetwork`. It computes in the
    precision of the file on every processor, so that features of different
    machines agree.

    Args:
        path: The `.onnx` file. Its only input is float32 `(samples,)` or
            `(batch, samples)`.
        sample_rate: Of the file, Hz. It is compared with a `sample_rate` in
            the file's metadata.
        hop: Seconds from frame to frame.
        output: Name of the output that becomes the features. None means the
            first.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        FileNotFoundError: There is no such file.
        ValueError: It is not an ONNX file, has another sample rate, its input
            is not a waveform, or it has no output of that name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int = 16000,
        hop: float = 0.48,
        output: str | os.PathLike[str] | None = None,
    ):
        with needs_extra("Running ONNX files", "onnx"):
            import onnxruntime
        self.path = check_file(path)
        self._file = content_hash(path)  # Before the file can change.
        options = onnxruntime.SessionOptions()
        # Utterances run in parallel, not the operators of one.
        options.intra_op_num_threads = 1
        for name, value in _PRECISION.items():
            options.add_session_config_entry(name, value)
        options.log_severity_level = 4  # Errors are raised, not printed.
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # Its errors have no common base class.
            raise ValueError(
                f"{self.path} is not an ONNX file, or it is damaged: {error}"
            ) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        found = metadata.get("sample_rate")
        check_sample_rate(self.path, found and int(found), sample_rate)
        outputs = [x.name for x in self._session.get_outputs()]
        if output not in (None, *outputs):
            raise ValueError(
                f"`output` must be among those of {self.path}, {outputs}. "
                f"Received: output={output!r}"
            )
        self.output = output
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if (
            len(inputs) != 1
            or inputs[0].type != "tensor(float)"
            or len(shape) not in (1, 2)
        ):
            received = [(x.name, x.type, x.shape) for x in inputs]
            raise ValueError(
                f"{self.path} must have one input, a float32 waveform "
                f"`(samples,)` or `(batch, samples)`. Received: {received}"
            )
        self._input, self._rank = inputs[0].name, len(shape)
        self._outputs = [output or outputs[0]]
        window = shape[-1] if isinstance(shape[-1], int) else None
        super().__init__(self.path, sample_rate, window, hop)

    def run(self, samples: np.ndarray) -> np.ndarray:
        samples = np.reshape(samples, [1] * (self._rank - 1) + [-1])
        return self._session.run(self._outputs, {self._input: samples})[0]

    def settings(self) -> dict[str, Any]:
        return {
            "extractor": "ONNXExtractor",
            "file": self._file,
            "sample_rate": self.sample_rate,
            "hop": self.hop,
            "output": self.output,
        }
