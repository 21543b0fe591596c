"""emoDARTS: cells of a CNN and of a recurrent network, searched jointly."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from ser_keras import audio
from ser_keras import models
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.corpus import check_together
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.experiment import Range
from ser_keras.experiments.front_ends import mfcc_or_log_mel
from ser_keras.experiments.front_ends import utterance_normalization
from ser_keras.experiments.options import AlterationOptions
from ser_keras.experiments.options import CellOptions
from ser_keras.experiments.options import ExportOptions
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import FeatureOptions
from ser_keras.experiments.options import LiteRTOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.options import SearchOptions
from ser_keras.experiments.options import TeacherOptions
from ser_keras.experiments.options import TrainingOptions
from ser_keras.experiments.options import check_positive
from ser_keras.genotype import Genotype
from ser_keras.protocols.splits import halves
from ser_keras.search_space import SearchSpace

if typing.TYPE_CHECKING:
    from ser_keras.features.preprocessor import Preprocessor

#: What `published` stands for.
_PUBLISHED = {
    "sequence": "all",
    "search_epochs": 50,
    "search_warm_up_epochs": 0,
    "search_order": 2,
    "search_filters": 8,
    "filters": 8,
    "num_recurrent_cells": 4,
    "recurrent_filters": 128,
    "architecture_learning_rate": 3e-4,
}
#: What `smoke` stands for.
_SMOKE = {
    "sequence": "lstm",
    "search_epochs": 1,
    "search_warm_up_epochs": 0,
    "search_batch_size": 4,
    "search_filters": 4,
    "filters": 4,
    "num_nodes": 1,
    "num_cells": 3,
    "recurrent_filters": 8,
    "train_epochs": 1,
    "batch_size": 8,
    "duration": 1.0,
    "num_features": 24,
}


@dataclasses.dataclass(frozen=True)
class EmoDARTSSearchConfig(
    SearchOptions,
    FeatureOptions,
    CorpusOptions,
    RuntimeOptions,
    OutputOptions,
):
    """Search an emoDARTS architecture, and do no more.

    The run's folder then holds `genotype.json` for `ser_keras train emodarts
    --genotype`, and the architecture of every epoch. `--fold` is the number of
    the fold on whose training speakers to search; 0 searches on all speakers,
    for training on another corpus.
    """

    output_dir: str = "results/search_emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    clips: typing.Literal["fixed", "whole"] = "fixed"
    """`fixed`: training and scoring see the middle of a clip, or the clip
    between silence, at one peak level. `whole`: training crops longer clips
    at random and masks the padding of shorter ones, scoring sees whole
    utterances."""
    published: bool = False
    """Search at the published size: second order, the whole sequential
    space, independent stacks, four recurrent cells of 128 channels, 50
    epochs. Not meant for a CPU; other values of these are refused."""
    num_recurrent_cells: int = 1
    """Recurrent cells."""

    def __post_init__(self):
        if self.published and not self.smoke:
            _check_published(self)
        super().__post_init__()
        least = 0 if getattr(self, "genotype", "") else 1
        if self.num_recurrent_cells < least:
            raise ValueError(
                f"`num_recurrent_cells` must be {least} or more. Received: "
                f"num_recurrent_cells={self.num_recurrent_cells}"
            )

    def resolved(self):
        """This configuration with `published` and `smoke` spelled out."""
        changes = _PUBLISHED if self.published else {}
        if self.smoke:
            changes = {**changes, **_SMOKE}
        names = {field.name for field in dataclasses.fields(self)}
        changes = {k: v for k, v in changes.items() if k in names}
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class EmoDARTSConfig(
    CellOptions,
    TrainingOptions,
    TeacherOptions,
    AlterationOptions,
    FanOutOptions,
    LiteRTOptions,
    ExportOptions,
    EmoDARTSSearchConfig,
):
    """Search, train and score an emoDARTS network, and export it."""

    output_dir: str = "results/emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    fold: int = 1
    """Number of the fold to run; 0 runs all folds."""
    genotype: str = ""
    """Genotype file to train, instead of searching."""
    architecture: typing.Literal["search", "random"] = "search"
    """Search each fold's architecture on its training speakers; or draw one
    at random from the search space, the control of every search."""
    architecture_seed: int | None = None
    """Seed of `--architecture random`; default `--seed`."""
    speed_range: float = 0.1
    """Speed perturbation: training uses each clip also faster and slower by
    this part, pitch and formants with it; 0 for none."""
    search_corpus: str = ""
    """Name of another corpus, to search on it once instead of on each fold's
    training speakers."""
    search_dir: str = ""
    """Folder of `--search-corpus`."""
    pretrain_epochs: int = 0
    """Epochs in which the network is first trained on the classes of
    `--search-corpus`; each fold then starts from there, with a new last
    layer. 0 starts every fold from scratch."""
    pretrain_learning_rate: float = 2e-3
    """Peak learning rate of the pre-training, by AdamW."""

    def __post_init__(self):
        super().__post_init__()
        check_together(self, "search_corpus", "search_dir")
        check_speed_range(self.speed_range)
        check_positive(self, "pretrain_learning_rate")
        if self.pretrain_epochs < 0:
            raise ValueError(
                "`pretrain_epochs` must be 0 or more. Received: "
                f"pretrain_epochs={self.pretrain_epochs}"
            )
        if self.genotype and self.architecture == "random":
            raise ValueError(
                "`genotype` must be left out with a random architecture. "
                f"Received: genotype={self.genotype!r}, architecture='random'"
            )


class EmoDARTSExperiment(Experiment):
    """emoDARTS: search, derived network, training.

    References:
        Rajapakshe et al., "emoDARTS: Joint optimisation of CNN and sequential
        neural network architectures for superior speech emotion recognition",
        IEEE Access, 2024.
    """

    tunable: typing.ClassVar[dict] = {
        "filters": (4, 8, 16),
        "num_cells": Range(3, 6, 1),
        "recurrent_filters": (16, 32, 64),
        "dropout": Range(0.0, 0.5, 0.1),
        "drop_path_rate": (0.0, 0.1, 0.2),
        "learning_rate": Range(3e-4, 1e-2, "log"),
    }

    def tunable_options(self):
        options, genotype = dict(self.tunable), self.genotype()
        if genotype is not None and not genotype.normal:
            del options["num_cells"], options["filters"]
        return options

    def preprocessor(self):
        return cell_preprocessor(self.config)

    @property
    def searches(self):
        return not self.config.genotype and self.config.architecture == "search"

    def space(self) -> SearchSpace:
        """The search space that the configuration asks for."""
        return SearchSpace.emodarts(
            self.config.sequence, num_nodes=self.config.num_nodes
        )

    def genotype(self):
        config = self.config
        if config.genotype:
            genotype = Genotype.load(config.genotype)
            _check_cells(config, genotype)
            return genotype
        if config.architecture == "random":
            seed = config.architecture_seed
            return self.space().sample(config.seed if seed is None else seed)
        return None

    def search(self, features, run, duration_frames=None):
        import keras

        from ser_keras.search.supernet import SuperNet
        from ser_keras.training.fit import search_architecture

        config, manifest = self.config, features.manifest
        first, second = halves(manifest, seed=config.seed)
        keras.utils.set_random_seed(config.seed)
        supernet = SuperNet(
            self.space(),
            input_shape=(None, features.num_features, 1),
            num_classes=len(manifest.labels),
            seed=config.seed,
            filters=config.search_filters,
            num_cells=config.num_cells,
            num_recurrent_cells=config.num_recurrent_cells,
            recurrent_filters=config.recurrent_filters,
            shared_stacks=not config.published,
            stem_strides=1 if config.published else 2,
        )
        return search_architecture(
            supernet,
            features.select(first),
            features.select(second),
            run=run,
            epochs=config.search_epochs,
            batch_size=config.search_batch_size,
            duration_frames=duration_frames,
            order=config.search_order,
            warm_up_epochs=config.search_warm_up_epochs,
            architecture_learning_rate=config.architecture_learning_rate,
            augment=self.augmentation(features),
            seed=config.seed,
        )

    def build(self, features, genotype=None):
        config = self.config
        return models.CellNetwork(
            genotype,
            input_shape=(None, features.num_features, 1),
            num_classes=len(features.manifest.labels),
            filters=config.filters,
            num_cells=config.num_cells,
            num_recurrent_cells=config.num_recurrent_cells,
            recurrent_filters=config.recurrent_filters,
            dropout=config.dropout,
            drop_path_rate=config.drop_path_rate,
            stem_strides=1 if config.published else 2,
        )

    def augmentation(self, features):
        return one_mask_each(features.num_features)

    def speeds(self):
        return speeds(self.config.speed_range)

    def training(self):
        return cell_training(self.config)

    def other_corpus(self):
        return self.config.search_corpus, self.config.search_dir

    def pretraining(self):
        config = self.config
        if not config.pretrain_epochs:
            return None
        return {
            **self.training(),
            "epochs": config.pretrain_epochs,
            "learning_rate": config.pretrain_learning_rate,
        }

    def check(self, folds, features, other=None):
        from ser_keras.experiments.pretraining import check_pretraining
        from ser_keras.training.fit import check_search_batch

        super().check(folds, features, other)
        config = self.config
        if config.pretrain_epochs:
            check_pretraining(config, other)
        elif config.teacher:
            raise ValueError(
                "`teacher` needs `pretrain_epochs`, in which the network "
                f"learns from it. Received: teacher={config.teacher!r}, "
                "pretrain_epochs=0"
            )
        if not self.searches:
            return
        parts = [other]
        if other is None:
            parts = [features.select(fold.train).manifest for fold in folds]
        for part in parts:
            first, second = halves(part, seed=config.seed)
            check_search_batch(config.search_batch_size, first, second)


def cell_preprocessor(config: Any) -> Preprocessor:
    """Features of a network of cells, as `features` and `clips` say."""
    from ser_keras.features.preprocessor import Preprocessor

    layer = mfcc_or_log_mel(config.features, config.num_features)
    normalization = utterance_normalization(config.features)
    if config.clips == "whole":
        return Preprocessor(layer, normalization, config.duration)
    if config.features == "mfcc":  # One peak level is enough.
        layer = audio.MFCC.light_sernet(num_coefficients=config.num_features)
        normalization = None
    return Preprocessor(
        audio.FixedDuration(layer, config.duration, peak_percentile=99.9),
        normalization,
    )


def one_mask_each(num_features: int) -> audio.AugmentationChain:
    """One mask over time and one over the features."""
    return audio.AugmentationChain(
        audio.SpecAugment(
            num_time_masks=1,
            num_feature_masks=1,
            max_feature_width=max(num_features // 10, 1),
        )
    )


def cell_training(config: Any) -> dict:
    """Arguments of `train_network` for networks of cells."""
    return {
        "epochs": config.train_epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
    }


def speeds(speed_range: float) -> tuple[float, ...]:
    """Speeds of speed perturbation by a part of a clip's speed."""
    if not speed_range:
        return ()
    return (1 - speed_range, 1 + speed_range)


def check_speed_range(speed_range: float) -> None:
    """Raises `ValueError` unless this is a part of a clip's speed."""
    if not 0 <= speed_range < 1:
        raise ValueError(
            "`speed_range` must be at least 0 and below 1. Received: "
            f"speed_range={speed_range}"
        )


def _check_published(config):
    """Raises `ValueError` if a field has another value than published."""
    defaults = {x.name: x.default for x in dataclasses.fields(config)}
    for name, value in _PUBLISHED.items():
        if name not in defaults:
            continue
        if getattr(config, name) not in (value, defaults[name]):
            raise ValueError(
                f"`published` sets {name}={value!r}: leave out one of the "
                f"two. Received: {name}={getattr(config, name)!r}"
            )


def _check_cells(config, genotype):
    """Raises `ValueError` unless a genotype has the cells of the network."""
    for kind, name in (
        ("normal", "num_cells"),
        ("recurrent", "num_recurrent_cells"),
    ):
        count, there = getattr(config, name), kind in genotype.cells
        if bool(count) != there:
            raise ValueError(
                f"{config.genotype} has {'a' if there else 'no'} {kind!r} "
                f"cell: `{name}` must be {'positive' if there else 0}. "
                f"Received: {name}={count}"
            )
