"""Parts of a fold: training, validation (held-out speakers) and test."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ser_keras.protocols.held_out import rotate_held_out

if TYPE_CHECKING:
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.features.streams import FeatureStreams
    from ser_keras.protocols.splits import Fold


def fold_parts(
    fold: Fold,
    features: FeatureSet | FeatureStreams | None,
    held_out_speakers: int | Sequence[str] = 1,
    seed: int = 0,
) -> tuple:
    """Training, validation and test part of a fold, without bad audio.

    Args:
        fold: `Fold`.
        features: `FeatureSet` or `FeatureStreams` of all utterances; None
            takes all audio for good.
        held_out_speakers: Training speakers held out to select the epoch:
            their names, as `rotate_held_out` gives them for all folds of a
            run, or how many of this fold alone.
        seed: Seed of their choice.

    Returns:
        `(train, held_out, test)`, manifests; `held_out` is None without
        held-out speakers, and `test` if the epoch is selected on it.

    Raises:
        ValueError: A part is empty, there are too few speakers to hold out, or
            the training part lacks a class. The message names the fold.
    """
    train, test = (_kept(fold, part, features) for part in ("train", "test"))
    held_out, excluded = None, []
    skipped = len(fold.train) - len(train)
    if skipped:
        excluded.append(f"{skipped} utterances skipped as bad audio")
    if fold.selects_on_test:
        held_out = test
    else:
        if isinstance(held_out_speakers, int):
            kept = dataclasses.replace(fold, train=train)
            held_out_speakers = rotate_held_out(
                [kept], held_out_speakers, seed
            )[fold.name]
        names = frozenset(held_out_speakers) & frozenset(train.speakers)
        if names:
            held_out = train.subset(u for u in train if u.speaker in names)
            train = train.subset(u for u in train if u.speaker not in names)
            excluded.append(f"held-out speakers ({', '.join(sorted(names))})")
    counts = train.counts()
    missing = [label for label, count in counts.items() if not count]
    if missing:
        raise ValueError(
            f"Fold {fold.name!r} must have every class in its training part "
            f"(excluded: {' and '.join(excluded) or 'nothing'}). Missing: "
            f"{missing}. Received counts: {counts}. Hold out no speaker "
            "(--held-out-speakers 0) or others (--hold-out NAME), repair the "
            "audio, or select fewer labels (--labels)."
        )
    return train, held_out, test


def check_fold_parts(
    folds: Sequence[Fold],
    features: FeatureSet | FeatureStreams | None,
    held_out_speakers: int | Mapping[str, Sequence[str]] = 1,
    seed: int = 0,
    batch_size: int = 1,
    hold_out: Sequence[str] = (),
) -> None:
    """Raises `ValueError` if a fold cannot be trained or scored.

    Call it before a search or a training. In addition to the checks of
    `fold_parts`, the training part of each fold must fill a batch.

    Args:
        folds: List of `Fold`.
        features: See `fold_parts`.
        held_out_speakers: How many, in turn, see `rotate_held_out`; or the
            names for each fold.
        seed: See `rotate_held_out`.
        batch_size: Utterances in a batch.
        hold_out: `names` of `rotate_held_out`.

    Raises:
        ValueError: See above; the message names the fold.
    """
    held_out = held_out_speakers
    if isinstance(held_out, int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The run says it.
            held_out = rotate_held_out(
                kept_folds(folds, features), held_out, seed, hold_out
            )
    for fold in folds:
        train, _, _ = fold_parts(fold, features, held_out[fold.name])
        if len(train) < batch_size:
            raise ValueError(
                f"`batch_size` must be at most the {len(train)} utterances "
                f"that fold {fold.name!r} trains on. Received: "
                f"batch_size={batch_size}"
            )


def kept_folds(folds, features):
    """Folds whose training parts are without bad audio.

    Args:
        folds: List of `Fold`.
        features: See `fold_parts`.
    """
    return [
        dataclasses.replace(fold, train=_kept(fold, "train", features))
        for fold in folds
    ]


def _kept(fold, part, features):
    """Utterances of a part that have features, a manifest."""
    manifest = getattr(fold, part)
    if features is None:
        return manifest
    known = {u.id for u in features.manifest}
    found = sum(u.id in known for u in manifest)
    if found == len(manifest):
        return manifest
    if not found:
        raise ValueError(
            f"Fold {fold.name!r} must have utterances in its {part} part. "
            f"Received: none of {len(manifest)} has features, as all of their "
            "audio was skipped. Repair it, or choose other folds."
        )
    return features.select(manifest).manifest
