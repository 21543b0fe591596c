"""Pre-training on another corpus, from which every fold starts."""

import os
import pathlib
from typing import Any

import keras

from ser_keras._files import replace_file
from ser_keras._registry import load_model
from ser_keras.corpora.manifest import Manifest
from ser_keras.features.dataset import class_weights
from ser_keras.features.feature_set import FeatureSet
from ser_keras.models.transfer import transfer_weights
from ser_keras.training.fit import train_network
from ser_keras.training.run_folder import RunFolder


def check_pretraining(config: Any, other: Manifest | None) -> None:
    """Raises `ValueError` if there is no corpus to pre-train on, or too small.

    Args:
        config: With `batch_size` and `pretrain_epochs`.
        other: All utterances of that corpus.
    """
    if other is None:
        raise ValueError(
            "`pretrain_epochs` needs a corpus of its own to train on "
            "(--search-corpus of emoDARTS, --pretrain-corpus of Light-SERNet). "
            f"Received: pretrain_epochs={config.pretrain_epochs}"
        )
    class_weights(other)  # Each class must be there.
    if len(other) < config.batch_size:
        raise ValueError(
            f"`batch_size` must be at most the {len(other)} utterances of "
            "the corpus to pretrain on. Received: "
            f"batch_size={config.batch_size}"
        )


def pretrain(
    build_network: Any,
    features: FeatureSet,
    run: RunFolder,
    *,
    seed: int,
    **training: Any,
) -> pathlib.Path:
    """Trains a network on another corpus, once; resumable.

    Args:
        build_network: `build_network(features)`, a new network for these
            features and their classes.
        features: Of all utterances of that corpus.
        run: The run's folder.
        seed: Of everything random.
        **training: Arguments of `train_network`.

    Returns:
        The network's file, `pretrained.keras` in the run's folder.
    """
    file = run.path / "pretrained.keras"
    if not file.exists():
        print(f"pre-training: {features.manifest.describe()}", flush=True)
        keras.utils.set_random_seed(seed)
        network = build_network(features)
        train_network(
            network,
            features,
            run=run,
            stage="pretrain",
            seed=seed,
            **training,
        )
        replace_file(file, network.save)
    return file


def pretrained(
    network: keras.Model, file: str | os.PathLike[str] | None
) -> keras.Model:
    """The network, with the weights of `pretrain`'s file if there is one."""
    if file is not None:
        transfer_weights(load_model(file), network)
    return network
