"""Options that systems have in common, as small dataclasses.

A system's configuration derives from those groups whose options mean something
to it, so that an option is declared once and offered where it does something.
"""

import dataclasses
import math
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of all groups of options."""

    def __post_init__(self):
        """Raises `ValueError` if a value is out of range."""

    def resolved(self) -> typing.Any:
        """This configuration with what stands for others spelled out."""
        return self


@dataclasses.dataclass(frozen=True)
class OutputOptions(Options):
    """Output and seed."""

    output_dir: str = "results/run"
    """Folder of this run. A run that was stopped goes on where it was."""
    cache_dir: str = ".cache/features"
    """Folder of the feature cache."""
    seed: int = 0
    """Seed of everything random."""
    smoke: bool = False
    """Tiny sizes and one epoch: only shows that the recipe runs."""
    deterministic: bool = False
    """Compute in one order: the same run gives the same weights, bit for bit,
    on the same machine. Takes longer."""


@dataclasses.dataclass(frozen=True)
class RuntimeOptions(Options):
    """Devices and precision: how a run computes, never what.

    A run goes on with others than it was begun with. See `Runtime`.
    """

    strategy: typing.Literal[
        "auto", "none", "mirrored", "multi-worker", "tpu"
    ] = "auto"
    """`auto`: a TPU, the machines of TF_CONFIG or all GPUs of this machine,
    whichever there are. `none`: one device. `mirrored`: all GPUs, or the
    logical CPUs of `--devices`. Batches are divided between the devices."""
    devices: int = 0
    """Logical CPUs to make of the CPU, to try a strategy without GPUs."""
    precision: typing.Literal["float32", "bfloat16", "float16"] = "float32"
    """What trainings compute in. Weights, losses and statistics stay float32,
    and so does the network that is scored and exported. float16, for
    trainings only, with loss scaling."""
    xla: typing.Literal["auto", "on", "off"] = "auto"
    """Compile steps with XLA; `auto` as Keras does: on one GPU, and on TPUs."""
    steps_per_execution: int = 1
    """Steps between two returns to Python. Metrics are updated as often."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "steps_per_execution")
        if self.devices < 0:
            raise ValueError(
                f"`devices` must be 0 or more. Received: devices={self.devices}"
            )


@dataclasses.dataclass(frozen=True)
class FanOutOptions(Options):
    """Fan-out of independent trainings."""

    jobs: int = 1
    """Trainings at the same time: folds, seeds or systems."""
    engine: typing.Literal["local", "ray", "slurm"] = "local"
    """What runs them if there are several: processes of this machine, a Ray
    cluster (needs `ser_keras[ray]`), or SLURM (needs `ser_keras[slurm]`)."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "jobs")


#: Options of how a run computes, which are no part of its identity.
RUNTIME = tuple(
    field.name
    for group in (RuntimeOptions, FanOutOptions)
    for field in dataclasses.fields(group)
)


@dataclasses.dataclass(frozen=True)
class FeatureOptions(Options):
    """Features."""

    features: typing.Literal["mfcc", "log_mel"] = "mfcc"
    """Cepstral coefficients of 128 bands, or log-mel bands."""
    num_features: int = 40
    """Coefficients or bands of a frame."""
    duration: float = 3.0
    """Length of a training clip in seconds: longer ones are cropped, shorter
    ones padded."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "num_features")
        check_positive(self, "duration")


@dataclasses.dataclass(frozen=True)
class SearchOptions(Options):
    """Search and size of cells."""

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
    num_nodes: int = 4
    """Nodes of a cell."""
    num_cells: int = 4
    """CNN cells."""
    recurrent_filters: int = 64
    """Channels of the recurrent cells."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(
            self,
            "search_epochs",
            "search_batch_size",
            "search_filters",
            "num_nodes",
            "recurrent_filters",
        )
        check_positive(self, "architecture_learning_rate")
        if self.search_order not in (1, 2):
            raise ValueError(
                "`search_order` must be 1 or 2. Received: "
                f"search_order={self.search_order}"
            )
        given = getattr(self, "genotype", "")
        if self.num_cells < 3 and not (given and self.num_cells == 0):
            raise ValueError(
                "`num_cells` must be at least 3, as two of them reduce; or 0 "
                "for a genotype without CNN cells. Received: "
                f"num_cells={self.num_cells}"
            )
        # `smoke` sets both, and a genotype is not searched.
        if not (self.smoke or given) and not (
            0 <= self.search_warm_up_epochs < self.search_epochs
        ):
            raise ValueError(
                "`search_warm_up_epochs` must be 0 or more and less than "
                "`search_epochs`, or the architecture never moves. Received: "
                f"search_warm_up_epochs={self.search_warm_up_epochs}, "
                f"search_epochs={self.search_epochs}. A short search needs "
                "--search-warm-up-epochs 0"
            )


@dataclasses.dataclass(frozen=True)
class TrainingOptions(Options):
    """Training."""

    batch_size: int = 32
    """Utterances in a training step."""
    learning_rate: float = 2e-3
    """Peak learning rate of the training, by AdamW."""
    dropout: float = 0.3
    """Dropout before the last layer."""
    held_out_speakers: int = 1
    """Training speakers of each fold, other ones in each, who choose its epoch
    and the temperature of its probabilities; 0 trains on all and keeps the
    last epoch."""
    hold_out: tuple[str, ...] = ()
    """Names of speakers who do so in each fold that trains on them, in place
    of others."""
    select: typing.Literal["held-out", "inner-cv"] = "held-out"
    """`held-out`: these speakers choose. `inner-cv`: all training speakers do,
    in an inner cross-validation of three folds; then a network is trained on
    all of them, up to the median of the epochs. Takes four trainings a fold."""
    seeds: tuple[int, ...] = ()
    """Seeds to run on the same folds, each in a folder `seed_<n>` of its own,
    in place of `--seed`; one table of them is written at the end. With
    `--jobs` and a single fold they run at the same time."""

    def __post_init__(self):
        super().__post_init__()
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"`seeds` must be different. Received: seeds={self.seeds}"
            )
        if self.select == "inner-cv" and self.hold_out:
            raise ValueError(
                "`hold_out` must be left out where all training speakers "
                "choose. Received: select='inner-cv', hold_out="
                f"{self.hold_out}"
            )
        if self.hold_out and not self.held_out_speakers:
            raise ValueError(
                "`hold_out` names held-out speakers, so that there must be "
                f"some. Received: held_out_speakers={self.held_out_speakers}"
            )
        # A system may have such an option decided by another one.
        if self.held_out_speakers is not None and self.held_out_speakers < 0:
            raise ValueError(
                "`held_out_speakers` must be 0 or more. Received: "
                f"held_out_speakers={self.held_out_speakers}"
            )
        if self.batch_size is not None:
            check_positive_integers(self, "batch_size")
        if self.learning_rate is not None:
            check_positive(self, "learning_rate")
        check_rates(self, "dropout")


@dataclasses.dataclass(frozen=True)
class AlterationOptions(Options):
    """Robustness to how speech arrives."""

    altered_copies: int = 0
    """Further copies of each clip for training, altered as by telephones,
    codecs, noise, rooms and gain; see `RandomAlteration`."""

    def __post_init__(self):
        super().__post_init__()
        if self.altered_copies < 0:
            raise ValueError(
                "`altered_copies` must be 0 or more. Received: "
                f"altered_copies={self.altered_copies}"
            )


@dataclasses.dataclass(frozen=True)
class TeacherOptions(Options):
    """Distillation."""

    teacher: str = ""
    """Pre-trained speech encoder, a folder or a model's name on the hub:
    pre-training then teaches the network what a classifier of the encoder
    makes of each clip, in place of its label (distillation)."""
    teacher_layers: tuple[int, ...] = ()
    """Layers of the teacher; default the three in the middle."""

    def __post_init__(self):
        super().__post_init__()
        if self.teacher_layers and not self.teacher:
            raise ValueError(
                "`teacher_layers` must be left out without `teacher`. "
                f"Received: teacher_layers={self.teacher_layers}"
            )


@dataclasses.dataclass(frozen=True)
class CellOptions(Options):
    """Network of cells and its training."""

    train_epochs: int = dataclasses.field(
        default=60, metadata={"also": ("--epochs",)}
    )
    """Epochs of the network's training."""
    filters: int = 16
    """Channels of the network's first cell."""
    drop_path_rate: float = 0.1
    """Probability of dropping an edge at the end of training."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "train_epochs", "filters")
        check_rates(self, "drop_path_rate")


@dataclasses.dataclass(frozen=True)
class ExportOptions(Options):
    """Export."""

    export_dir: str = ""
    """Folder for the SavedModel; default `saved_models/<name of output_dir>`
    in the working directory. No version in it is ever overwritten."""
    final: bool = True
    """When all folds are run and scored: train one more network on all
    speakers by the same recipe, and export that one. The scores are those of
    the folds. `--no-final`, and a run of one fold, export the last fold's
    network."""
    calibrate: bool = True
    """Divide the exported logits by a temperature, the geometric mean of those
    that the folds' held-out speakers gave (temperature scaling)."""


@dataclasses.dataclass(frozen=True)
class LiteRTOptions(Options):
    """LiteRT files."""

    litert: bool = False
    """Write LiteRT files of each fold's network in float32, float16 and int8,
    waveform in and features in, and score the former on its test part. A
    finished run is given them by the same command."""


def check_positive_integers(config: Any, *names: str) -> None:
    """Raises `ValueError` unless these fields are integers of at least 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: "
                f"{name}={getattr(config, name)}"
            )


def check_positive(config: Any, *names: str) -> None:
    """Raises `ValueError` unless these fields are positive and finite."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(
                f"`{name}` must be positive and finite. Received: "
                f"{name}={getattr(config, name)}"
            )


def check_rates(config: Any, *names: str) -> None:
    """Raises `ValueError` unless these fields are at least 0 and below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: "
                f"{name}={getattr(config, name)}"
            )
