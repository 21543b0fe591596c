"""A search by itself: a genotype for later trainings, and no more."""

import pathlib
from typing import Any

from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.corpus import read_corpus
from ser_keras.experiments.output import open_run
from ser_keras.experiments.registry import system_class
from ser_keras.experiments.registry import system_of
from ser_keras.features.preprocessor import PREPROCESSOR_FILE
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.training.runtime import Runtime


def run_search(config: Any) -> dict:
    """Searches an architecture on a fold's training speakers, or on all.

    The run's folder then holds `genotype.json`, `preprocessor.json`, and the
    architecture of every epoch. Resumable.

    Args:
        config: Such as `EmoDARTSSearchConfig`. `fold` is the number of the
            fold on whose training speakers to search; 0 is all speakers.

    Returns:
        Dict of the `run`, its `genotype` file, the speakers it was
        `searched_on`, and its `cells`.

    Raises:
        ValueError: The configuration, the corpus or the output folder does
            not fit, or an audio file is bad; before the search.
    """
    name = system_of(config)
    runtime = Runtime.of(config)
    runtime.start()
    config = runtime.for_this_worker(config)
    experiment = system_class(name)(config)
    config = experiment.config
    if (pathlib.Path(config.output_dir) / "config.json").exists():
        open_run(config)  # Another's folder is told before audio is read.
    corpus = read_corpus(config)
    if config.fold:
        (fold,) = chosen_folds(make_folds(config, corpus), config.fold)
        corpus = fold.train
    preprocessor = experiment.preprocessor()
    features = preprocessor.compute(
        corpus, config.cache_dir, skip_bad_audio=config.skip_bad_audio
    )
    runtime.check(True, search_batch_size=config.search_batch_size)
    run = open_run(config)
    preprocessor.save(run.path / PREPROCESSOR_FILE, kind=name)
    run.write_json("skipped.json", features.skipped)
    # A training with the genotype refuses to test whom the search was exposed
    # to. So this is there before the genotype, whenever the search is killed.
    ExposedAudio().add("search", features.manifest).save(run.path)
    with runtime.scope():
        genotype = experiment.search(
            features, run, preprocessor.duration_frames()
        )
    return {
        "run": str(run.path),
        "genotype": str(run.path / "genotype.json"),
        "searched_on": list(features.manifest.speakers),
        "cells": genotype.to_dict(),
        "runtime": runtime.describe(),
    }
