"""WhisperEncoder: the encoder of OpenAI's Whisper."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ser_keras._registry import serializable
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.encoders.encoder import length_mask
from ser_keras.encoders.encoder import zero_padding
from ser_keras.encoders.pretrained import Weight
from ser_keras.encoders.pretrained import weights_of

_INPUT = {
    "sampling_rate": 16000,
    "hop_length": 160,
    "n_fft": 400,
}
_NAMES = {
    "attention.query_dense": "self_attn.q_proj",
    "attention.key_dense": "self_attn.k_proj",
    "attention.value_dense": "self_attn.v_proj",
    "attention.output_dense": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "intermediate": "fc1",
    "feed_forward": "fc2",
    "feed_forward_norm": "final_layer_norm",
}


@serializable
class WhisperEncoder(SpeechEncoder):
    """Encoder of Whisper, any size.

    Its inputs are those of `ser_keras.audio.WhisperLogMel`. Clips keep their
    lengths, where the published model pads each with silence to 30 s, at ten
    times the cost for one of 3 s. A clip's hidden states differ by that: they
    do not attend to silence that is not there. A clip longer than 30 s is
    encoded in parts of 30 s, each by itself.

    Args:
        num_layers: Layers of the transformer; 0 or more.
        units: Channels of the hidden states.
        num_heads: Attention heads.
        feed_forward_units: Width between the two linear layers of a layer.
        num_mel_bins: Size of the feature axis of the inputs.
        max_frames: Hidden states of the longest part: 1500 are 30 s.
        final_norm: Whether the last of the hidden states goes through the
            encoder's last layer normalisation.
        dropout: Dropout rate within the layers.
        **kwargs: `name`, `dtype` and `trainable`.

    Call arguments:
        inputs: `(batch, time, num_mel_bins)`, 100 frames per second.
        lengths: Frames of each clip of a padded batch, `(batch,)`. What
            follows is padding of any value. None: there is no padding.
        training: Whether to apply dropout.

    Output shape: list of `num_layers + 1` tensors `(batch, ceil(time / 2),
        units)`, 50 frames per second: what the first layer gets, then the
        output of each layer. Frames after a clip's end are zero.

    Raises:
        ValueError: An argument is out of range, or inputs have another shape
            or no frame.

    Example:
    >>> encoder = WhisperEncoder(2, 16, 2, 64)
    >>> states = encoder(np.zeros((1, 300, 80), "float32"))
    >>> len(states), states[-1].shape
    (3, TensorShape([1, 150, 16]))

    References:
        - Radford et al., "Robust speech recognition via large-scale weak
          supervision", arXiv 2212.04356, section 2.2.
    """

    model_types = ("whisper",)
    sample_rate = 16000
    frame_rate = 50.0

    def __init__(
        self,
        num_layers: int,
        units: int,
        num_heads: int,
        feed_forward_units: int,
        num_mel_bins: int = 80,
        max_frames: int = 1500,
        final_norm: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(
            num_layers,
            units,
            num_heads,
            feed_forward_units,
            final_norm,
            dropout,
            **kwargs,
        )
        self.num_mel_bins = num_mel_bins
        self.max_frames = max_frames
        self.build((None, None, num_mel_bins))

    def build(self, input_shape: Sequence[Any], **_: Any) -> None:
        channels = self.num_mel_bins
        self.convolutions = []
        for number, strides in ((1, 1), (2, 2)):
            convolution = keras.layers.Conv1D(
                self.units,
                3,
                strides,
                activation="gelu",
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            convolution.build((None, None, channels))
            self.convolutions.append(convolution)
            channels = self.units
        # Not trained, also not by a change of `trainable`.
        self.positions = self.add_weight(
            name="positions",
            shape=(self.max_frames, self.units),
            initializer=sinusoids,
            trainable=False,
        )
        self._build_layers(norm_first=True, key_bias=False)

    def num_frames(self, samples: Any) -> Any:
        return (samples + 1) // 2

    def call(
        self,
        inputs: Any,
        lengths: Any = None,
        training: bool | None = None,
    ) -> Any:
        self._check_inputs(inputs.shape)
        frames = self.num_frames(ops.shape(inputs)[1])
        return self._in_parts(
            lambda x, lengths: self._encode(x, lengths, training),
            inputs,
            lengths,
            2 * self.max_frames,
            frames,
        )

    def states_after(
        self,
        states: Any,
        layer: int,
        lengths: Any = None,
        training: bool | None = None,
    ) -> list[Any]:
        after = super().states_after
        return self._in_parts(
            lambda x, lengths: after(x, layer, lengths, training),
            states,
            lengths,
            self.max_frames,
            ops.shape(states)[1],
        )

    def _in_parts(self, encode, x, lengths, longest, frames):
        """Hidden states of clips, of longer ones part by part.

        Args:
            encode: `encode(x, lengths)`, hidden states of some clips.
            x: `(batch, time, features)`.
            lengths: Real steps of the time axis of each clip, or None.
            longest: Steps of a part.
            frames: Frames of the hidden states of all parts.
        """
        batch, time, _ = ops.shape(x)
        # A length that only the graph knows may need parts.
        if isinstance(time, int) and time <= longest:
            return encode(x, lengths)
        states = encode(*divide(x, lengths, longest))
        return [
            ops.reshape(x, (batch, -1, self.units))[:, :frames] for x in states
        ]

    def _encode(self, x, lengths, training):
        """Hidden states of clips of at most `max_frames`."""
        for convolution, strides in zip(self.convolutions, (1, 2), strict=True):
            # Zeros before and after the clip, as if it were alone.
            x = zero_padding(x, length_mask(lengths, ops.shape(x)[1]))
            x = convolution(ops.pad(x, ((0, 0), (1, 1), (0, 0))))
            if lengths is not None and strides == 2:
                lengths = self.num_frames(lengths)
        frames = ops.shape(x)[1]
        x = x + ops.cast(self.positions[:frames], x.dtype)
        return self._hidden_states(x, length_mask(lengths, frames), training)

    def _check_inputs(self, shape):
        time = shape[1] if len(shape) == 3 else None
        if len(shape) != 3 or shape[2] != self.num_mel_bins:
            raise ValueError(
                f"`inputs` must have shape (batch, time, {self.num_mel_bins}), "
                f"of WhisperLogMel(num_mel_bins={self.num_mel_bins}). "
                f"Received: shape {tuple(shape)}"
            )
        if time == 0:
            raise ValueError(
                "`inputs` must have at least one frame. Received: shape "
                f"{tuple(shape)}"
            )

    @classmethod
    def _arguments(cls, checkpoint):
        arguments = checkpoint.read(
            num_layers="encoder_layers",
            units="d_model",
            num_heads="encoder_attention_heads",
            feed_forward_units="encoder_ffn_dim",
            num_mel_bins="num_mel_bins",
            max_frames="max_source_positions",
        )
        checkpoint.expect(activation_function="gelu")
        wanted = {"feature_size": arguments["num_mel_bins"], **_INPUT}
        for name, value in wanted.items():
            received = (checkpoint.preprocessor or {}).get(name, value)
            if received != value:
                raise ValueError(
                    f"{checkpoint.model} must take the features of "
                    f"WhisperLogMel, {name}={value}. Received, in "
                    f"preprocessor_config.json: {name}={received}"
                )
        return arguments

    @classmethod
    def _prefixes(cls, config):
        return ("model.encoder.", "encoder.")

    def _layer_name(self, index):
        return f"layers.{index}"

    def _weights(self) -> Iterator[Weight]:
        for number, convolution in enumerate(self.convolutions, start=1):
            yield from weights_of(f"conv{number}", convolution)
        shape = tuple(self.positions.shape)
        yield Weight("embed_positions.weight", shape, self.positions.assign)
        yield from self._layer_weights(_NAMES)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_mel_bins": self.num_mel_bins,
            "max_frames": self.max_frames,
        }


def divide(x: Any, lengths: Any, longest: int) -> tuple[Any, Any]:
    """Divides the clips of a batch into parts, which are clips of a batch.

    Args:
        x: `(batch, time, features)`.
        lengths: Frames of each clip, `(batch,)`; None: all.
        longest: Frames of a part. A batch of shorter clips stays as it is.

    Returns:
        `(parts, lengths)`: `(batch * n, frames, features)`, the n parts of a
        clip one after the other, and the frames of each, which may be 0.

    >>> parts, lengths = divide(np.ones((1, 5, 2)), None, 3)
    >>> parts.shape, lengths.numpy().tolist()
    (TensorShape([2, 3, 2]), [3, 2])
    """
    batch, time, features = ops.shape(x)
    if lengths is None:
        lengths = ops.broadcast_to(time, (batch,))
    size = min(time, longest) if isinstance(time, int) else None
    if size is None:
        size = ops.minimum(time, longest)
    number = (time + size - 1) // size
    missing = ops.zeros((batch, number * size - time, features), x.dtype)
    parts = ops.reshape(
        ops.concatenate([x, missing], axis=1), (batch * number, size, features)
    )
    starts = size * ops.arange(number)
    lengths = ops.cast(ops.convert_to_tensor(lengths), "int32")
    lengths = ops.clip(
        ops.reshape(lengths, (-1, 1)) - ops.cast(starts, "int32"), 0, size
    )
    return parts, ops.reshape(lengths, (-1,))


def sinusoids(shape: Sequence[int], dtype: Any = None) -> Any:
    """Initializer of Whisper's positions: sines, then cosines.

    >>> [round(float(value), 3) for value in sinusoids((2, 4))[1]]
    [0.841, 0.0, 0.54, 1.0]
    """
    frames, units = shape
    half = units // 2
    rates = np.exp(-np.log(10000) / (half - 1) * np.arange(half))
    angles = np.arange(frames)[:, None] * rates
    table = np.hstack([np.sin(angles), np.cos(angles)])
    return ops.convert_to_tensor(table, dtype or "float32")
