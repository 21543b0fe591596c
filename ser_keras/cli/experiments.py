"""`ser_keras search` and `train`: whole runs on any corpus."""

import dataclasses

from ser_keras.cli.command import Command
from ser_keras.cli.corpus_options import CorpusOptions
from ser_keras.cli.corpus_options import check_together
from ser_keras.cli.corpus_options import make_folds
from ser_keras.cli.corpus_options import read_corpus
from ser_keras.corpora.parsers import load_corpus
from ser_keras.experiments.common import chosen_folds
from ser_keras.experiments.common import open_run
from ser_keras.experiments.common import read_features
from ser_keras.experiments.deep_stream import deep_extractor
from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.emodarts import front_end
from ser_keras.experiments.emodarts import run_emodarts
from ser_keras.experiments.emodarts import search
from ser_keras.experiments.emotionnas import EmotionNASConfig
from ser_keras.experiments.emotionnas import find_genotype
from ser_keras.experiments.emotionnas import open_with_streams
from ser_keras.experiments.emotionnas import run_emotionnas
from ser_keras.export.saved_model.model import takes_waveforms
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.reports.data import protocol_mark
from ser_keras.reports.data import protocol_name


@dataclasses.dataclass(frozen=True)
class SearchEmoDARTSConfig(CorpusOptions, EmoDARTSConfig):
    """Search an emoDARTS architecture, and do no more.

    The run's folder then holds `genotype.json` for `ser_keras train emodarts
    --genotype`, and the architecture of every epoch. Options of the training
    mean nothing here.
    """

    output_dir: str = "results/search_emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    fold: int = 1
    """Number of the fold on whose training speakers to search. 0 searches on
    all speakers: for training on another corpus, whose scores are honest
    then."""

    def __post_init__(self):
        super().__post_init__()
        _check_one_seed(self)


@dataclasses.dataclass(frozen=True)
class SearchEmotionNASConfig(CorpusOptions, EmotionNASConfig):
    """Search an architecture of two streams, and do no more.

    The run's folder then holds `genotype.json` for `ser_keras train emotionnas
    --genotype`, and the architecture of every epoch. Options of the training
    mean nothing here.
    """

    output_dir: str = "results/search_emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    fold: int = 1
    """Number of the fold on whose training speakers to search. 0 searches on
    all speakers: for training on another corpus, whose scores are honest
    then."""

    def __post_init__(self):
        super().__post_init__()
        _check_one_seed(self)
        if self.ablate or self.genotype:
            raise ValueError(
                "A search makes one genotype: `ablate` and `genotype` are for "
                f"`ser_keras train emotionnas`. Received: ablate={self.ablate},"
                f" genotype={self.genotype!r}"
            )


@dataclasses.dataclass(frozen=True)
class TrainEmoDARTSConfig(CorpusOptions, EmoDARTSConfig):
    """Search, train and score an emoDARTS network, and export it."""

    search_corpus: str = ""
    """Name of another corpus, to search on it once instead of on each fold's
    training speakers."""
    search_dir: str = ""
    """Folder of `--search-corpus`."""

    def __post_init__(self):
        super().__post_init__()
        check_together(self, "search_corpus", "search_dir")


@dataclasses.dataclass(frozen=True)
class TrainEmotionNASConfig(CorpusOptions, EmotionNASConfig):
    """Search, train and score a network of two streams, and export it."""


def _check_one_seed(config):
    if config.seeds:
        raise ValueError(
            "A search makes one genotype of one `seed`; `seeds` are for "
            f"`ser_keras train`. Received: seeds={config.seeds}"
        )


def search_emodarts(config):
    """Searches, and says where the genotype is."""
    config, corpus = _begin(config)
    run = open_run(config)
    features = read_features(config, corpus, *front_end(config), run)
    _keep_exposed(run, features)
    return _searched(run, features, search(config, features, run))


def search_emotionnas(config):
    """Searches, and says where the genotype is."""
    extractor = None
    if config.streams != "handcrafted":
        extractor = deep_extractor(config)
    config, corpus = _begin(config)
    run, features = open_with_streams(config, corpus, extractor)
    _keep_exposed(run, features)
    return _searched(run, features, find_genotype(config, features, run))


def _begin(config):
    """The configuration in full, and whom to search on."""
    corpus = read_corpus(config)
    config = config.resolved()
    if config.fold:
        (fold,) = chosen_folds(make_folds(config, corpus), config.fold)
        corpus = fold.train
    return config, corpus


def _keep_exposed(run, features):
    # A training with the genotype refuses to test whom the search has heard. So
    # it is there before the genotype is, whenever the search is killed.
    ExposedAudio().add("search", features.manifest).save(run.path)


def _searched(run, features, genotype):
    return {
        "run": str(run.path),
        "genotype": str(run.path / "genotype.json"),
        "searched_on": list(features.manifest.speakers),
        "cells": genotype.to_dict(),
    }


def train_emodarts(config):
    """Runs the experiment; what `result.json` holds."""
    folds = make_folds(config, read_corpus(config))
    others = None
    if config.search_corpus:
        others = load_corpus(config.search_corpus, config.search_dir)
    return with_folder(config, run_emodarts(config, folds, others))


def train_emotionnas(config):
    """Runs the experiment; what `result.json` or `ablation.json` holds."""
    folds = make_folds(config, read_corpus(config))
    return with_folder(config, run_emotionnas(config, folds))


def with_folder(config, result):
    """What a run found, and where it is."""
    return {"run": config.output_dir, **result}


def show_search(result):
    """Prints where the genotype is."""
    print(f"searched on speakers {', '.join(result['searched_on'])}")
    print(f"genotype in {result['genotype']}")


def show_training(result):
    """Prints the scores, and what to do next."""
    if "seeds" in result:
        print(f"the table of all seeds is in {result['run']}/seeds.md")
        return
    if "scores" not in result:
        print(f"an ablation, with its table, is in {result['run']}")
        return
    name = protocol_name(result) or "unnamed"
    print(f"protocol {name}: {protocol_mark(result)}")
    low_high = result["uar_interval_95"]
    interval = (
        "" if low_high is None else " ({:.3f} to {:.3f})".format(*low_high)
    )
    print(
        f"UAR {result['scores']['uar']:.3f}{interval}, WA "
        f"{result['scores']['wa']:.3f}, {result['scores']['n']} utterances of "
        f"{len(result['scores']['per_speaker'])} test speakers"
    )
    if takes_waveforms(result["saved_model"]):
        model = result["saved_model"]
        print(f"try it: ser_keras predict --model {model} FILE")


SEARCH_EMODARTS = Command(SearchEmoDARTSConfig, search_emodarts, show_search)
SEARCH_EMOTIONNAS = Command(
    SearchEmotionNASConfig, search_emotionnas, show_search
)
TRAIN_EMODARTS = Command(TrainEmoDARTSConfig, train_emodarts, show_training)
TRAIN_EMOTIONNAS = Command(
    TrainEmotionNASConfig, train_emotionnas, show_training
)
