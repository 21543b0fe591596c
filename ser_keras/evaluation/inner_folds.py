"""Inner cross-validation: all training speakers choose the epoch, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.predict import predict
from ser_keras.evaluation.predictions import Predictions
from ser_keras.features.dataset import make_dataset
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime
from ser_keras.training.runtime import in_float32

INNER_FOLDS = 3
_PREDICTIONS = "held_out_predictions.csv"


def inner_parts(train: Manifest) -> list[tuple[Manifest, Manifest]]:
    """Divides training speakers into parts, each held out once.

    Args:
        train: Training part of a fold.

    Returns:
        For each inner fold the manifest to train on, and the one that is held
        out.

    Raises:
        ValueError: There is one speaker only, or a part to train on lacks a
            class.

    >>> from ser_keras.corpora.manifest import Utterance
    >>> train = Manifest([
    ...     Utterance(f"{s}{i}", "x.wav", "AN"[i], s)
    ...     for s in "abcd"
    ...     for i in (0, 1)
    ... ])
    >>> [held_out.speakers for _, held_out in inner_parts(train)]
    [('a', 'd'), ('c',), ('b',)]
    """
    speakers = [utterance.speaker for utterance in train]
    if len(train.speakers) < 2:
        raise ValueError(
            "`select` must be 'held-out' with a single training speaker. "
            f"Received: select='inner-cv', speakers={train.speakers}"
        )
    folds = GroupKFold(min(INNER_FOLDS, len(train.speakers)))
    parts = []
    for some, others in folds.split(np.zeros(len(train)), groups=speakers):
        part = train.subset(train[int(row)] for row in some)
        missing = [label for label, n in part.counts().items() if not n]
        if missing:
            raise ValueError(
                "Every inner fold must have every class in its training part. "
                f"Missing: {missing}, with speakers {part.speakers}. Select by "
                "held-out speakers (--select held-out), or fewer labels "
                "(--labels)"
            )
        parts.append((part, train.subset(train[int(row)] for row in others)))
    return parts


def train_by_inner_folds(
    build: Callable[[], Any],
    train_fold: Callable[..., Any],
    train: Manifest,
    features: Any,
    augmented: Any,
    run: RunFolder,
    runtime: Runtime,
    **training: Any,
) -> Any:
    """Trains on all speakers, for as many epochs as an inner one has chosen.

    Each inner fold trains a network on some of the speakers and keeps the epoch
    that is best on the others; then one is trained on all of them, up to the
    median of these epochs. What the inner networks say of the speakers who were
    held out sets the temperature. Resumable, each in a folder of its own.

    Args:
        build: Makes a network.
        train_fold: As `train` of `cross_validate`.
        train: Training part of the fold.
        features: Of all utterances.
        augmented: Further ones, altered.
        run: Folder of the fold.
        runtime: What the networks are trained on; not in its scope.
        **training: Further arguments of `train_fold`.

    Returns:
        What `train_fold` returns, with `held_out`.
    """

    def train_on(part, run, **options):
        with runtime.scope():
            return train_fold(
                build(),
                features.select(part),
                augmented=[altered.select(part) for altered in augmented],
                run=run,
                **options,
            )

    epochs, answers = [], []
    batch_size = training.get("batch_size", 32)
    parts = inner_parts(train)
    for number, (some, others) in enumerate(parts, start=1):
        inner = RunFolder(run.path / f"inner_{number}", run.config)
        file = inner.path / _PREDICTIONS
        if not file.exists():
            print(
                f"inner fold {number}/{len(parts)}: held out "
                f"{', '.join(others.speakers)}",
                flush=True,
            )
            held_out = features.select(others)
            trained = train_on(some, inner, held_out=held_out, **training)
            inner.write_json("chosen.json", {"epoch": trained.epoch})
            network = trained.network
            if not runtime.is_plain:
                network = in_float32(network)
            found = predict(network, make_dataset(held_out, batch_size), others)
            found.save_csv(file)
        epochs.append(inner.read_json("chosen.json")["epoch"])
        answers.append(Predictions.load_csv(file))
    epoch = round(statistics.median(epochs))
    print(
        f"inner folds chose epochs {', '.join(map(str, epochs))}: training on "
        f"all {len(train.speakers)} speakers up to {epoch}",
        flush=True,
    )
    training.pop("select_by", None)  # No speaker is held out.
    trained = train_on(train, run, held_out=None, stop_after=epoch, **training)
    return trained._replace(held_out=Predictions.concatenate(answers))
