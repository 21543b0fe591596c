"""What runs that search and train networks of cells have in common."""

import dataclasses
import typing

from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.experiments.common import SeedsConfig
from ser_keras.experiments.common import check_positive
from ser_keras.experiments.common import check_positive_integers
from ser_keras.experiments.common import check_rates
from ser_keras.experiments.common import speech_features
from ser_keras.genotype import load_genotype


@dataclasses.dataclass(frozen=True)
class CellsConfig(SeedsConfig):
    """What every run with a search over cells can be told."""

    genotype: str = ""
    """Genotype file to train, instead of searching."""
    features: typing.Literal["log_mel", "mfcc"] = "log_mel"
    """Log-mel bands, or as many cepstral coefficients of 128 bands."""
    num_features: int = 64
    """Bands or coefficients of a frame."""
    duration: float = 3.0
    """Length of a training clip in seconds: longer ones are cropped at
    random, shorter ones padded. Scoring sees whole utterances."""
    sequence: typing.Literal["all", "lstm", "lstm_att", "rnn", "rnn_att"] = (
        "lstm_att"
    )
    """Sequential candidates."""
    search_epochs: int = 20
    """Epochs of the search."""
    search_warm_up_epochs: int = 4
    """Epochs of the search in which the architecture stands still."""
    search_batch_size: int = 16
    """Utterances of each half in a search step."""
    search_filters: int = 8
    """Channels of the supernet's first cell."""
    search_order: int = 1
    """Order of the architecture's gradient, 1 or 2."""
    architecture_learning_rate: float = 3e-3
    """Learning rate of the architecture parameters, by Adam."""
    filters: int = 16
    """Channels of the derived network's first cell."""
    num_nodes: int = 4
    """Nodes of a cell."""
    num_cells: int = 4
    """CNN cells."""
    recurrent_filters: int = 64
    """Channels of the recurrent cells."""
    train_epochs: int = 60
    """Epochs of the derived network's training."""
    batch_size: int = 32
    """Utterances in a training step."""
    learning_rate: float = 2e-3
    """Peak learning rate of the training, by AdamW."""
    dropout: float = 0.3
    """Dropout before the last layer."""
    drop_path_rate: float = 0.1
    """Probability of dropping an edge at the end of training."""
    held_out_speakers: int = 1
    """Training speakers of each fold who choose its epoch; 0 trains on all
    and keeps the last epoch."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(
            self,
            "search_epochs",
            "search_batch_size",
            "search_filters",
            "filters",
            "num_nodes",
            "recurrent_filters",
            "train_epochs",
            "batch_size",
            "jobs",
        )
        check_positive(
            self, "duration", "learning_rate", "architecture_learning_rate"
        )
        check_rates(self, "dropout", "drop_path_rate")
        if self.search_order not in (1, 2):
            raise ValueError(
                "`search_order` must be 1 or 2. Received: "
                f"search_order={self.search_order}"
            )
        if self.num_cells < 3 and not (self.genotype and self.num_cells == 0):
            raise ValueError(
                "`num_cells` must be at least 3, as two of them reduce; or 0 "
                "for a genotype without CNN cells. Received: "
                f"num_cells={self.num_cells}"
            )
        if self.held_out_speakers < 0:
            raise ValueError(
                "`held_out_speakers` must be 0 or more. Received: "
                f"held_out_speakers={self.held_out_speakers}"
            )
        # `smoke` sets both, and a genotype is not searched.
        if not (self.smoke or self.genotype) and not (
            0 <= self.search_warm_up_epochs < self.search_epochs
        ):
            raise ValueError(
                "`search_warm_up_epochs` must be 0 or more and less than "
                "`search_epochs`, or the architecture never moves. Received: "
                f"search_warm_up_epochs={self.search_warm_up_epochs}, "
                f"search_epochs={self.search_epochs}. A short search needs "
                "--search-warm-up-epochs 0"
            )


def front_end(config: CellsConfig):
    """Features and their normalisation."""
    layer = speech_features(config.features, config.num_features)
    if config.features == "mfcc":
        # Coefficients differ too much in size for one mean of all.
        return layer, UtteranceNormalization(scale="all")
    if config.features == "mfcc_deltas":
        # Derivatives are smaller than what they are of: each by its own.
        return layer, UtteranceNormalization()
    # The loudness goes, which is the microphone's; the spectrum's tilt stays,
    # which is the voice's.
    return layer, UtteranceNormalization(over="all")


def keep_genotype(run, genotype, path) -> None:
    """Saves a given genotype in the run's folder: all folds must have it.

    Args:
        run: The run's folder.
        genotype: What was read from `path`.
        path: File that the configuration names.

    Raises:
        ValueError: The run was begun with another genotype.
    """
    file = run.path / "genotype.json"
    if file.exists() and load_genotype(file) != genotype:
        raise ValueError(
            f"{path} must hold the genotype that the run in {run.path} was "
            f"begun with, which is kept in {file}. Received another one, "
            f"\n{genotype.describe()}\nChoose another output folder for it."
        )
    genotype.save(file)
