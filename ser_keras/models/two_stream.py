"""TwoStreamNet: two streams of features, each with a searched architecture."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import STREAMS
from ser_keras.genotype import TwoStreamGenotype
from ser_keras.layers.fusion import Fusion
from ser_keras.layers.information_supplement import zero_missing
from ser_keras.layers.stream_dropout import StreamDropout
from ser_keras.models.architecture import architecture_from_config
from ser_keras.models.architecture import architecture_to_config
from ser_keras.models.cell_network import CellNetwork
from ser_keras.models.drop_path_schedule import DropPathSchedule
from ser_keras.models.feature_input import as_features
from ser_keras.models.network import Network
from ser_keras.search_space import TwoStreamSearchSpace

# Arguments of `CellNetwork` that can differ between the encoders.
_ENCODER_OPTIONS = (
    "filters",
    "num_cells",
    "num_recurrent_cells",
    "recurrent_filters",
    "stem_strides",
    "frequency_pooling",
    "cell_dropout",
    "stack_dropout",
    "shared_stacks",
    "layer_mixture",
)


@serializable
class TwoStreamNet(Network):
    """Network of two streams: an encoder of cells for each, and a fusion.

    The streams are hand-crafted and deep features. Each encoder is a
    `CellNetwork` up to its pooling, with an architecture of its own: by
    default CNN and recurrent cells for the hand-crafted stream, recurrent
    cells alone for the deep one, whose channels have no order. The streams may
    have different frame rates; both must begin and end together.

    A stream is missing from a clip if it is zero throughout. It then has no
    influence on the prediction, whatever the fusion; a clip without any stream
    gets finite logits, the same for every such clip. Train with
    `stream_dropout` for a network that is to work with one stream. As in
    `CellNetwork`, padding is masked, and a prediction depends on its own clip
    only.

    Args:
        architecture: A `TwoStreamGenotype`, or a `TwoStreamSearchSpace` (the
            body of a `SuperNet`).
        input_shape: Dict of `"handcrafted"` and `"deep"`, each `(time,
            features, 1)`; time may be `None`.
        num_classes: Number of classes.
        handcrafted: Dict of arguments of `CellNetwork` for this stream's
            encoder: `filters`, `num_cells`, `num_recurrent_cells`,
            `recurrent_filters`, `stem_strides`, `frequency_pooling`,
            `cell_dropout`, `stack_dropout`, `shared_stacks` and
            `layer_mixture`.
        deep: The same for the deep stream; `num_cells` is 0 by default.
        fusion_units: Width of gates and queries in the fusion.
        stream_dropout: Probability that a stream of a clip is dropped in
            training.
        dropout: Dropout rate before the last layer.
        drop_path_rate: Probability of dropping an edge of a derived cell.
        masking: Whether to mask padding.
        **kwargs: `name`, `dtype` and `trainable`. All layers get the dtype
            policy; logits, the variables of batch norms and drop path rates
            are in full precision under each.

    Call arguments:
        inputs: Dict of `"handcrafted"`, `(batch, time, features, 1)`, and
            `"deep"`, `(batch, frames, channels, 1)`. One of them is enough:
            the other is then missing from every clip.
        mixing_weights: Dict `{kind: (edges, candidates)}`, in a search.
        training: Whether to apply dropout, and batch norms use the statistics
            of the batch.

    Output shape: logits, `(batch, num_classes)`, float32.

    Raises:
        ValueError: An argument is out of range, or inputs have no stream, or
            one of another shape or without a frame.

    Example:
    >>> from ser_keras.search_space import SearchSpace, TwoStreamSearchSpace
    >>> space = TwoStreamSearchSpace(
    ...     handcrafted=SearchSpace.emodarts("lstm", num_nodes=1),
    ...     deep=SearchSpace.emodarts("lstm", num_nodes=1, cnn=()),
    ... )
    >>> network = TwoStreamNet(
    ...     space.sample(seed=0),
    ...     {"handcrafted": (None, 24, 1), "deep": (None, 16, 1)},
    ...     num_classes=4,
    ...     handcrafted={"filters": 4, "num_cells": 3, "recurrent_filters": 8},
    ...     deep={"recurrent_filters": 8},
    ... )
    >>> clips = {"handcrafted": np.ones((2, 40, 24, 1), "float32"),
    ...          "deep": np.ones((2, 5, 16, 1), "float32")}
    >>> network(clips).shape
    TensorShape([2, 4])

    References:
        - EmotionNAS, arXiv 2203.13617, abstract: two streams, a searched
          structure each, and an exchange between them. Everything else here
          is ours.
    """

    def __init__(
        self,
        architecture: TwoStreamGenotype | TwoStreamSearchSpace,
        input_shape: Mapping[str, Sequence[int | None]],
        num_classes: int,
        handcrafted: Mapping[str, Any] | None = None,
        deep: Mapping[str, Any] | None = None,
        fusion_units: int = 32,
        stream_dropout: float = 0.0,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        masking: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(architecture, dict):
            architecture = architecture_from_config(architecture)
        if not isinstance(
            architecture, TwoStreamGenotype | TwoStreamSearchSpace
        ):
            raise ValueError(
                "`architecture` must be a TwoStreamGenotype or a "
                f"TwoStreamSearchSpace. Received: architecture={architecture!r}"
            )
        if not isinstance(input_shape, dict) or set(input_shape) != set(
            STREAMS
        ):
            raise ValueError(
                f"`input_shape` must be a dict with the keys {STREAMS}. "
                f"Received: input_shape={input_shape}"
            )
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(
                "`num_classes` must be a positive integer. Received: "
                f"num_classes={num_classes}"
            )
        self.architecture = architecture
        self.feature_shapes = {s: tuple(input_shape[s]) for s in STREAMS}
        self.num_classes = num_classes
        self.handcrafted = _encoder_options("handcrafted", handcrafted)
        self.deep = {"num_cells": 0, **_encoder_options("deep", deep)}
        self.fusion_units = fusion_units
        self.stream_dropout = stream_dropout
        self.dropout = dropout
        self.drop_path_rate = drop_path_rate
        self.masking = masking
        self.build(self.input_shape)

    @property
    def input_shape(self) -> dict[str, tuple[int | None, ...]]:
        return {s: (None, *shape) for s, shape in self.feature_shapes.items()}

    def build(self, input_shape: Any) -> None:
        searching = isinstance(self.architecture, TwoStreamSearchSpace)
        self.handcrafted_encoder = self._encoder("handcrafted")
        self.deep_encoder = self._encoder("deep")
        self.streams_present = StreamDropout(
            self.stream_dropout,
            dtype=self.dtype_policy,
            name="streams_present",
        )
        self.fusion = Fusion(
            self.architecture.fusions
            if searching
            else [self.architecture.fusion],
            self.num_classes,
            units=self.fusion_units,
            dropout=self.dropout,
            dtype=self.dtype_policy,
            name="fusion",
        )
        self.fusion.build(
            tuple((None, None, e.encoded_width) for e in self.encoders)
        )

    def _encoder(self, stream):
        return CellNetwork(
            getattr(self.architecture, stream),
            self.feature_shapes[stream],
            num_classes=None,
            drop_path_rate=self.drop_path_rate,
            masking=self.masking,
            dtype=self.dtype_policy,
            name=stream,
            **getattr(self, stream),
        )

    @property
    def encoders(self) -> tuple[CellNetwork, CellNetwork]:
        """Encoders of the hand-crafted and of the deep stream."""
        return self.handcrafted_encoder, self.deep_encoder

    @property
    def cells(self) -> list:
        """CNN cells of both streams."""
        return [cell for e in self.encoders for cell in e.cells]

    @property
    def recurrent_cells(self) -> list:
        """Recurrent cells of both streams."""
        return [cell for e in self.encoders for cell in e.recurrent_cells]

    def encode(
        self,
        inputs: Mapping[str, tf.Tensor],
        mixing_weights: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> Any:
        """The sequences of both streams before the fusion.

        Args:
            inputs: Dict of streams, as in a call.
            mixing_weights: Dict `{kind: (edges, candidates)}`, in a search.
            training: Whether to train.

        Returns:
            Three pairs: the sequences `(batch, frames, channels)`; their masks
            `(batch, frames)` or `None`; and `(batch,)`, 1 where a clip has the
            stream, else 0. A stream that is dropped in training is encoded
            nevertheless, so that batch statistics are those of real clips,
            and then treated as missing.
        """
        weights = mixing_weights or {}
        inputs = self._both_streams(inputs)
        present = self.streams_present(inputs, training=training)
        sequences, masks = [], []
        for i, stream in enumerate(STREAMS):
            own = {
                kind.removeprefix(f"{stream}_"): value
                for kind, value in weights.items()
                if kind.startswith(f"{stream}_")
            }
            sequence, mask, _ = self.encoders[i].encode(
                inputs[i], own, training
            )
            sequences.append(zero_missing(sequence, present[i]))
            masks.append(mask)
        return tuple(sequences), tuple(masks), present

    def _both_streams(self, inputs):
        """Tensors of both streams; one that is not given is zero: missing."""
        names = list(inputs) if isinstance(inputs, dict) else []
        found = {
            s: as_features(inputs[s], self.feature_shapes[s], s)
            for s in STREAMS
            if s in names
        }
        if not found:
            received = names if isinstance(inputs, dict) else inputs
            raise ValueError(
                f"`inputs` must be a dict of {STREAMS}, or of one of them. "
                f"Received: {received}"
            )
        given = next(iter(found.values()))
        for stream in STREAMS:
            time, *rest = self.feature_shapes[stream]
            shape = (tf.shape(given)[0], time or 1, *rest)
            if stream not in found:
                found[stream] = tf.zeros(shape, given.dtype)
        return tuple(found[s] for s in STREAMS)

    def call(
        self,
        inputs: Mapping[str, tf.Tensor],
        mixing_weights: Mapping[str, Any] | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        sequences, masks, present = self.encode(
            inputs, mixing_weights, training
        )
        fusion = (mixing_weights or {}).get("fusion")
        return self.fusion(
            sequences,
            masks=masks,
            present=present,
            weights=None if fusion is None else fusion[0],
            training=training,
        )

    def training_callbacks(self, epochs: int) -> list:
        return [DropPathSchedule(epochs)] if self.drop_path_rate else []

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "architecture": architecture_to_config(self.architecture),
            "input_shape": {
                stream: list(shape)
                for stream, shape in self.feature_shapes.items()
            },
            "num_classes": self.num_classes,
            "handcrafted": dict(self.handcrafted),
            "deep": dict(self.deep),
            "fusion_units": self.fusion_units,
            "stream_dropout": self.stream_dropout,
            "dropout": self.dropout,
            "drop_path_rate": self.drop_path_rate,
            "masking": self.masking,
        }


def _encoder_options(stream, options):
    options = dict(options or {})
    unknown = sorted(set(options) - set(_ENCODER_OPTIONS))
    if unknown:
        raise ValueError(
            f"`{stream}` must be a dict of {_ENCODER_OPTIONS}. Received: "
            f"{stream} with {unknown}"
        )
    return options
