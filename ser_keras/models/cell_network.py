"""The network of cells: a search's supernet body, or a derived network."""

import keras
import tensorflow as tf

from ser_keras._registry import serializable
from ser_keras.genotype import Genotype
from ser_keras.layers.attention_pooling import AttentionPooling
from ser_keras.layers.attention_pooling import MeanPooling
from ser_keras.layers.batch_norm import BatchNorm
from ser_keras.layers.cell import Cell
from ser_keras.layers.factorized_reduce import FactorizedReduce
from ser_keras.layers.layer_mixture import LayerMixture
from ser_keras.layers.masking import frame_mask
from ser_keras.layers.masking import zero_padding
from ser_keras.layers.relu_conv_norm import ReLUConvNorm
from ser_keras.layers.sequence_projection import SequenceProjection
from ser_keras.models.cell_arguments import OPTIONS
from ser_keras.models.cell_arguments import check_arguments
from ser_keras.models.feature_input import as_features
from ser_keras.models.traced_once import TracedOnce
from ser_keras.search_space import SearchSpace


@serializable
class CellNetwork(TracedOnce):
    """emoDARTS' network: CNN cells, then recurrent cells over time.

    A stem, `num_cells` CNN cells (reduction cells after one and two thirds),
    a reduction over frequency alone, `num_recurrent_cells` recurrent cells
    that read `(batch, time, channels)`, pooling over time, one dense layer.
    A clip's padding (frames that are exactly zero at its end) is masked
    throughout, so a prediction depends neither on the other clips of its
    batch nor on how far it was padded.

    Args:
        architecture: A `Genotype` (a network to train and use), or a
            `SearchSpace` (the body of a `SuperNet`: all candidates at once).
        input_shape: `(time, features, 1)`; time may be `None`.
        num_classes: Number of classes; or `None` for an encoder alone, which
            ends before pooling.
        filters: Channels of the first cell; doubled by each reduction.
        num_cells: Number of CNN cells.
        num_recurrent_cells: Number of recurrent cells.
        recurrent_filters: Channels of the recurrent cells.
        stem_strides: Strides of the stem over time and frequency: 1, as
            published, or 2, which makes everything after it four times
            cheaper.
        frequency_pooling: How the frequency axis ends: `"mean"`, or
            `"projection"`, a dense layer which sees where on it a feature is.
        pooling: How the time axis ends: `"attention"` or `"mean"`.
        dropout: Dropout before the last layer.
        cell_dropout: Dropout after every cell.
        drop_path_rate: Probability of dropping an edge of a derived cell.
        auxiliary_weight: Weight of the loss of an auxiliary classifier after
            two thirds of the CNN cells; 0 for none. Used in training only.
        shared_stacks: Whether stacks of one family on one recurrent edge
            share their first layers: four LSTM layers in place of ten.
        masking: Whether to mask padding. Without it every clip is taken to
            fill its tensor.
        layer_mixture: Layers of a frozen encoder whose features stand one
            after the other; a `LayerMixture` makes one of more than 1.

    Call arguments:
        inputs: `(batch, time, features, 1)`.
        mixing_weights: `{kind: (edges, candidates)}` in a search.
        training: Whether to train.

    Output shape: logits, `(batch, num_classes)`; of an encoder, a sequence
        `(batch, frames, channels)`.

    Raises:
        ValueError: An argument is out of range; or inputs have another shape
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
        architecture,
        input_shape,
        num_classes,
        filters=16,
        num_cells=4,
        num_recurrent_cells=1,
        recurrent_filters=64,
        stem_strides=1,
        frequency_pooling="mean",
        pooling="attention",
        dropout=0.0,
        cell_dropout=0.0,
        drop_path_rate=0.0,
        auxiliary_weight=0.0,
        shared_stacks=False,
        masking=True,
        layer_mixture=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(architecture, dict):
            architecture = _architecture_from_config(architecture)
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
        self.drop_path_rate = drop_path_rate
        self.auxiliary_weight = auxiliary_weight
        self.shared_stacks = shared_stacks
        self.masking = masking
        self.layer_mixture = layer_mixture
        check_arguments(self)
        self.build((None, *self.feature_shape))

    def build(self, input_shape):
        time, features, channels = self.feature_shape
        searching = isinstance(self.architecture, SearchSpace)
        self.preprocess, self.cells, self.recurrent_cells = [], [], []
        self.sequence_preprocess = []
        self.auxiliary = None
        self.stem = self.stem_norm = self.mixture = None
        if self.layer_mixture > 1:
            self.mixture = LayerMixture(self.layer_mixture, name="mixture")
            self.mixture.build((None, time, features, channels))
            features //= self.layer_mixture
        outputs = [(channels, features)] * 2  # channels and frequency of c_k
        if self.num_cells:
            outputs = self._build_cnn(channels, features, not searching)
        self._build_sequence(outputs, searching)
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

    def _build_head(self, width):
        if self.pooling == "attention":
            self.pool = AttentionPooling(name="pool")
            self.pool.build((None, None, width))
            width *= 2
        else:
            self.pool = MeanPooling(name="pool")
        self.head_dropout = keras.layers.Dropout(self.dropout)
        self.classifier = keras.layers.Dense(
            self.num_classes, dtype="float32", name="classifier"
        )
        self.classifier.build((None, width))

    @property
    def reductions(self) -> tuple[int, ...]:
        """Positions of the reduction cells."""
        return (self.num_cells // 3, 2 * self.num_cells // 3)

    def _build_cnn(self, channels, features, affine):
        filters, frequency = self.filters, -(-features // self.stem_strides)
        self.stem = keras.layers.Conv2D(
            3 * filters, 3, self.stem_strides, use_bias=False, name="stem"
        )
        self.stem.build((None, None, None, channels))
        self.stem_norm = BatchNorm(affine=True, name="stem_norm")
        self.stem_norm.build((None, None, None, 3 * filters))
        outputs = [(3 * filters, frequency)] * 2
        for i in range(self.num_cells):
            kind = "reduce" if i in self.reductions else "normal"
            if kind == "reduce":
                filters *= 2
                frequency = -(-frequency // 2)
            (before, _), (last, _) = outputs
            # Not by the frequencies, of which one cannot be halved.
            if i - 1 in self.reductions:
                first = FactorizedReduce(
                    filters, affine=affine, name=f"cell_{i}_preprocess_0"
                )
            else:
                first = ReLUConvNorm(
                    filters, affine, name=f"cell_{i}_preprocess_0"
                )
            second = ReLUConvNorm(
                filters, affine, name=f"cell_{i}_preprocess_1"
            )
            first.build((None, None, None, before))
            second.build((None, None, None, last))
            self.preprocess += [first, second]
            cell = Cell(
                kind,
                self.architecture.edges(kind),
                self.architecture.concat(kind),
                filters,
                affine=affine,
                drop_path_rate=self.drop_path_rate if affine else 0.0,
                name=f"cell_{i}",
            )
            cell.build(None)
            self.cells.append(cell)
            width = len(cell.concat) * filters
            outputs = [outputs[1], (width, frequency)]
            if i == self.reductions[1] and self.auxiliary_weight:
                self.auxiliary = keras.layers.Dense(
                    self.num_classes, dtype="float32", name="auxiliary"
                )
                self.auxiliary.build((None, width))
        self.cell_dropout_layer = keras.layers.Dropout(self.cell_dropout)
        return outputs

    def _build_sequence(self, outputs, searching):
        widths = []
        for channels, frequency in outputs:
            projected = self.frequency_pooling == "projection"
            if not self.num_cells:
                projected = True
            widths.append(channels * frequency if projected else channels)
        inputs = widths
        recurrent = max(self.num_recurrent_cells, 1)
        for i in range(recurrent):
            for j, width in enumerate(inputs):
                projection = SequenceProjection(
                    self.recurrent_filters, name=f"sequence_{i}_preprocess_{j}"
                )
                projection.build((None, None, width))
                self.sequence_preprocess.append(projection)
            if not self.num_recurrent_cells:
                return
            concat = self.architecture.concat("recurrent")
            cell = Cell(
                "recurrent",
                self.architecture.edges("recurrent"),
                concat,
                self.recurrent_filters,
                drop_path_rate=0.0 if searching else self.drop_path_rate,
                shared_stacks=self.shared_stacks and searching,
                dropout=0.3,
                name=f"recurrent_cell_{i}",
            )
            cell.build(None)
            self.recurrent_cells.append(cell)
            inputs = [inputs[1], len(concat) * self.recurrent_filters]

    def encode(self, inputs, mixing_weights=None, training=None):
        """Everything before pooling over time.

        Returns:
            A sequence `(batch, frames, channels)`, its mask `(batch, frames)`
            or `None`, and the auxiliary logits or `None`.
        """
        weights = mixing_weights or {}
        x = as_features(inputs, self.feature_shape)
        mask = frame_mask(x) if self.masking else None
        if self.mixture is not None:
            x = self.mixture(x)
        auxiliary = None
        states = [x, x]
        masks = [mask, mask]
        if self.num_cells:
            states, masks, auxiliary = self._run_cnn(x, mask, weights, training)
        states, mask = self._over_time(states, masks)
        for i, cell in enumerate(self.recurrent_cells or [None]):
            inputs = [
                zero_padding(projection(state), mask)
                for projection, state in zip(
                    self.sequence_preprocess[2 * i : 2 * i + 2],
                    states,
                    strict=True,
                )
            ]
            if cell is None:
                return inputs[0] + inputs[1], mask, auxiliary
            output = cell(
                *inputs,
                weights=weights.get("recurrent"),
                mask=mask,
                training=training,
            )
            states = [states[1], output]
        return states[1], mask, auxiliary

    def _run_cnn(self, x, mask, weights, training):
        # Padded alike on both sides, whatever the parity of the length.
        x = self.stem(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
        x = self.stem_norm(x, training=training)
        if mask is not None:
            mask = mask[:, :: self.stem_strides]
        x = zero_padding(x, mask)
        states, masks = [x, x], [mask, mask]
        auxiliary = None
        for i, cell in enumerate(self.cells):
            inputs = [
                layer(state, mask=masks[1], training=training)
                for layer, state in zip(
                    self.preprocess[2 * i : 2 * i + 2], states, strict=True
                )
            ]
            output = cell(
                *inputs,
                weights=weights.get(cell.kind),
                mask=masks[1],
                training=training,
            )
            output = self.cell_dropout_layer(output, training=training)
            mask = masks[1]
            if mask is not None and cell.kind == "reduce":
                mask = mask[:, ::2]
            states, masks = [states[1], output], [masks[1], mask]
            if self.auxiliary is not None and i == self.reductions[1]:
                pooled = MeanPooling()(tf.reduce_mean(output, 2), mask=mask)
                auxiliary = self.auxiliary(pooled)
        return states, masks, auxiliary

    def _over_time(self, states, masks):
        """Feature maps to sequences; the older one at the newer one's rate."""
        older, newer = states
        if self.num_cells and self.reductions[1] == self.num_cells - 1:
            older = older[:, ::2]
        sequences = []
        for x in (older, newer):
            if self.num_cells and self.frequency_pooling == "mean":
                sequences.append(tf.reduce_mean(x, 2))
                continue
            shape = tf.shape(x)
            flat = x.shape[2] * x.shape[3]
            sequences.append(tf.reshape(x, (shape[0], shape[1], flat)))
        return sequences, masks[1]

    def call(self, inputs, mixing_weights=None, training=None):
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
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
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

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if isinstance(y_pred, dict):
            y_pred = y_pred["logits"]
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_config(self):
        kind = type(self.architecture).__name__
        config = (
            self.architecture.to_dict()
            if kind == "Genotype"
            else self.architecture.get_config()
        )
        return {
            "name": self.name,
            "architecture": {"type": kind, "config": config},
            "input_shape": list(self.feature_shape),
            **{name: getattr(self, name) for name in OPTIONS},
        }


def _architecture_from_config(config):
    if config.get("type") == "SearchSpace":
        return SearchSpace(**config["config"])
    return Genotype.from_dict(config.get("config", config))
