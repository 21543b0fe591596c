"""A system as a user adds one: this file, and a line in `SYSTEMS`."""

import dataclasses
import typing

import keras

from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.options import ExportOptions
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.options import TrainingOptions
from ser_keras.features.preprocessor import Preprocessor


@dataclasses.dataclass(frozen=True)
class ToyConfig(
    TrainingOptions,
    FanOutOptions,
    ExportOptions,
    CorpusOptions,
    RuntimeOptions,
    OutputOptions,
):
    """Train and score a network of one hidden layer, and export it."""

    output_dir: str = "results/toy"
    """Folder of this run. A run that was stopped goes on where it was."""
    units: int = 4
    """Units of the hidden layer."""
    epochs: int = 3
    """Epochs of the training."""
    batch_size: int = 4
    """Utterances in a training step."""
    learning_rate: float = 0.1
    """Peak learning rate of the training, by AdamW."""
    dropout: float = 0.0
    """Dropout before the last layer."""


class ToyExperiment(Experiment):
    """Mean over time of log-mel bands, and one hidden layer."""

    tunable: typing.ClassVar[dict] = {
        "units": (2, 4),
        "dropout": Range(0.0, 0.2, 0.1),
        "learning_rate": Range(1e-3, 1e-1, "log"),
    }

    def preprocessor(self):
        bands = LogMelSpectrogram(sample_rate=16000, num_mel_bins=6)
        whole_clip = UtteranceNormalization(over="all")
        return Preprocessor(FixedDuration(bands, 0.5), whole_clip)

    def build(self, features, genotype=None):
        return keras.Sequential(
            [
                keras.Input((None, features.num_features, 1)),
                keras.layers.Reshape((-1, features.num_features)),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(self.config.units, "tanh"),
                keras.layers.Dropout(self.config.dropout),
                keras.layers.Dense(len(features.manifest.labels)),
            ]
        )

    def training(self):
        return {
            "epochs": self.config.epochs,
            "batch_size": self.config.batch_size,
            "learning_rate": self.config.learning_rate,
        }
