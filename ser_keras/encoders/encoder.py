"""SpeechEncoder: what all pre-trained encoders have."""

from __future__ import annotations

import os
from typing import Any

import keras
from keras import ops

from ser_keras._keras_private import flatten_layers
from ser_keras.encoders.pretrained import Checkpoint
from ser_keras.encoders.pretrained import weights_of
from ser_keras.encoders.transformer import TransformerLayer


class SpeechEncoder(keras.Model):
    """Base of encoders: convolutions, then layers of a transformer.

    A call returns the hidden states of all layers, of which a program takes
    those that it needs: in a graph, others are not computed beyond what these
    need. A clip of a padded batch has the hidden states that it has alone.

    A subclass sets `model_types`, builds its convolutions, and implements
    `num_frames`, `call`, and the methods below that raise
    `NotImplementedError`.

    Args:
        num_layers: Layers of the transformer; 0 or more.
        units: Channels of the hidden states.
        num_heads: Attention heads.
        feed_forward_units: Width between the two linear layers of a layer.
        final_norm: Whether the last of the hidden states goes through the
            layer normalisation that follows the last layer where layers begin
            with one (`norm_first`).
        dropout: Dropout rate within the layers.
        **kwargs: `name`, `dtype` and `trainable`. All layers get the dtype
            policy.

    Attributes:
        model_types: The `model_type` of `config.json` that a class reads.
        sample_rate: Of the waveforms, Hz.
        frame_rate: Hidden states per second.

    Call arguments:
        inputs: Float tensor; see the subclass.
        lengths: Length of each clip of a padded batch, `(batch,)`, on the time
            axis of `inputs`. What follows is padding of any value. None: there
            is no padding.
        training: Whether to apply dropout.

    Output shape: list of `num_layers + 1` tensors `(batch, frames, units)`:
        what the first layer gets, then the output of each layer. Frames after
        a clip's end are zero.
    """

    model_types: tuple[str, ...] = ()
    sample_rate: int

    def __init__(
        self,
        num_layers: int,
        units: int,
        num_heads: int,
        feed_forward_units: int,
        final_norm: bool,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.units = units
        self.num_heads = num_heads
        self.feed_forward_units = feed_forward_units
        self.final_norm = final_norm
        self.dropout = dropout
        if not isinstance(num_layers, int) or num_layers < 0:
            raise ValueError(
                "`num_layers` must be an integer of at least 0. Received: "
                f"num_layers={num_layers!r}"
            )

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        num_layers: int | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Any:
        """Encoder with published weights.

        Reads `config.json` and `model.safetensors`, or its parts with their
        index; neither Torch nor transformers is needed. A model of the hub is
        downloaded once to the hub's cache, which `HF_HOME` and `HF_HUB_OFFLINE`
        are for. Decoders and classifiers of the file are left out.

        Args:
            model: Folder in the layout of Hugging Face, or a model's name on
                the hub, `owner/model`.
            num_layers: Stop after so many layers; the others are not read.
                None: all.
            revision: Commit, branch or tag of a model on the hub. A commit
                pins the weights.
            **options: Arguments of the encoder that replace those of the
                model, such as `dropout` or `dtype`. `final_norm` is true by
                default if all layers are kept and end with a normalisation.

        Returns:
            `WhisperEncoder` or `Wav2Vec2Encoder`; of a subclass: that one.

        Raises:
            FileNotFoundError: There is no such folder or model, or a file of
                it is missing.
            PermissionError: The model is gated and there is no token.
            ConnectionError: The hub cannot be reached.
            ImportError: The extra `encoders` is not installed.
            ValueError: The model is another one; a tensor is missing, unknown,
                or has another shape; weights are a pickle or broken; or there
                are fewer layers.

        >>> encoder = SpeechEncoder.from_pretrained(
        ...     "tests/encoders/data/whisper", num_layers=1)
        >>> type(encoder).__name__, encoder.num_layers
        ('WhisperEncoder', 1)
        """
        checkpoint = Checkpoint(model, revision)
        family = cls._family(checkpoint)
        arguments = family._arguments(checkpoint)
        total = arguments["num_layers"]
        if num_layers is None:
            num_layers = total
        if not 0 <= num_layers <= total:
            raise ValueError(
                f"`num_layers` must be from 0 to {total}, the layers of "
                f"{model}. Received: num_layers={num_layers}"
            )
        if num_layers < total:
            if options.get("final_norm"):
                raise ValueError(
                    f"`final_norm` is for the output of the last layer, {total}"
                    f", of {model}. Received: final_norm=True, "
                    f"num_layers={num_layers}"
                )
            arguments["final_norm"] = False
        encoder = family(**{**arguments, **options, "num_layers": num_layers})

        def unused(name):
            return (
                name in family._unused
                or any(
                    name.startswith(f"{encoder._layer_name(i)}.")
                    for i in range(num_layers, total)
                )
                or not encoder.final_norm
                and name.startswith(f"{encoder._final_norm_name}.")
            )

        prefixes = family._prefixes(checkpoint.config)
        checkpoint.load(list(encoder._weights()), prefixes, unused)
        return encoder

    @classmethod
    def _family(cls, checkpoint):
        """The class that reads a model: `cls` or a subclass of it."""
        from ser_keras import encoders

        known = {}
        for name in encoders.__all__:
            encoder = getattr(encoders, name)
            kinds = getattr(encoder, "model_types", ())
            known |= dict.fromkeys(kinds, encoder)
        kind = checkpoint.config.get("model_type")
        family = known.get(kind)
        if family is None or not issubclass(family, cls):
            fit = [name for name, x in known.items() if issubclass(x, cls)]
            hint = f" ({family.__name__} reads it.)" if family else ""
            raise ValueError(
                f"{checkpoint.model} must be of one of these kinds: "
                f"{', '.join(fit)}. Received, in its config.json: "
                f"model_type={kind!r}{hint}"
            )
        return family

    @classmethod
    def _arguments(cls, checkpoint):
        """Arguments of the constructor, of a model with all of its layers."""
        raise NotImplementedError

    @classmethod
    def _prefixes(cls, config):
        """Prefixes of the encoder's tensors, of which a file has one."""
        raise NotImplementedError

    #: Tensors of the encoder that nothing here needs.
    _unused: tuple[str, ...] = ()
    _final_norm_name = "layer_norm"

    def _layer_name(self, index):
        """Name of a layer of the transformer in files, from 0 on."""
        raise NotImplementedError

    def _weights(self):
        """Yields a `Weight` for each tensor that the encoder reads."""
        raise NotImplementedError

    def truncated(self, num_layers: int) -> Any:
        """The same encoder, with the same weights, of fewer layers.

        Args:
            num_layers: Layers of the transformer that are kept.

        Raises:
            ValueError: There are fewer.

        >>> from ser_keras.encoders import WhisperEncoder
        >>> WhisperEncoder(3, 16, 2, 64).truncated(1).num_layers
        1
        """
        if not 0 <= num_layers <= self.num_layers:
            raise ValueError(
                f"`num_layers` must be from 0 to {self.num_layers}. Received: "
                f"num_layers={num_layers}"
            )
        final_norm = self.final_norm and num_layers == self.num_layers
        layers = {"num_layers": num_layers, "final_norm": final_norm}
        copy = type(self).from_config({**self.get_config(), **layers})
        mine = {_inner_path(w): w for w in self.weights}
        for layer in flatten_layers(self):
            if getattr(layer, "lora_enabled", False):
                [kernel] = (w for w in layer.weights if w.name == "kernel")
                # The property is that weight and what LoRA adds to it.
                mine[_inner_path(kernel)] = layer.kernel
        for weight in copy.weights:
            weight.assign(mine[_inner_path(weight)])
        return copy

    def states_after(
        self,
        states: Any,
        layer: int,
        lengths: Any = None,
        training: bool | None = None,
    ) -> list[Any]:
        """Hidden states from a layer on, of that layer's hidden states.

        For fine-tuning of the last layers: what the layers before them make
        of a corpus is computed once.

        Args:
            states: Hidden states of the layer, `(batch, frames, units)`, as a
                call returns them.
            layer: Number of the layer; 0 is what the first layer gets.
            lengths: Frames of each clip of a padded batch, `(batch,)`, or
                None.
            training: Whether to apply dropout.

        Returns:
            List of `num_layers + 1 - layer` tensors, the first of which is
            `states`.

        >>> from ser_keras.encoders import WhisperEncoder
        >>> encoder = WhisperEncoder(3, 16, 2, 64)
        >>> len(encoder.states_after(np.ones((1, 50, 16)), layer=1))
        3
        """
        mask = length_mask(lengths, ops.shape(states)[1])
        bias = self._position_bias(states)
        return self._hidden_states(states, mask, training, bias, layer)

    def _position_bias(self, x):
        """Argument of the layers of the transformer; None without one."""
        return None

    def num_frames(self, samples: Any) -> Any:
        """Number of hidden states of clips of so many steps of the inputs.

        Args:
            samples: Length on the time axis of `inputs`: an int, an int array
                or tensor.

        Returns:
            The same type.
        """
        raise NotImplementedError

    def _build_layers(self, norm_first, **options):
        """Makes and builds the layers of the transformer."""
        self.transformer_layers = []
        for number in range(1, self.num_layers + 1):
            layer = TransformerLayer(
                self.num_heads,
                self.feed_forward_units,
                norm_first,
                dropout=self.dropout,
                dtype=self.dtype_policy,
                name=f"layer_{number}",
                **options,
            )
            layer.build((None, None, self.units))
            self.transformer_layers.append(layer)
        self.last_norm = None
        if self.final_norm:
            self.last_norm = self._norm("last_norm", self.units)

    def _norm(self, name, units, **options):
        """A layer normalisation, built."""
        norm = keras.layers.LayerNormalization(
            **{"epsilon": 1e-5, **options}, dtype=self.dtype_policy, name=name
        )
        norm.build((None, None, units))
        return norm

    def _hidden_states(self, x, mask, training, position_bias=None, first=0):
        """The list that a call returns.

        Args:
            x: What the first of the layers gets, `(batch, frames, units)`.
            mask: `(batch, frames)`, true on real frames, or None.
            training: Whether to apply dropout.
            position_bias: See `TransformerLayer`.
            first: Layers that are left out.
        """
        bias = None
        if mask is not None:
            # Large enough for a weight of 0, and finite in half precision.
            bias = ops.where(mask, 0.0, -3e4)[:, None, None, :]
            bias = ops.cast(bias, x.dtype)
        states = [x]
        for layer in self.transformer_layers[first:]:
            x = layer(
                x, bias=bias, position_bias=position_bias, training=training
            )
            states.append(x)
        if self.last_norm is not None and len(states) > 1:
            states[-1] = self.last_norm(x)
        return [zero_padding(x, mask) for x in states]

    def _layer_weights(self, names):
        """Weights of the layers, by their names here and in files."""
        for index, layer in enumerate(self.transformer_layers):
            for path, name in names.items():
                part = layer
                for attribute in path.split("."):
                    part = getattr(part, attribute)
                yield from weights_of(f"{self._layer_name(index)}.{name}", part)
        if self.last_norm is not None:
            yield from weights_of(self._final_norm_name, self.last_norm)

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_layers": self.num_layers,
            "units": self.units,
            "num_heads": self.num_heads,
            "feed_forward_units": self.feed_forward_units,
            "final_norm": self.final_norm,
            "dropout": self.dropout,
        }
        # `quantize` changes the policies of layers within this one, of which
        # a copy in a file has a map.
        quantized = {
            layer.path: layer.dtype_policy
            for layer in flatten_layers(self)
            if layer.quantization_mode is not None
        }
        policies = keras.dtype_policies.DTypePolicyMap
        if quantized and not isinstance(self.dtype_policy, policies):
            config["dtype"] = keras.dtype_policies.serialize(
                policies(self.dtype_policy, quantized)
            )
        return config


def _inner_path(weight):
    """Place of a weight within an encoder, whatever that is named."""
    return weight.path.partition("/")[2]


def length_mask(lengths: Any, frames: Any) -> Any:
    """Mask of real frames, `(batch, frames)`, or None without `lengths`.

    >>> length_mask(np.array([1, 2]), 2).numpy().tolist()
    [[True, False], [True, True]]
    """
    if lengths is None:
        return None
    lengths = ops.cast(ops.convert_to_tensor(lengths), "int32")
    return ops.arange(frames, dtype="int32") < ops.reshape(lengths, (-1, 1))


def zero_padding(x: Any, mask: Any) -> Any:
    """Zeros where the mask is false; padding may be NaN.

    Args:
        x: `(batch, time)` or `(batch, time, channels)`.
        mask: `(batch, time)`, or None, which changes nothing.
    """
    if mask is None:
        return x
    if len(x.shape) == 3:
        mask = mask[..., None]
    return ops.where(mask, x, ops.zeros((), x.dtype))
