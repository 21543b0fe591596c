"""Networks of cells made by hand: what a searched one has to beat."""

import dataclasses
import typing

from ser_keras import models
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.emodarts import cell_preprocessor
from ser_keras.experiments.emodarts import cell_training
from ser_keras.experiments.emodarts import check_speed_range
from ser_keras.experiments.emodarts import one_mask_each
from ser_keras.experiments.emodarts import speeds
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.options import AlterationOptions
from ser_keras.experiments.options import CellOptions
from ser_keras.experiments.options import ExportOptions
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import FeatureOptions
from ser_keras.experiments.options import LiteRTOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.options import TrainingOptions
from ser_keras.experiments.options import check_positive_integers


@dataclasses.dataclass(frozen=True)
class HandMadeConfig(
    CellOptions,
    TrainingOptions,
    AlterationOptions,
    FanOutOptions,
    LiteRTOptions,
    ExportOptions,
    FeatureOptions,
    CorpusOptions,
    RuntimeOptions,
    OutputOptions,
):
    """Train and score a network made by hand, and export it.

    It is trained and scored as emoDARTS' networks are.
    """

    output_dir: str = "results/hand_made"
    """Folder of this run. A run that was stopped goes on where it was."""
    network: typing.Literal[
        "cnn",
        "cnn_attention",
        "lstm",
        "lstm_attention",
        "cnn_lstm",
        "cnn_lstm_attention",
    ] = "cnn_lstm_attention"
    """CNN, LSTM or both, classified from the mean over time or with
    attention."""
    clips: typing.Literal["fixed", "whole"] = "fixed"
    """`fixed`: training and scoring see the middle of a clip, or the clip
    between silence, at one peak level. `whole`: training crops longer clips
    at random and masks the padding of shorter ones, scoring sees whole
    utterances."""
    num_cells: int = 4
    """CNN cells, where there are any."""
    recurrent_filters: int = 64
    """Channels of the recurrent cell, where there is one."""
    speed_range: float = 0.1
    """Speed perturbation: training uses each clip also faster and slower by
    this part, pitch and formants with it; 0 for none."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "num_cells", "recurrent_filters")
        check_speed_range(self.speed_range)

    def resolved(self):
        """This configuration with `smoke` spelled out."""
        if not self.smoke:
            return self
        return dataclasses.replace(
            self,
            filters=4,
            num_cells=3,
            recurrent_filters=8,
            train_epochs=1,
            batch_size=8,
            duration=1.0,
            num_features=24,
        )


class HandMadeExperiment(Experiment):
    """A network of `ser_keras.models.hand_made`, trained as emoDARTS' are."""

    tunable: typing.ClassVar[dict] = {
        "filters": (4, 8, 16),
        "num_cells": Range(3, 6, 1),
        "recurrent_filters": (16, 32, 64),
        "dropout": Range(0.0, 0.5, 0.1),
        "drop_path_rate": (0.0, 0.1, 0.2),
        "learning_rate": Range(3e-4, 1e-2, "log"),
    }

    def tunable_options(self):
        options = dict(self.tunable)
        if "cnn" not in self.config.network:
            del options["num_cells"], options["filters"]
        return options

    def preprocessor(self):
        return cell_preprocessor(self.config)

    def build(self, features, genotype=None):
        config = self.config
        return models.hand_made_network(
            config.network,
            input_shape=(None, features.num_features, 1),
            num_classes=len(features.manifest.labels),
            num_cells=config.num_cells,
            filters=config.filters,
            recurrent_filters=config.recurrent_filters,
            dropout=config.dropout,
            drop_path_rate=config.drop_path_rate,
            # As emoDARTS' networks are built.
            stem_strides=2,
            frequency_pooling="mean",
        )

    def augmentation(self, features):
        return one_mask_each(features.num_features)

    def speeds(self):
        return speeds(self.config.speed_range)

    def training(self):
        return cell_training(self.config)
