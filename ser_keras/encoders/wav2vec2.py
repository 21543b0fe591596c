"""Wav2Vec2Encoder: wav2vec 2.0, HuBERT, WavLM and data2vec-audio."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ser_keras._registry import serializable
from ser_keras.encoders.convolutions import GroupedConvolution
from ser_keras.encoders.convolutions import TimeNormalization
from ser_keras.encoders.convolutions import masked_mean
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.encoders.encoder import length_mask
from ser_keras.encoders.encoder import zero_padding
from ser_keras.encoders.pretrained import Weight
from ser_keras.encoders.pretrained import weights_of
from ser_keras.encoders.transformer import RelativePositionBias

_NAMES = {
    "attention.query_dense": "attention.q_proj",
    "attention.key_dense": "attention.k_proj",
    "attention.value_dense": "attention.v_proj",
    "attention.output_dense": "attention.out_proj",
    "attention_norm": "layer_norm",
    "intermediate": "feed_forward.intermediate_dense",
    "feed_forward": "feed_forward.output_dense",
    "feed_forward_norm": "final_layer_norm",
}


@serializable
class Wav2Vec2Encoder(SpeechEncoder):
    """Encoder of wav2vec 2.0, HuBERT, WavLM or data2vec-audio, any size.

    They differ in a few arguments. Base models have `conv_norm="group"` and
    layers that end with a normalisation, large ones `conv_norm="layer"` and
    `norm_first`; WavLM has `position_buckets`, data2vec-audio `position_norm`.

    With `lengths`, a clip of a padded batch has the hidden states that it has
    alone. Base models were published without: they take a batch that is padded
    with zeros as it is, and so does this encoder without `lengths`; a clip's
    features then depend on the longest clip of its batch.

    Args:
        num_layers: Layers of the transformer; 0 or more.
        units: Channels of the hidden states.
        num_heads: Attention heads.
        feed_forward_units: Width between the two linear layers of a layer.
        conv_filters: Channels of the convolutions of the waveform.
        conv_kernels: Their kernels.
        conv_strides: Their strides.
        conv_bias: Whether they have a bias.
        conv_norm: `"group"`: the first is normalised over time; `"layer"`:
            each is normalised over its channels.
        projection_norm: Whether what goes into the transformer is normalised
            before its channels are made `units`.
        position_layers: Convolutions that encode positions.
        position_kernel: Frames of their kernels.
        position_groups: Groups of channels of these convolutions.
        position_norm: Whether each is normalised over its channels.
        position_buckets: Buckets of distances of WavLM's bias of attention
            scores; None: there is none.
        position_distance: Distance from which on all are in one bucket, frames.
        norm_first: Whether layers begin with their normalisation
            (`do_stable_layer_norm` of published configurations).
        final_norm: With `norm_first`, whether the last of the hidden states
            goes through the encoder's normalisation.
        normalize_waveform: Whether each clip is made of zero mean and unit
            variance first (`do_normalize`).
        sample_rate: Of the waveforms, Hz.
        dropout: Dropout rate within the layers.
        epsilon: Added to the variance by the transformer's normalisations.
        **kwargs: `name`, `dtype` and `trainable`.

    Call arguments:
        inputs: Waveforms, `(batch, samples)`, floats in [-1, 1].
        lengths: Samples of each clip of a padded batch, `(batch,)`. What
            follows is padding of any value. None: there is no padding.
        training: Whether to apply dropout.

    Output shape: list of `num_layers + 1` tensors `(batch, frames, units)`, 50
        frames per second at 16 kHz: what the first layer gets, then the output
        of each layer. Frames after a clip's end are zero.

    Raises:
        ValueError: An argument is out of range, or a clip is shorter than
            `min_samples`.

    Example:
    >>> encoder = Wav2Vec2Encoder(2, 16, 2, 64, conv_filters=[8] * 7)
    >>> states = encoder(np.zeros((1, 16000), "float32"))
    >>> len(states), states[-1].shape
    (3, TensorShape([1, 49, 16]))

    References:
        - Baevski et al., "wav2vec 2.0", arXiv 2006.11477, section 2.
        - Hsu et al., "HuBERT", arXiv 2106.07447, section III.
        - Chen et al., "WavLM", arXiv 2110.13900, section III.
        - Baevski et al., "data2vec", arXiv 2202.03555, section 4.2.
    """

    model_types = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
    # Of pre-training: what stands for frames that the model is to guess.
    _unused = ("masked_spec_embed",)
    _final_norm_name = "encoder.layer_norm"

    def __init__(
        self,
        num_layers: int,
        units: int,
        num_heads: int,
        feed_forward_units: int,
        conv_filters: Sequence[int] = (512,) * 7,
        conv_kernels: Sequence[int] = (10, 3, 3, 3, 3, 2, 2),
        conv_strides: Sequence[int] = (5, 2, 2, 2, 2, 2, 2),
        conv_bias: bool = False,
        conv_norm: str = "group",
        projection_norm: bool = True,
        position_layers: int = 1,
        position_kernel: int = 128,
        position_groups: int = 16,
        position_norm: bool = False,
        position_buckets: int | None = None,
        position_distance: int = 800,
        norm_first: bool = False,
        final_norm: bool = False,
        normalize_waveform: bool = True,
        sample_rate: int = 16000,
        dropout: float = 0.0,
        epsilon: float = 1e-5,
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
        self.conv_filters = list(conv_filters)
        self.conv_kernels = list(conv_kernels)
        self.conv_strides = list(conv_strides)
        self.conv_bias = conv_bias
        self.conv_norm = conv_norm
        self.projection_norm = projection_norm
        self.position_layers = position_layers
        self.position_kernel = position_kernel
        self.position_groups = position_groups
        self.position_norm = position_norm
        self.position_buckets = position_buckets
        self.position_distance = position_distance
        self.norm_first = norm_first
        self.normalize_waveform = normalize_waveform
        self.sample_rate = sample_rate
        self.epsilon = epsilon
        self._check_arguments()
        self.build((None, None))

    def build(self, input_shape: Sequence[Any], **_: Any) -> None:
        options = {"dtype": self.dtype_policy}
        channels = 1
        self.convolutions, self.convolution_norms = [], []
        for number, (filters, kernel, strides) in enumerate(
            self._convolutions(), start=1
        ):
            convolution = keras.layers.Conv1D(
                filters,
                kernel,
                strides,
                use_bias=self.conv_bias,
                name=f"convolution_{number}",
                **options,
            )
            convolution.build((None, None, channels))
            self.convolutions.append(convolution)
            channels = filters
            name = f"convolution_norm_{number}"
            if self.conv_norm == "layer":
                self.convolution_norms.append(self._norm(name, channels))
            elif number == 1:
                norm = TimeNormalization(name=name, **options)
                norm.build((None, None, channels))
                self.convolution_norms.append(norm)
        self.before_projection = None
        if self.projection_norm:
            self.before_projection = self._norm(
                "before_projection", channels, epsilon=self.epsilon
            )
        self.projection = keras.layers.Dense(
            self.units, name="projection", **options
        )
        self.projection.build((None, None, channels))
        self.positions, self.position_norms = [], []
        for number in range(1, self.position_layers + 1):
            position = GroupedConvolution(
                self.position_kernel,
                self.position_groups,
                name=f"position_{number}",
                **options,
            )
            position.build((None, None, self.units))
            self.positions.append(position)
            if self.position_norm:
                norm = self._norm(
                    f"position_norm_{number}",
                    self.units,
                    center=False,
                    scale=False,
                )
                self.position_norms.append(norm)
        self.position_bias = None
        if self.position_buckets and self.num_layers:
            self.position_bias = RelativePositionBias(
                self.position_buckets,
                self.num_heads,
                self.position_distance,
                name="position_bias",
                **options,
            )
            self.position_bias.build(())
        self.first_norm = None
        if not self.norm_first:
            self.first_norm = self._norm(
                "first_norm", self.units, epsilon=self.epsilon
            )
        self._build_layers(
            self.norm_first,
            gated=self.position_buckets is not None,
            epsilon=self.epsilon,
        )

    @property
    def frame_rate(self) -> float:
        """Hidden states per second."""
        return self.sample_rate / int(np.prod(self.conv_strides))

    @property
    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame, samples."""
        samples = 1
        for _, kernel, strides in reversed(self._convolutions()):
            samples = (samples - 1) * strides + kernel
        return samples

    def num_frames(self, samples: Any) -> Any:
        for _, kernel, strides in self._convolutions():
            samples = (samples - kernel) // strides + 1
        return samples

    def _convolutions(self):
        return list(
            zip(
                self.conv_filters,
                self.conv_kernels,
                self.conv_strides,
                strict=True,
            )
        )

    def call(
        self,
        inputs: Any,
        lengths: Any = None,
        training: bool | None = None,
    ) -> Any:
        self._check_inputs(inputs.shape)
        x = self._convolved(
            self._normalized(inputs, lengths)[..., None], lengths
        )
        if lengths is not None:
            lengths = self.num_frames(lengths)
        mask = length_mask(lengths, ops.shape(x)[1])
        if self.before_projection is not None:
            x = self.before_projection(x)
        x = zero_padding(self.projection(x), mask)
        x = x + self._encoded_positions(x, mask)
        if self.first_norm is not None:
            x = self.first_norm(x)
        return self._hidden_states(x, mask, training, self._position_bias(x))

    def _position_bias(self, x):
        return None if self.position_bias is None else self.position_bias(x)

    def _normalized(self, x, lengths):
        if not self.normalize_waveform:
            return x
        mask = length_mask(lengths, ops.shape(x)[1])
        dtype = x.dtype
        x = ops.cast(x, "float32")
        x = x - masked_mean(x, mask)
        x = x * ops.rsqrt(masked_mean(ops.square(x), mask) + 1e-7)
        return ops.cast(zero_padding(x, mask), dtype)

    def _convolved(self, x, lengths):
        """The convolutions; a real frame is of real samples only."""
        for index, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if self.conv_norm == "layer":
                x = self.convolution_norms[index](x)
            elif index == 0:
                if lengths is not None:
                    kernel, strides = self.conv_kernels[0], self.conv_strides[0]
                    lengths = (lengths - kernel) // strides + 1
                mask = length_mask(lengths, ops.shape(x)[1])
                x = self.convolution_norms[0](x, mask=mask)
            x = ops.gelu(x, approximate=False)
        return x

    def _encoded_positions(self, x, mask):
        for index, position in enumerate(self.positions):
            # Zeros after the clip, as if it were alone.
            x = position(zero_padding(x, mask))
            if self.position_norm:
                x = self.position_norms[index](x)
            x = ops.gelu(x, approximate=False)
        return x

    def _check_inputs(self, shape):
        if len(shape) != 2:
            raise ValueError(
                "`inputs` must be waveforms of shape (batch, samples). "
                f"Received: shape {tuple(shape)}"
            )
        if shape[1] is not None and shape[1] < self.min_samples:
            raise ValueError(
                f"`inputs` must have at least {self.min_samples} samples; pad "
                f"shorter clips. Received: {shape[1]} samples"
            )

    def _check_arguments(self):
        lists = (self.conv_filters, self.conv_kernels, self.conv_strides)
        if not self.conv_filters or len({len(x) for x in lists}) != 1:
            raise ValueError(
                "`conv_filters`, `conv_kernels` and `conv_strides` must be of "
                "the same length, at least 1. Received: conv_filters="
                f"{self.conv_filters}, conv_kernels={self.conv_kernels}, "
                f"conv_strides={self.conv_strides}"
            )
        if self.conv_norm not in ("group", "layer"):
            raise ValueError(
                "`conv_norm` must be 'group' or 'layer'. Received: "
                f"conv_norm={self.conv_norm!r}"
            )
        if self.final_norm and not self.norm_first:
            raise ValueError(
                "`final_norm` needs `norm_first`: otherwise each layer ends "
                "with a normalisation. Received: final_norm=True, "
                "norm_first=False"
            )

    @classmethod
    def _arguments(cls, checkpoint):
        config = checkpoint.config
        kind = config["model_type"]
        checkpoint.expect(
            hidden_act="gelu",
            feat_extract_activation="gelu",
            conv_pos_batch_norm=False,
        )
        arguments = checkpoint.read(
            num_layers="num_hidden_layers",
            units="hidden_size",
            num_heads="num_attention_heads",
            feed_forward_units="intermediate_size",
            position_groups="num_conv_pos_embedding_groups",
        )
        for argument, name in (
            ("conv_filters", "conv_dim"),
            ("conv_kernels", "conv_kernel"),
            ("conv_strides", "conv_stride"),
            ("conv_bias", "conv_bias"),
            ("conv_norm", "feat_extract_norm"),
            ("norm_first", "do_stable_layer_norm"),
            ("projection_norm", "feat_proj_layer_norm"),
            ("epsilon", "layer_norm_eps"),
        ):
            if name in config:
                arguments[argument] = config[name]
        if kind == "wavlm":
            arguments |= checkpoint.read(
                position_buckets="num_buckets",
                position_distance="max_bucket_distance",
            )
        if kind == "data2vec-audio":
            arguments |= checkpoint.read(
                position_layers="num_conv_pos_embeddings",
                position_kernel="conv_pos_kernel_size",
            )
            arguments |= {"conv_norm": "layer", "position_norm": True}
        else:
            arguments |= checkpoint.read(
                position_kernel="num_conv_pos_embeddings"
            )
        preprocessor = checkpoint.preprocessor or {}
        return {
            **arguments,
            "final_norm": arguments.get("norm_first", False),
            "normalize_waveform": preprocessor.get("do_normalize", True),
            "sample_rate": preprocessor.get("sampling_rate", 16000),
        }

    @classmethod
    def _prefixes(cls, config):
        # A model without a head has no prefix.
        return (f"{config['model_type'].replace('-', '_')}.", "")

    def _layer_name(self, index):
        return f"encoder.layers.{index}"

    def _weights(self) -> Iterator[Weight]:
        for index, convolution in enumerate(self.convolutions):
            name = f"feature_extractor.conv_layers.{index}"
            yield from weights_of(f"{name}.conv", convolution)
            if index < len(self.convolution_norms):
                norm = self.convolution_norms[index]
                yield from weights_of(f"{name}.layer_norm", norm)
        if self.before_projection is not None:
            yield from weights_of(
                "feature_projection.layer_norm", self.before_projection
            )
        yield from weights_of("feature_projection.projection", self.projection)
        for index, position in enumerate(self.positions):
            name = "encoder.pos_conv_embed"
            if self.position_norm:
                name = f"{name}.layers.{index}"
            yield from _group_weights(f"{name}.conv", position)
        if self.first_norm is not None:
            yield from weights_of(self._final_norm_name, self.first_norm)
        if self.position_bias is not None:
            yield from weights_of(
                f"{self._layer_name(0)}.attention.rel_attn_embed",
                self.position_bias.embedding,
            )
            for index, layer in enumerate(self.transformer_layers):
                name = f"{self._layer_name(index)}.attention"
                yield from _gate_weights(name, layer.attention)
        yield from self._layer_weights(_NAMES)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "conv_filters": self.conv_filters,
            "conv_kernels": self.conv_kernels,
            "conv_strides": self.conv_strides,
            "conv_bias": self.conv_bias,
            "conv_norm": self.conv_norm,
            "projection_norm": self.projection_norm,
            "position_layers": self.position_layers,
            "position_kernel": self.position_kernel,
            "position_groups": self.position_groups,
            "position_norm": self.position_norm,
            "position_buckets": self.position_buckets,
            "position_distance": self.position_distance,
            "norm_first": self.norm_first,
            "normalize_waveform": self.normalize_waveform,
            "sample_rate": self.sample_rate,
            "epsilon": self.epsilon,
        }


def _group_weights(name, layer):
    """Weights of a `GroupedConvolution`: in files, groups are one tensor."""
    kernels = [x.kernel for x in layer.convolutions]
    biases = [x.bias for x in layer.convolutions]
    time, inputs, outputs = kernels[0].shape
    outputs *= layer.groups

    def assign(variables, x):
        parts = np.split(x, layer.groups, axis=-1)
        for variable, part in zip(variables, parts, strict=True):
            variable.assign(part)

    yield Weight(
        f"{name}.weight",
        (outputs, inputs, time),
        lambda x: assign(kernels, x.T),
    )
    yield Weight(f"{name}.bias", (outputs,), lambda x: assign(biases, x))


def _gate_weights(name, layer):
    """Weights of the gate of `SelfAttention`, of which files have the terms."""
    size, heads = layer.gate.kernel.shape[0], layer.num_heads
    gate = layer.gate

    def summed(x):
        return x.reshape((2, 4, *x.shape[1:])).sum(1)

    yield Weight(
        f"{name}.gru_rel_pos_linear.weight",
        (8, size),
        lambda x: gate.kernel.assign(summed(x).T),
    )
    yield Weight(
        f"{name}.gru_rel_pos_linear.bias",
        (8,),
        lambda x: gate.bias.assign(summed(x)),
    )
    yield Weight(
        f"{name}.gru_rel_pos_const",
        (1, heads, 1, 1),
        lambda x: layer.gate_scale.assign(x.reshape(-1)),
    )
