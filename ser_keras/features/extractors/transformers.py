"""TransformersExtractor: deep features of self-supervised speech encoders."""

import hashlib
import math
from typing import Any

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.base import check_sample_rate
from ser_keras.features.extractors.process import ProcessExtractor


class TransformersExtractor(ProcessExtractor):
    """Hidden states of wav2vec 2.0, HuBERT, WavLM or Whisper's encoder.

    Each clip runs alone, without padding; with Whisper in segments of 30 s, of
    which frames after the clip's end are dropped. The weights are frozen. It
    runs in a process of its own (see `ProcessExtractor`), where each utterance
    uses one core.

    Args:
        model: Folder of a saved model with its `preprocessor_config.json`, or
            a name on the Hugging Face hub, from which it is downloaded.
        layers: Number of the layer whose output is used; 0 is the input of the
            first layer, -1 the output of the last. Several layers are
            concatenated on the feature axis; `ser_keras.layers.LayerMixture`
            learns their weights.
        sample_rate: Expected sample rate of the model, Hz; None accepts any.
        device: Torch's name of the device, such as `"cuda"`.
        revision: Commit of a model on the hub. Stored features are identified
            by the content of the weights.

    Raises:
        ModuleNotFoundError: transformers or torch is not installed.
        FileNotFoundError: There is no such folder and no model of that name.
        ValueError: The model is not such an encoder, has another sample rate,
            or no such layer.

    References:
        Yang et al., "SUPERB: Speech processing Universal PERformance
        Benchmark", Interspeech 2021, section 2: frozen encoders, the weighted
        sum of all layers.
    """

    def __init__(
        self,
        model: str,
        layers: Any = -1,
        sample_rate: int | None = None,
        device: str = "cpu",
        revision: str | None = None,
    ):
        super().__init__(
            _Encoder,
            model=str(model),
            layers=layers,
            sample_rate=sample_rate,
            device=device,
            revision=revision,
        )


class _Encoder(Extractor):
    """The extractor itself, in a process without TensorFlow."""

    def __init__(self, model, layers, sample_rate, device, revision):
        transformers = _import()
        self.name = model
        self.device = device
        options = {"revision": revision} if revision else {}
        try:
            self._prepare = transformers.AutoFeatureExtractor.from_pretrained(
                self.name, **options
            )
            network = transformers.AutoModel.from_pretrained(
                self.name, **options
            )
        except OSError as error:
            raise FileNotFoundError(
                f"{self.name} must be a folder with a model of transformers "
                "and its preprocessor_config.json, or the name of a model on "
                f"the hub that can be downloaded: {error}"
            ) from error
        config = network.config
        self.sample_rate = self._prepare.sampling_rate
        check_sample_rate(
            self.name, self.sample_rate, sample_rate or self.sample_rate
        )
        self._whisper = config.model_type == "whisper"
        if self._whisper:
            network = network.get_encoder()
            # Its second convolution has stride 2.
            self._step = 2 * self._prepare.hop_length
        elif hasattr(config, "conv_stride"):
            self._step = math.prod(config.conv_stride)
        else:
            raise ValueError(
                f"{self.name} must be an encoder of waveforms with a "
                "`conv_stride` (wav2vec 2.0, HuBERT, WavLM and their like), or "
                f"Whisper. Received: model_type={config.model_type!r}"
            )
        self._shortest = 1
        for kernel, stride in zip(
            reversed(getattr(config, "conv_kernel", ())),
            reversed(getattr(config, "conv_stride", ())),
            strict=True,
        ):
            self._shortest = (self._shortest - 1) * stride + kernel
        self.frame_rate = self.sample_rate / self._step
        count = 1 + (
            config.encoder_layers if self._whisper else config.num_hidden_layers
        )
        layers = [layers] if isinstance(layers, int) else list(layers)
        if not layers or any(not -count <= x < count for x in layers):
            raise ValueError(
                f"`layers` must be from {-count} to {count - 1}, as "
                f"{self.name} has {count}. Received: layers={layers}"
            )
        self.layers = [x % count for x in layers]
        self.num_features = len(layers) * (
            config.d_model if self._whisper else config.hidden_size
        )
        # Features are float32, also of weights published in float16.
        network = network.float().to(device)
        self._network = network.eval().requires_grad_(False)

    def extract(self, waveform):
        if not self._whisper:
            samples = max(len(waveform), self._shortest)
            padded = np.pad(waveform, (0, samples - len(waveform)))
            return self._run(padded)
        size = self._prepare.n_samples
        parts = [waveform[i : i + size] for i in range(0, len(waveform), size)]
        frames = [-(-len(part) // self._step) for part in parts]
        return np.concatenate(
            [self._run(x)[:n] for x, n in zip(parts, frames, strict=True)]
        )

    def settings(self):
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(self._network.state_dict().items()):
            value = value.float().cpu().numpy()
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return {
            "extractor": "TransformersExtractor",
            "weights": digest.hexdigest(),
            "config": {
                "model": _architecture(self._network.config.to_dict()),
                "input": _architecture(self._prepare.to_dict()),
            },
            "layers": self.layers,
        }

    def _run(self, samples):
        import torch

        inputs = self._prepare(
            samples, sampling_rate=self.sample_rate, return_tensors="pt"
        )
        name = "input_features" if self._whisper else "input_values"
        # Torch has this mode for each thread.
        with torch.inference_mode():
            states = self._network(
                inputs[name].to(self.device), output_hidden_states=True
            ).hidden_states
        chosen = [states[x][0] for x in self.layers]
        return torch.cat(chosen, dim=-1).float().cpu().numpy()


def _import():
    with needs_extra("Running speech encoders of transformers", "transformers"):
        import torch
        import transformers
    # Utterances run in parallel, not the operators of one.
    torch.set_num_threads(1)
    # Float32 on every device: convolutions on a GPU use TensorFloat-32 by
    # default, and features would differ from those of a CPU.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return transformers


def _architecture(config):
    """A configuration without its origin and version."""
    return {
        key: value
        for key, value in config.items()
        if key not in ("_name_or_path", "transformers_version", "dtype")
    }
