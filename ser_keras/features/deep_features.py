"""DeepFeatures: the preprocessor of a stream of deep features."""

from __future__ import annotations

import functools
import math
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING
from typing import Any

import keras

from ser_keras._registry import serializable
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.features.extraction import extract_features
from ser_keras.features.extraction import missing_features
from ser_keras.features.extraction import read_feature_store
from ser_keras.features.extraction import read_store_facts
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.base import check_file
from ser_keras.features.extractors.keras import KerasExtractor
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Saved

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.manifest import Utterance

_UNTRAINED_HOP = 0.128  # Seconds; 8 frames of the front end.


@serializable
class DeepFeatures(Saved):
    """Features of a pre-trained network that runs before the model.

    Args:
        extractor: File of the network, `.tflite`, `.onnx` or `.keras`; or a
            folder that `extract_features` filled; or an `Extractor`, which
            cannot be loaded again from a saved configuration. Empty: a small
            untrained network, which shows that everything works and nothing
            else.
        output: Name of the tensor or layer that becomes the features.
        hop: Seconds from one frame to the next.
        sample_rate: Of the network, Hz.
        layers: Layers of a frozen encoder whose features lie one after the
            other in the store.
        duration: Seconds of a training clip.
        content: `settings()` of the extractor when the configuration was
            saved, which have a hash of its file; a file or store that has
            changed since is refused.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of no known kind, does not fit, or has changed.

    >>> DeepFeatures().num_features
    32
    """

    def __init__(
        self,
        extractor: Any = "",
        output: str | os.PathLike[str] = "",
        hop: float = 0.48,
        sample_rate: int = 16000,
        layers: int = 1,
        duration: float | None = None,
        content: str | None = None,
    ):
        given = isinstance(extractor, Extractor)
        self.path = ""
        if extractor and not given:
            # Absolute: a run may be read from another folder.
            self.path = str(pathlib.Path(extractor).resolve())
        self.output = output
        self.hop = hop
        self.layers = layers
        self.duration = duration
        self._sample_rate = sample_rate
        self.extractor = extractor if given else self._make_extractor()
        self._given = given
        self.content = self._content()
        if content is not None and content != self.content:
            raise ValueError(
                f"{self.path or 'The untrained network'} must be the extractor "
                f"that the network was trained with. It has changed: {content} "
                f"then, {self.content} now"
            )
        if self.num_features % layers:
            raise ValueError(
                "`layers` (`deep_layers`) must divide the features that are "
                f"there, which are {self.num_features} in all. Received: "
                f"layers={layers}"
            )

    def _make_extractor(self) -> Extractor | None:
        if not self.path:
            return KerasExtractor(untrained_network(), hop=_UNTRAINED_HOP)
        path = check_file(self.path)
        if path.is_dir():
            return None
        options: dict[str, Any] = {
            "sample_rate": self._sample_rate,
            "hop": self.hop,
        }
        output: Any = self.output or None
        # Each needs a runtime of its own.
        if path.suffix == ".tflite":
            from ser_keras.features.extractors.litert import LiteRTExtractor

            return LiteRTExtractor(path, output=output, **options)
        if path.suffix == ".onnx":
            from ser_keras.features.extractors.onnx import ONNXExtractor

            return ONNXExtractor(path, output=output, **options)
        if path.suffix == ".keras":
            return KerasExtractor(path, layer=output, **options)
        raise ValueError(
            "`deep_extractor` must be a .tflite, .onnx or .keras file, or a "
            f"folder that `extract_features` filled. Received: {path}"
        )

    def _content(self):
        if self.extractor is not None:
            return self.extractor.settings()
        facts = read_store_facts(self.path)
        if facts["duration"] is None:
            return facts["settings"]
        # Of longer clips the store has the middle only.
        return {**facts["settings"], "duration": facts["duration"]}

    @property
    def sample_rate(self) -> int:
        """Rate of the waveforms, Hz."""
        if self.extractor is None:
            return read_store_facts(self.path)["sample_rate"]
        return self.extractor.sample_rate

    @property
    def num_features(self) -> int:
        """Size of the feature axis."""
        if self.extractor is None:
            return read_store_facts(self.path)["num_features"]
        return self.extractor.num_features

    @property
    def frame_rate(self) -> float | None:
        """Frames per second; None if a clip has one frame only."""
        if self.extractor is None:
            return read_store_facts(self.path)["frame_rate"]
        return self.extractor.frame_rate

    @property
    def in_graph(self) -> bool:
        """Whether it can be part of an exported graph: a Keras model can."""
        return isinstance(self.extractor, KerasExtractor)

    def describe(self) -> str:
        """The features in a line, for people."""
        name = pathlib.Path(self.path).name or "an untrained network"
        if self._given:
            name = type(self.extractor).__name__
        return f"{self.num_features} features of {name}"

    def duration_frames(self) -> int | None:
        """Frames of a training clip; 1 of a summary of the whole clip."""
        if self.frame_rate is None:
            return 1
        if self.duration is None:
            return None
        return math.ceil(self.duration * self.frame_rate)

    def missing(
        self, manifest: Manifest, cache_dir: str | os.PathLike[str]
    ) -> list[Utterance]:
        """The utterances whose features are still to be extracted.

        Args:
            manifest: `Manifest`.
            cache_dir: Folder of the feature stores.
        """
        if self.extractor is None:
            return []
        return missing_features(manifest, self.extractor, cache_dir)

    def compute(
        self,
        manifest: Manifest,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        skip_bad_audio: bool = False,
    ) -> FeatureSet:
        """Extracts the features of every utterance once, or reads the store.

        Args:
            manifest: `Manifest`.
            cache_dir: Folder of the feature stores. None keeps none.
            skip_bad_audio: Whether utterances with bad audio are left out and
                listed in `skipped`. Otherwise they raise.

        Raises:
            AudioError: There is bad audio and it is not to be skipped.
            ValueError: The store is of another corpus, or is not complete.
        """
        if self.extractor is None:
            return read_feature_store(manifest, pathlib.Path(self.path))
        extract = functools.partial(
            extract_features,
            manifest,
            self.extractor,
            skip_bad_audio=skip_bad_audio,
        )
        if cache_dir is not None:
            return extract(cache_dir=cache_dir)
        with tempfile.TemporaryDirectory() as folder:
            return extract(cache_dir=folder)

    def get_config(self) -> dict[str, Any]:
        extractor = self.path
        if self._given:
            extractor = {"object": type(self.extractor).__name__}
        return {
            "extractor": extractor,
            "output": self.output,
            "hop": self.hop,
            "sample_rate": self._sample_rate,
            "layers": self.layers,
            "duration": self.duration,
            "content": self.content,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DeepFeatures:
        if isinstance(config["extractor"], dict):
            raise ValueError(
                "An extractor can be loaded again if it was given as a file or "
                "a folder. It was given as an object of class "
                f"{config['extractor']['object']}: make `DeepFeatures` of such "
                "an object"
            )
        return cls(**config)

    @property
    def hash(self) -> str:
        """Hash of what decides the features: the file's content, not place."""
        return self._hash({**self.get_config(), "extractor": None})


def untrained_network(filters: int = 32) -> keras.Model:
    """A fixed network of random weights, in place of a real extractor.

    Log-mel bands and one convolution over time: it needs no download, and is
    the same everywhere.

    >>> untrained_network().output_shape
    (None, None, 32)
    """
    # Names of its own: those that Keras counts up differ within a process, and
    # are in the hash of the network.
    waveform = keras.Input((None,), name="waveform")
    bands = LogMelSpectrogram(
        name="bands",
        sample_rate=16000,
        num_mel_bins=40,
        frame_length=1024,
        frame_step=256,
        fft_length=1024,
    )(waveform)
    bands = UtteranceNormalization(over="all", name="normalization")(bands)
    outputs = keras.layers.Conv1D(
        filters,
        name="frames",
        kernel_size=8,
        strides=8,
        padding="same",
        activation="tanh",
        kernel_initializer=keras.initializers.GlorotUniform(seed=0),
    )(bands)
    return keras.Model(waveform, outputs, name="untrained")
