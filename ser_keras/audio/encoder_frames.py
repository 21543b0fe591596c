"""Hidden states of a speech encoder as features: frames, or statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.audio.front_end import FrontEnd
from ser_keras.audio.front_end import FrontEndWrapper
from ser_keras.audio.whisper_log_mel import WhisperLogMel
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.encoders.whisper import WhisperEncoder

_TINY = 1e-20  # No denormal, whose arithmetic is slow.


@serializable
class Waveform(FrontEnd):
    """The waveform itself, each sample a frame, for encoders that take it.

    Samples of zero become tiny ones: frames of zeros at a clip's end would be
    taken for padding, and a recording may end with digital silence.

    Args:
        sample_rate: Hz.
        shortest: Samples of the shortest clip that an encoder takes.
        **kwargs: Arguments of `FrontEnd`.

    Call arguments:
        waveform: Float tensor, in [-1, 1].
        lengths: Samples of each clip of a padded batch; changes nothing.

    Input shape:
        `(batch, samples)` or `(samples,)`.

    Output shape:
        `(batch, samples, 1)` or `(samples, 1)`.

    >>> Waveform()(np.ones((2, 800), "float32")).shape
    TensorShape([2, 800, 1])
    """

    frame_step = 1
    num_features = 1

    def __init__(
        self, sample_rate: int = 16000, shortest: int = 1, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.sample_rate = sample_rate
        self.shortest = self.frame_length = shortest

    def num_frames(self, samples: Any) -> Any:
        """Number of frames of clips of so many samples: as many."""
        return samples

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        return tf.where(waveform == 0, _TINY, waveform)[..., None]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "shortest": self.shortest,
        }


def front_end_of(encoder: SpeechEncoder) -> FrontEnd:
    """The front end that makes an encoder's inputs of waveforms.

    >>> front_end_of(WhisperEncoder(1, 16, 2, 64)).num_features
    80
    """
    if isinstance(encoder, WhisperEncoder):
        return WhisperLogMel(encoder.num_mel_bins)
    shortest = getattr(encoder, "min_samples", 1)
    return Waveform(encoder.sample_rate, shortest)


@serializable
class EncoderFrames(FrontEndWrapper):
    """Hidden states of layers of a speech encoder, frame by frame.

    The layers lie one after the other on the feature axis, as `LayerMixture`
    and `CellNetwork(layer_mixture=...)` take them. In a `Preprocessor` they
    are computed once for a corpus, in batches of clips of similar length, and
    kept in its cache; layers after the last one that is asked for are not
    computed.

    Args:
        encoder: `SpeechEncoder`, frozen here.
        layers: Numbers of the layers: 0 is what the first layer gets. None:
            all.
        frontend: The front end around which this is; default the encoder's
            own, see `front_end_of`.
        **kwargs: Arguments of `FrontEnd`.

    Call arguments:
        waveform: Float tensor, in [-1, 1].
        lengths: Samples of each clip of a padded batch, `(batch,)`.

    Input shape:
        `(batch, samples)`.

    Output shape:
        `(batch, frames, layers * units)`. Frames after a clip's end are zero.

    Raises:
        ValueError: The encoder has no such layer.

    >>> encoder = WhisperEncoder(2, 16, 2, 64)
    >>> EncoderFrames(encoder, (1, 2))(np.ones((1, 16000), "float32")).shape
    TensorShape([1, 50, 32])
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        layers: Sequence[int] | None = None,
        frontend: FrontEnd | None = None,
        **kwargs: Any,
    ):
        super().__init__(frontend or front_end_of(encoder), **kwargs)
        self.encoder = encoder
        self.layers = check_layers(layers, encoder)

    @property
    def frame_step(self) -> int:
        """Distance between frames, samples."""
        rate = self.encoder.frame_rate
        return round(self.frontend.sample_rate / rate)

    @property
    def num_features(self) -> int:
        """Size of the last axis of the output."""
        return len(self.layers) * self.encoder.units

    @property
    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame, samples."""
        return self.frontend.min_samples

    def num_frames(self, samples: Any) -> Any:
        return self.encoder.num_frames(self.frontend.num_frames(samples))

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        x = self.frontend(waveform, lengths=lengths)
        if lengths is not None:
            lengths = self.frontend.num_frames(lengths)
        return hidden_states(self.encoder, x, self.layers, lengths)

    def compute_output_shape(
        self,
        waveform_shape: Sequence[Any],
        lengths_shape: Sequence[Any] | None = None,
    ) -> Any:
        return FrontEnd.compute_output_shape(self, waveform_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "layers": list(self.layers),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EncoderFrames:
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        return super().from_config({**config, "encoder": encoder})


@serializable
class EncoderStatistics(EncoderFrames):
    """Mean and standard deviation over time of layers of a speech encoder.

    One row for each layer, of the means followed by the deviations of its
    units. Otherwise as `EncoderFrames`.

    Args:
        encoder: `SpeechEncoder`, frozen here.
        layers: Numbers of the layers: 0 is what the first layer gets. None:
            all.
        frontend: The front end around which this is; default the encoder's
            own, see `front_end_of`.
        **kwargs: Arguments of `FrontEnd`.

    Call arguments:
        waveform: Float tensor, in [-1, 1].
        lengths: Samples of each clip of a padded batch, `(batch,)`.

    Input shape:
        `(batch, samples)`.

    Output shape:
        `(batch, layers, 2 * units)`.

    Raises:
        ValueError: The encoder has no such layer.

    >>> encoder = WhisperEncoder(2, 16, 2, 64)
    >>> EncoderStatistics(encoder)(np.ones((1, 16000), "float32")).shape
    TensorShape([1, 3, 32])
    """

    @property
    def num_features(self) -> int:
        """Size of the last axis of the output."""
        return 2 * self.encoder.units

    @property
    def frame_rate(self) -> None:
        """None: rows are layers, and no frames."""
        return

    def num_frames(self, samples: Any) -> Any:
        """Number of rows, one a layer."""
        return 0 * samples + len(self.layers)

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        frames = super().call(waveform, lengths)
        if lengths is not None:
            lengths = super().num_frames(lengths)
        return layer_statistics(frames, len(self.layers), lengths)


def hidden_states(
    encoder: SpeechEncoder,
    features: tf.Tensor,
    layers: Sequence[int],
    lengths: tf.Tensor | None = None,
    training: bool | None = None,
    first: int | None = None,
) -> tf.Tensor:
    """Hidden states of some layers, of the features of `front_end_of`.

    Args:
        encoder: `SpeechEncoder`.
        features: `(batch, time, features)`.
        layers: Numbers of the layers.
        lengths: Frames of each clip of a padded batch, `(batch,)`, or None.
        training: Whether to apply dropout.
        first: Number of the layer whose hidden states `features` are. None:
            they are features.

    Returns:
        Float32, `(batch, frames, layers * units)`.
    """
    if first is not None:
        states = encoder.states_after(features, first, lengths, training)
    else:
        if not isinstance(encoder, WhisperEncoder):
            features = features[..., 0]
        states = encoder(features, lengths=lengths, training=training)
    states = tf.concat([states[layer - (first or 0)] for layer in layers], -1)
    return tf.cast(states, "float32")


def layer_statistics(
    frames: tf.Tensor, num_layers: int, lengths: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean and standard deviation over time of the units of each layer.

    Args:
        frames: `(batch, frames, layers * units)`; padding is zero.
        num_layers: Number of layers.
        lengths: Frames of each clip of a padded batch, `(batch,)`, or None.

    Returns:
        `(batch, layers, 2 * units)`.

    >>> frames = tf.constant([[[1.0, 5.0], [3.0, 5.0], [0.0, 0.0]]])
    >>> layer_statistics(frames, 2, tf.constant([2])).numpy().round(3).tolist()
    [[[2.0, 1.0], [5.0, 0.0]]]
    """
    if lengths is None:
        mean = tf.reduce_mean(frames, 1, keepdims=True)
        variance = tf.reduce_mean(tf.square(frames - mean), 1)
    else:
        number = tf.cast(lengths, frames.dtype)[:, None]
        mean = tf.reduce_sum(frames, 1, keepdims=True) / number[..., None]
        real = tf.sequence_mask(lengths, tf.shape(frames)[1], frames.dtype)
        # Not E[x^2] - E[x]^2: some units have a mean of many deviations.
        difference = (frames - mean) * real[..., None]
        variance = tf.reduce_sum(tf.square(difference), 1) / number
    # The floor keeps the root's gradient finite.
    deviation = tf.sqrt(tf.maximum(variance, 1e-12))
    shape = (-1, num_layers, frames.shape[-1] // num_layers)
    both = [tf.reshape(x, shape) for x in (mean, deviation)]
    return tf.concat(both, -1)


def check_layers(
    layers: Sequence[int] | None, encoder: SpeechEncoder
) -> tuple[int, ...]:
    """Numbers of layers of an encoder, all by default.

    Raises:
        ValueError: The encoder has no such layer, or one is there twice.
    """
    last = encoder.num_layers
    if layers is None:
        return tuple(range(last + 1))
    layers = tuple(layers)
    known = all(isinstance(x, int) and 0 <= x <= last for x in layers)
    if not layers or not known or len(set(layers)) < len(layers):
        raise ValueError(
            f"`layers` must be different numbers from 0 to {last}, the layers "
            f"of the encoder. Received: layers={layers}"
        )
    return layers
