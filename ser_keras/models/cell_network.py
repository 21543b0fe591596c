"""CellNetwork: the network of cells, searched or derived."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import Genotype
from ser_keras.layers.attention_pooling import AttentionPooling
from ser_keras.layers.attention_pooling import MeanPooling
from ser_keras.layers.attention_pooling import mean_over_frames
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.cell import Cell
from ser_keras.layers.factorized_reduce import FactorizedReduce
from ser_keras.layers.layer_mixture import LayerMixture
from ser_keras.layers.masking import frame_mask
from ser_keras.layers.masking import strided_mask
from ser_keras.layers.masking import zero_padding
from ser_keras.layers.relu_conv_norm import ReLUConvNorm
from ser_keras.layers.sequence_projection import SequenceProjection
from ser_keras.models.architecture import architecture_from_config
from ser_keras.models.architecture import architecture_to_config
from ser_keras.models.drop_path_schedule import DropPathSchedule
from ser_keras.models.feature_input import as_features
from ser_keras.models.network import Network
from ser_keras.search_space import SearchSpace


@serializable
class CellNetwork(Network):
    """emoDARTS' network: CNN cells, then recurrent cells over time.

    It consists of a stem, `num_cells` CNN cells (those after one and two
    thirds are reduction cells), a reduction of the frequency axis,
    `num_recurrent_cells` recurrent cells on `(batch, time, channels)`, pooling
    over time and a dense layer. A clip's padding (frames at its end that are
    exactly zero) is masked throughout, so that a prediction depends neither on
    the other clips of its batch nor on the amount of padding.

    Args:
        architecture: A `Genotype` (a network to train and use), or a
            `SearchSpace` (the body of a `SuperNet`: all candidates at once).
        input_shape: `(time, features, 1)`; time may be `None`.
        num_classes: Number of classes; or `None` for an encoder, whose output
            is the sequence before pooling.
        filters: Channels of the first cell; doubled by each reduction.
        num_cells: Number of CNN cells.
        num_recurrent_cells: Number of recurrent cells.
        recurrent_filters: Channels of the recurrent cells.
        stem_strides: Strides of the stem over time and frequency: 1, as
            published, or 2, which makes everything after it four times
            cheaper.
        frequency_pooling: How the frequency axis is reduced: `"mean"`, or
            `"projection"`, a dense layer over frequency and channels.
        pooling: How the time axis is reduced: `"attention"` or `"mean"`.
        dropout: Dropout rate before the last layer.
        cell_dropout: Dropout rate after every CNN cell.
        stack_dropout: Dropout rate between the layers of bidirectional stacks
            (`"lstm_att_2"`, `"rnn_att_2"`) in recurrent cells.
        drop_path_rate: Probability of dropping an edge of a derived cell.
        auxiliary_weight: Weight of the loss of an auxiliary classifier after
            two thirds of the CNN cells, used in training only; 0 for none.
        shared_stacks: Whether stacks of one family on one recurrent edge
            share their first layers: four LSTM layers instead of ten.
        masking: Whether to mask padding. Without it all frames are real.
        layer_mixture: Number of layers of a frozen encoder that are
            concatenated in the features; if greater than 1, a `LayerMixture`
            computes their weighted sum.
        **kwargs: `name`, `dtype` and `trainable`. All layers get the dtype
            policy; logits, the variables of batch norms and drop path rates
            are in full precision under each.

    Call arguments:
        inputs: `(batch, time, features, 1)`.
        mixing_weights: Dict `{kind: (edges, candidates)}`, in a search.
        training: Whether to apply dropout, and batch norms use the statistics
            of the batch.

    Output shape: logits, `(batch, num_classes)`, float32; of an encoder, a
        sequence `(batch, frames, channels)`. In training with an auxiliary
        classifier, a dict of `"logits"` and `"auxiliary"`.

    Raises:
        ValueError: An argument is out of range, or inputs have another shape
            or no frame.

    Example:
    >>> from ser_keras import SearchSpace
    >>> genotype = SearchSpace.emodarts("lstm", num_nodes=2).sample(seed=0)
    >>> network = CellNetwork(genotype, (50, 40, 1), num_classes=4, filters=4,
    ...                       recurrent_filters=8)
    >>> network(np.zeros((2, 50, 40, 1), "float32")).shape
    TensorShape([2, 4])

    References:
        - emoDARTS, arXiv 2403.14083, figures 1 to 3. Here the sequence axis
          of the recurrent cells is time.
    """

    def __init__(
        self,
        architecture: Genotype | SearchSpace,
        input_shape: Sequence[int | None],
        num_classes: int,
        filters: int = 16,
        num_cells: int = 4,
        num_recurrent_cells: int = 1,
        recurrent_filters: int = 64,
        stem_strides: int = 1,
        frequency_pooling: str = "mean",
        pooling: str = "attention",
        dropout: float = 0.0,
        cell_dropout: float = 0.0,
        stack_dropout: float = 0.3,
        drop_path_rate: float = 0.0,
        auxiliary_weight: float = 0.0,
        shared_stacks: bool = False,
        masking: bool = True,
        layer_mixture: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(architecture, dict):
            architecture = architecture_from_config(architecture)
        self.architecture = architecture
        self.feature_shape = tuple(input_shape)
        self.num_classes = num_classes
        self.filters = filters
        self.num_cells = num_cells
        self.num_recurrent_cells = num_recurrent_cells
        self.recurrent_filters = recurrent_filters
        self.stem_strides = stem_strides
        self.frequency_pooling = frequency_pooling
        self.pooling = pooling
        self.dropout = dropout
        self.cell_dropout = cell_dropout
        self.stack_dropout = stack_dropout
        self.drop_path_rate = drop_path_rate
        self.auxiliary_weight = auxiliary_weight
        self.shared_stacks = shared_stacks
        self.masking = masking
        self.layer_mixture = layer_mixture
        self._check_arguments()
        self.build(self.input_shape)

    def _check_arguments(self):
        if not isinstance(self.architecture, Genotype | SearchSpace):
            raise ValueError(
                "`architecture` must be a Genotype or a SearchSpace. "
                f"Received: architecture={self.architecture!r}"
            )
        if len(self.feature_shape) != 3 or self.feature_shape[1] is None:
            raise ValueError(
                "`input_shape` must be (time, features, 1) with a known "
                "number of features. Received: "
                f"input_shape={self.feature_shape}"
            )
        for name in (
            "num_classes",
            "filters",
            "recurrent_filters",
            "layer_mixture",
        ):
            value = getattr(self, name)
            if name == "num_classes" and value is None:
                continue  # An encoder.
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. Received: "
                    f"{name}={value}"
                )
        for name in ("num_cells", "num_recurrent_cells"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(
                    f"`{name}` must be an integer of 0 or more. Received: "
                    f"{name}={value}"
                )
        for name in (
            "dropout",
            "cell_dropout",
            "stack_dropout",
            "drop_path_rate",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be a rate in [0, 1). Received: "
                    f"{name}={getattr(self, name)}"
                )
        if self.auxiliary_weight < 0:
            raise ValueError(
                "`auxiliary_weight` must be 0 or more. Received: "
                f"auxiliary_weight={self.auxiliary_weight}"
            )
        if self.auxiliary_weight and self.num_classes is None:
            raise ValueError(
                "`auxiliary_weight` must be 0 for an encoder "
                "(`num_classes=None`), which has no classifier. Received: "
                f"auxiliary_weight={self.auxiliary_weight}"
            )
        choices = {
            "stem_strides": (1, 2),
            "frequency_pooling": ("mean", "projection"),
            "pooling": ("attention", "mean"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {allowed}. Received: "
                    f"{name}={getattr(self, name)!r}"
                )
        counts = {
            "normal": ("num_cells", self.num_cells),
            "recurrent": ("num_recurrent_cells", self.num_recurrent_cells),
        }
        for kind, (name, count) in counts.items():
            if bool(count) != bool(self.architecture.edges(kind)):
                raise ValueError(
                    f"The architecture has {'no' if count else 'a'} {kind!r} "
                    f"cell, so `{name}` must be "
                    f"{'0' if count else 'positive'}. Received: {name}={count}"
                )
        if self.num_cells in (1, 2):
            raise ValueError(
                "`num_cells` must be 0 or at least 3 (two of them reduce). "
                f"Received: num_cells={self.num_cells}"
            )

    def build(self, input_shape: Sequence[Any]) -> None:
        time, features, channels = self.feature_shape
        searching = isinstance(self.architecture, SearchSpace)
        # Saved files name their groups after the attributes that hold layers,
        # which therefore keep their names.
        self.preprocess, self.cells, self.recurrent_cells = [], [], []
        self.sequence_preprocess = []
        self.auxiliary = None
        self.stem = self.stem_norm = self.mixture = None
        if self.layer_mixture > 1:
            self.mixture = LayerMixture(
                self.layer_mixture, dtype=self.dtype_policy, name="mixture"
            )
            self.mixture.build((None, time, features, channels))
            features //= self.layer_mixture
        # Channels and frequency positions of a recurrent cell's two inputs.
        maps = [(channels, features)] * 2
        if self.num_cells:
            maps = self._build_cnn(channels, features, not searching)
        widths = [
            channels * frequency if self._keeps_frequency else channels
            for channels, frequency in maps
        ]
        self._build_sequence(widths, searching)
        self.pool = self.classifier = None
        if self.num_classes is not None:
            self._build_head(self.encoded_width)

    @property
    def encoded_width(self) -> int:
        """Channels of the sequence that `encode` returns."""
        if not self.num_recurrent_cells:
            return self.recurrent_filters
        concat = self.architecture.concat("recurrent")
        return len(concat) * self.recurrent_filters

    @property
    def reductions(self) -> tuple[int, ...]:
        """Positions of the reduction cells among the CNN cells."""
        return (self.num_cells // 3, 2 * self.num_cells // 3)

    @property
    def _keeps_frequency(self):
        """Whether the frequency axis is projected, not averaged.

        Without CNN cells it is the feature axis, which has no meaningful mean.
        """
        return not self.num_cells or self.frequency_pooling == "projection"

    def _build_head(self, width):
        if self.pooling == "attention":
            self.pool = AttentionPooling(dtype=self.dtype_policy, name="pool")
            self.pool.build((None, None, width))
            width *= 2
        else:
            self.pool = MeanPooling(dtype=self.dtype_policy, name="pool")
        self.head_dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy
        )
        self.classifier = self._build_classifier("classifier", width)

    def _build_classifier(self, name, width):
        # In float32 under every policy: the softmax and the loss of logits in
        # half precision would be inaccurate.
        classifier = keras.layers.Dense(
            self.num_classes, dtype="float32", name=name
        )
        classifier.build((None, width))
        return classifier

    def _build_cnn(self, channels, features, affine):
        """Builds the stem and the CNN cells.

        Args:
            channels: Channels of the input.
            features: Size of its frequency axis.
            affine: Whether batch norms learn a scale and an offset.

        Returns:
            Pairs `(channels, frequency positions)` of the last two cells'
            outputs.
        """
        filters, frequency = self.filters, -(-features // self.stem_strides)
        self.stem = keras.layers.Conv2D(
            3 * filters,
            3,
            self.stem_strides,
            use_bias=False,
            dtype=self.dtype_policy,
            name="stem",
        )
        self.stem.build((None, None, None, channels))
        self.stem_norm = BatchNorm(
            affine=True, dtype=self.dtype_policy, name="stem_norm"
        )
        self.stem_norm.build((None, None, None, 3 * filters))
        maps = [(3 * filters, frequency)] * 2
        for i in range(self.num_cells):
            kind = "reduce" if i in self.reductions else "normal"
            if kind == "reduce":
                filters *= 2
                frequency = -(-frequency // 2)
            (older_width, _), (newer_width, _) = maps
            # After a reduction cell the older input has twice the resolution.
            # (Not decided by the frequencies: 1 cannot be halved.)
            first = (
                FactorizedReduce if i - 1 in self.reductions else ReLUConvNorm
            )
            inputs = ((first, older_width), (ReLUConvNorm, newer_width))
            for number, (layer_class, width) in enumerate(inputs):
                layer = layer_class(
                    filters,
                    affine=affine,
                    dtype=self.dtype_policy,
                    name=f"cell_{i}_preprocess_{number}",
                )
                layer.build((None, None, None, width))
                self.preprocess.append(layer)
            cell = Cell(
                kind,
                self.architecture.edges(kind),
                self.architecture.concat(kind),
                filters,
                affine=affine,
                drop_path_rate=self.drop_path_rate if affine else 0.0,
                dtype=self.dtype_policy,
                name=f"cell_{i}",
            )
            cell.build()
            self.cells.append(cell)
            width = len(cell.concat) * filters
            maps = [maps[1], (width, frequency)]
            if i == self.reductions[1] and self.auxiliary_weight:
                self.auxiliary = self._build_classifier("auxiliary", width)
        self.cell_dropout_layer = keras.layers.Dropout(
            self.cell_dropout, dtype=self.dtype_policy
        )
        return maps

    def _build_sequence(self, widths, searching):
        """Builds the recurrent cells and the projections of their inputs.

        Args:
            widths: Channels of the first cell's two inputs.
            searching: Whether the architecture is a search space.
        """
        if not self.num_recurrent_cells:
            self._build_projections(0, widths)  # Their sum is the output.
        for i in range(self.num_recurrent_cells):
            self._build_projections(i, widths)
            cell = Cell(
                "recurrent",
                self.architecture.edges("recurrent"),
                self.architecture.concat("recurrent"),
                self.recurrent_filters,
                drop_path_rate=0.0 if searching else self.drop_path_rate,
                shared_stacks=self.shared_stacks and searching,
                dropout=self.stack_dropout,
                dtype=self.dtype_policy,
                name=f"recurrent_cell_{i}",
            )
            cell.build()
            self.recurrent_cells.append(cell)
            widths = [widths[1], self.encoded_width]

    def _build_projections(self, i, widths):
        for number, width in enumerate(widths):
            projection = SequenceProjection(
                self.recurrent_filters,
                dtype=self.dtype_policy,
                name=f"sequence_{i}_preprocess_{number}",
            )
            projection.build((None, None, width))
            self.sequence_preprocess.append(projection)

    def encode(
        self,
        inputs: tf.Tensor,
        mixing_weights: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> Any:
        """The network up to pooling over time.

        Args:
            inputs: `(batch, time, features, 1)`.
            mixing_weights: Dict `{kind: (edges, candidates)}`, in a search.
            training: Whether to train.

        Returns:
            A sequence `(batch, frames, channels)`, its mask `(batch, frames)`
            or `None`, and the auxiliary logits or `None`.
        """
        weights = mixing_weights or {}
        x = as_features(inputs, self.feature_shape)
        mask = frame_mask(x) if self.masking else None
        if self.mixture is not None:
            x = self.mixture(x)
        states, auxiliary = [x, x], None
        if self.num_cells:
            states, mask, auxiliary = self._run_cnn(x, mask, weights, training)
        states = self._over_time(states)
        if not self.recurrent_cells:
            older, newer = self._project(0, states, mask)
            return older + newer, mask, auxiliary
        for i, cell in enumerate(self.recurrent_cells):
            output = cell(
                *self._project(i, states, mask),
                weights=weights.get("recurrent"),
                mask=mask,
                training=training,
            )
            states = [states[1], output]
        return states[1], mask, auxiliary

    def _project(self, i, states, mask):
        """The inputs of recurrent cell `i`, with its number of channels."""
        projections = self.sequence_preprocess[2 * i : 2 * i + 2]
        return [
            zero_padding(projection(state), mask)
            for projection, state in zip(projections, states, strict=True)
        ]

    def _run_cnn(self, x, mask, weights, training):
        """The CNN's part of `encode`.

        Returns:
            The outputs of the last two cells, the mask of the last one, and
            the auxiliary logits or `None`.
        """
        # Padded equally on both sides, whatever the parity of the length.
        x = self.stem(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
        x = self.stem_norm(x, training=training)
        mask = strided_mask(mask, self.stem_strides)
        x = zero_padding(x, mask)
        states, auxiliary = [x, x], None
        for i, cell in enumerate(self.cells):
            # Both inputs get the resolution of the newer one, whose mask this
            # is.
            inputs = [
                layer(state, mask=mask, training=training)
                for layer, state in zip(
                    self.preprocess[2 * i : 2 * i + 2], states, strict=True
                )
            ]
            output = cell(
                *inputs,
                weights=weights.get(cell.kind),
                mask=mask,
                training=training,
            )
            output = self.cell_dropout_layer(output, training=training)
            mask = strided_mask(mask, 2 if cell.kind == "reduce" else 1)
            states = [states[1], output]
            if self.auxiliary is not None and i == self.reductions[1]:
                pooled = mean_over_frames(tf.reduce_mean(output, 2), mask)
                auxiliary = self.auxiliary(pooled)
        return states, mask, auxiliary

    def _over_time(self, states):
        """Sequences of feature maps, both at the frame rate of the newer."""
        older, newer = states
        if self.num_cells and self.reductions[1] == self.num_cells - 1:
            older = older[:, ::2]
        sequences = []
        for x in (older, newer):
            if not self._keeps_frequency:
                sequences.append(tf.reduce_mean(x, 2))
                continue
            shape = tf.shape(x)
            width = x.shape[2] * x.shape[3]
            sequences.append(tf.reshape(x, (shape[0], shape[1], width)))
        return sequences

    def call(
        self,
        inputs: tf.Tensor,
        mixing_weights: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        sequence, mask, auxiliary = self.encode(
            inputs, mixing_weights, training
        )
        if self.classifier is None:
            return sequence
        pooled = self.pool(sequence, mask=mask)
        logits = self.classifier(self.head_dropout(pooled, training=training))
        if auxiliary is not None and training:
            return {"logits": logits, "auxiliary": auxiliary}
        return logits

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool | None = True,
    ) -> tf.Tensor:
        auxiliary = None
        if isinstance(y_pred, dict):
            y_pred, auxiliary = y_pred["logits"], y_pred["auxiliary"]
        arguments = {"sample_weight": sample_weight, "training": training}
        loss = super().compute_loss(x, y, y_pred, **arguments)
        if auxiliary is not None:
            loss += self.auxiliary_weight * super().compute_loss(
                x, y, auxiliary, **arguments
            )
        return loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        if isinstance(y_pred, dict):
            y_pred = y_pred["logits"]
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def training_callbacks(self, epochs: int) -> list:
        return [DropPathSchedule(epochs)] if self.drop_path_rate else []

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "architecture": architecture_to_config(self.architecture),
            "input_shape": list(self.feature_shape),
            "num_classes": self.num_classes,
            "filters": self.filters,
            "num_cells": self.num_cells,
            "num_recurrent_cells": self.num_recurrent_cells,
            "recurrent_filters": self.recurrent_filters,
            "stem_strides": self.stem_strides,
            "frequency_pooling": self.frequency_pooling,
            "pooling": self.pooling,
            "dropout": self.dropout,
            "cell_dropout": self.cell_dropout,
            "stack_dropout": self.stack_dropout,
            "drop_path_rate": self.drop_path_rate,
            "auxiliary_weight": self.auxiliary_weight,
            "shared_stacks": self.shared_stacks,
            "masking": self.masking,
            "layer_mixture": self.layer_mixture,
        }
