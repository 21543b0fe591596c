"""EncoderStatistics: statistics over time of the layers of a speech encoder."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from ser_keras.audio.whisper_log_mel import WhisperLogMel
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.encoders.wav2vec2 import Wav2Vec2Encoder
from ser_keras.encoders.whisper import WhisperEncoder
from ser_keras.features.extractors.base import Extractor
from ser_keras.features.extractors.keras import model_digest

_LONGEST = 30  # Seconds that an encoder sees at once, as Whisper does.


class EncoderStatistics(Extractor):
    """Mean and standard deviation over time of each layer of a speech encoder.

    One row for each layer: row 0 is of what the first layer gets. Clips have
    their own length, without the silence up to 30 s that Whisper was trained
    with; longer ones are divided, and the statistics are of all parts (but of
    a last one of some milliseconds, which has no frame).

    Args:
        encoder: `SpeechEncoder`, or what `SpeechEncoder.from_pretrained` takes:
            a folder in the layout of Hugging Face, or a model's name on its
            hub.
        num_layers: Layers that are computed; None means all. Only of a folder
            or a name.
        revision: Commit, branch or tag of a model on the hub.

    Raises:
        FileNotFoundError: There is no such folder or model.
        ImportError: The extra `encoders` is not installed.
        ValueError: The folder has no encoder that this library reads, or
            fewer layers.

    >>> extractor = EncoderStatistics("tests/encoders/data/whisper")
    >>> extractor.extract(np.zeros(16000, "float32")).shape
    (3, 32)
    """

    frame_rate = None

    def __init__(
        self,
        encoder: SpeechEncoder | str | os.PathLike[str],
        num_layers: int | None = None,
        revision: str | None = None,
    ):
        if not isinstance(encoder, SpeechEncoder):
            encoder = SpeechEncoder.from_pretrained(
                encoder, num_layers, revision
            )
        self.encoder = encoder
        self.sample_rate = encoder.sample_rate
        self.num_features = 2 * encoder.units
        self._frontend = None
        self._longest = _LONGEST * self.sample_rate
        if isinstance(encoder, WhisperEncoder):
            self._frontend = WhisperLogMel(encoder.num_mel_bins)
            self._longest = 2 * encoder.max_frames * self._frontend.frame_step
            self.shortest = self._frontend.min_samples
        elif isinstance(encoder, Wav2Vec2Encoder):
            self.shortest = encoder.min_samples
        self._sums = tf.function(
            self._sums_of,
            input_signature=[tf.TensorSpec((1, None), tf.float32)],
        )

    def _sums_of(self, waveform):
        """Frames, their sum and sum of squares, `(layers, units)`."""
        x = waveform if self._frontend is None else self._frontend(waveform)
        states = tf.cast(tf.concat(self.encoder(x), axis=0), tf.float64)
        frames = tf.cast(tf.shape(states)[1], tf.float64)
        squares = tf.square(states)
        return frames, tf.reduce_sum(states, 1), tf.reduce_sum(squares, 1)

    def extract(self, waveform: np.ndarray) -> np.ndarray:
        parts = [
            waveform[start : start + self._longest]
            for start in range(0, len(waveform), self._longest)
        ]
        if len(parts) > 1 and len(parts[-1]) < self.shortest:
            parts.pop()
        found = [self._sums(part[None]) for part in parts]
        frames, sums, squares = (
            np.sum(x, axis=0) for x in zip(*found, strict=True)
        )
        mean = sums / frames
        deviation = np.sqrt(np.maximum(squares / frames - mean**2, 0.0))
        return np.concatenate([mean, deviation], axis=1).astype("float32")

    def settings(self) -> dict[str, Any]:
        return {
            "extractor": "EncoderStatistics",
            "encoder": model_digest(self.encoder),
            "version": 1,
        }
