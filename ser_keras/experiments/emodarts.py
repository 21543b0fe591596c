"""A whole emoDARTS run: corpus, search, training, scores, SavedModel."""

import dataclasses
import functools
import pathlib
import typing

import keras

from ser_keras.audio.augmentation.layers import SpecAugment
from ser_keras.audio.fixed_duration import FixedDuration
from ser_keras.audio.mfcc import MFCC
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.experiments import cells
from ser_keras.experiments.cells import CellsConfig
from ser_keras.experiments.cells import keep_genotype
from ser_keras.experiments.common import OneAfterAnother
from ser_keras.experiments.common import all_utterances
from ser_keras.experiments.common import check_positive
from ser_keras.experiments.common import check_speed_range
from ser_keras.experiments.common import chosen_folds
from ser_keras.experiments.common import duration_frames
from ser_keras.experiments.common import finish
from ser_keras.experiments.common import open_run
from ser_keras.experiments.common import read_copies
from ser_keras.experiments.common import read_features
from ser_keras.experiments.common import write_skipped
from ser_keras.experiments.emodarts_checks import check_published
from ser_keras.experiments.emodarts_checks import check_utterances
from ser_keras.experiments.emodarts_checks import given_genotype
from ser_keras.experiments.pretraining import pretrain
from ser_keras.experiments.pretraining import pretrained
from ser_keras.experiments.seeds import run_seeds
from ser_keras.features.feature_set import FeatureSet
from ser_keras.genotype import Genotype
from ser_keras.models.cell_network import CellNetwork
from ser_keras.protocols.leak_guard import FILE
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_disjoint
from ser_keras.protocols.splits import halves
from ser_keras.search.supernet import SuperNet
from ser_keras.search_space import SearchSpace
from ser_keras.training.fit import search_architecture
from ser_keras.training.run_folder import RunFolder

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


@dataclasses.dataclass(frozen=True)
class EmoDARTSConfig(CellsConfig):
    """Search, train and score an emoDARTS network, and export it."""

    output_dir: str = "results/emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    features: typing.Literal["mfcc", "log_mel"] = "mfcc"
    """Cepstral coefficients of 128 bands, or log-mel bands."""
    num_features: int = 40
    """Coefficients or bands of a frame."""
    duration: float = 3.0
    """Length of a clip in seconds; see `clips`."""
    clips: typing.Literal["fixed", "whole"] = "fixed"
    """`fixed`: training and scoring see the middle of a clip, or the clip
    between silence, at one peak level. `whole`: training crops longer clips
    at random and masks the padding of shorter ones, scoring sees whole
    utterances."""
    speed_range: float = 0.1
    """The derived network's training hears each clip also faster and slower
    by this part, pitch and formants with it; 0 for none."""
    published: bool = False
    """Search at the published size: second order, the whole sequential
    space, independent stacks, four recurrent cells of 128 channels, 50
    epochs. Not meant for a CPU; other values of these are refused."""
    num_recurrent_cells: int = 1
    """Recurrent cells."""
    pretrain_epochs: int = 0
    """Epochs in which the derived network first learns the classes of the
    search's own corpus; each fold then starts from there, with a new last
    layer. 0 starts every fold from scratch."""
    pretrain_learning_rate: float = 2e-3
    """Peak learning rate of that, by AdamW."""

    def __post_init__(self):
        if self.published and not self.smoke:
            check_published(self, _PUBLISHED)
        super().__post_init__()
        check_speed_range(self.speed_range)
        check_positive(self, "pretrain_learning_rate")
        if self.pretrain_epochs < 0:
            raise ValueError(
                "`pretrain_epochs` must be 0 or more. Received: "
                f"pretrain_epochs={self.pretrain_epochs}"
            )
        least = 0 if self.genotype else 1
        if self.num_recurrent_cells < least:
            raise ValueError(
                f"`num_recurrent_cells` must be {least} or more. Received: "
                f"num_recurrent_cells={self.num_recurrent_cells}"
            )

    def resolved(self) -> "EmoDARTSConfig":
        """This configuration with `published` and `smoke` spelled out."""
        changes = {}
        if self.published:
            changes |= _PUBLISHED
        if self.smoke:
            changes |= {
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
        return dataclasses.replace(self, **changes)


def run_emodarts(
    config: EmoDARTSConfig,
    folds: list[Fold],
    search_corpus: Manifest | None = None,
) -> dict:
    """Searches, derives, trains, scores and exports; resumable throughout.

    The run's folder then holds `config.json`, `genotype.json`, the alphas of
    every epoch (`architecture.jsonl`), metrics of every epoch, predictions of
    every test utterance, `result.json`, pictures and TensorBoard logs.

    Args:
        config: The configuration.
        folds: All folds of the corpus, of which `config.fold` picks one.
        search_corpus: Another corpus to search on, once for all folds. By
            default each fold searches on its own training speakers.

    Returns:
        What `result.json` holds; with `seeds`, what `seeds.json` holds.

    Raises:
        LeakError: A test utterance's audio was heard by the search or is in a
            training part, under whatever name.
        ValueError: The configuration, the corpus, the genotype or the output
            folder does not fit, or an audio file is bad; before any training.
    """
    if config.pretrain_epochs and search_corpus is None:
        raise ValueError(
            "`pretrain_epochs` needs a corpus of its own to train on (the "
            "EMO-DB recipe: --search-dir). Received: "
            f"pretrain_epochs={config.pretrain_epochs}"
        )
    if config.seeds:
        return run_seeds(config, folds, run_emodarts, search_corpus)
    config = config.resolved()
    folds = chosen_folds(folds, config.fold)
    genotype = given_genotype(config)
    if (pathlib.Path(config.output_dir) / "config.json").exists():
        open_run(config)  # Another's folder is told before audio is read.
    frontend, normalization = front_end(config)
    features = read_features(
        config, all_utterances(folds), frontend, normalization
    )
    start = others = None
    if search_corpus is not None:
        for fold in folds:
            check_disjoint(search_corpus, fold.test)
        others = read_features(config, search_corpus, frontend, normalization)
    check_utterances(config, folds, features, others)
    copies = read_copies(config, features.manifest, frontend, normalization)

    # Whatever is wrong is found before the folder holds the configuration.
    exposed = exposed_by_search(config.genotype, others and others.manifest)
    if others is not None:  # And before hours of searching on them.
        guard_folds(folds, features.manifest, exposed)
    run = open_run(config)
    write_skipped(run, features)
    known = others is not None
    if genotype is not None:
        keep_genotype(run, genotype, config.genotype)
        # A record without what its search has heard would look complete.
        known = (pathlib.Path(config.genotype).parent / FILE).exists()
    if known:
        exposed.save(run.path)
    if others is not None:
        if genotype is None:
            genotype = search(config, others, run)
        if config.pretrain_epochs:
            start = learn_first(config, genotype, others, run)

    outcome = cross_validate(
        functools.partial(_network_of_fold, config, genotype, features, start),
        features,
        folds,
        run=run,
        copies=copies,
        seed=config.seed,
        held_out_speakers=config.held_out_speakers,
        jobs=config.jobs,
        exposed=exposed,
        epochs=config.train_epochs,
        batch_size=config.batch_size,
        duration_frames=duration_frames(config.duration, frontend),
        learning_rate=config.learning_rate,
        augment=augmentation(config),
    )
    return finish(config, run, outcome, frontend, normalization)


def _network_of_fold(config, genotype, features, start, fold, run):
    if genotype is None:
        genotype = search(config, features.select(fold.train), run)
    return pretrained(build_network(config, genotype, features), start)


def search(
    config: EmoDARTSConfig, features: FeatureSet, run: RunFolder
) -> Genotype:
    """Searches on two speaker-disjoint halves of these utterances."""
    manifest = features.manifest
    first, second = halves(manifest, seed=config.seed)
    keras.utils.set_random_seed(config.seed)
    frontend, _ = front_end(config)
    supernet = SuperNet(
        SearchSpace.emodarts(config.sequence, num_nodes=config.num_nodes),
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
    genotype = search_architecture(
        supernet,
        features.select(first),
        features.select(second),
        run=run,
        epochs=config.search_epochs,
        batch_size=config.search_batch_size,
        duration_frames=duration_frames(config.duration, frontend),
        order=config.search_order,
        warm_up_epochs=config.search_warm_up_epochs,
        architecture_learning_rate=config.architecture_learning_rate,
        augment=augmentation(config),
        seed=config.seed,
    )
    print(genotype.describe(), flush=True)
    return genotype


def learn_first(
    config: EmoDARTSConfig,
    genotype: Genotype,
    features: FeatureSet,
    run: RunFolder,
) -> pathlib.Path:
    """Trains the derived network on another corpus; returns its file."""
    frontend, normalization = front_end(config)
    return pretrain(
        functools.partial(build_network, config, genotype),
        features,
        run,
        copies=read_copies(config, features.manifest, frontend, normalization),
        epochs=config.pretrain_epochs,
        batch_size=config.batch_size,
        duration_frames=duration_frames(config.duration, frontend),
        learning_rate=config.pretrain_learning_rate,
        augment=augmentation(config),
        seed=config.seed,
    )


def build_network(
    config: EmoDARTSConfig, genotype: Genotype, features: FeatureSet
) -> CellNetwork:
    """The derived network that a configuration asks for."""
    return CellNetwork(
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


def front_end(config: EmoDARTSConfig):
    """Features and their normalisation, or `None`."""
    layer, normalization = cells.front_end(config)
    if config.clips == "whole":
        return layer, normalization
    if config.features == "mfcc":  # One peak level is normalisation enough.
        layer = MFCC.light_sernet(num_coefficients=config.num_features)
        normalization = None
    layer = FixedDuration(layer, config.duration, peak_percentile=99.9)
    return layer, normalization


def augmentation(config: EmoDARTSConfig):
    """One mask over time and one over the features."""
    return OneAfterAnother(
        SpecAugment(
            num_time_masks=1,
            num_feature_masks=1,
            max_feature_width=max(config.num_features // 10, 1),
        )
    )
