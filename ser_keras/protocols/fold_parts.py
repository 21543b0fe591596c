"""Parts of a fold: training, validation (held-out speakers) and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ser_keras.protocols.splits import hold_out_speakers

if TYPE_CHECKING:
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.features.streams import FeatureStreams
    from ser_keras.protocols.splits import Fold


def fold_parts(
    fold: Fold,
    features: FeatureSet | FeatureStreams,
    held_out_speakers: int = 1,
    seed: int = 0,
) -> tuple:
    """Training, validation and test part of a fold, without bad audio.

    Args:
        fold: `Fold`.
        features: `FeatureSet` or `FeatureStreams` of all utterances.
        held_out_speakers: Number of training speakers held out to select the
            epoch, or 0.
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
    elif held_out_speakers:
        count = len(train.speakers)
        if not 0 < held_out_speakers < count:
            raise ValueError(
                "`held_out_speakers` must be 0 or more, and less than the "
                f"{count} training speakers of fold {fold.name!r}. Received: "
                f"held_out_speakers={held_out_speakers}"
            )
        train, held_out = hold_out_speakers(
            train, count=held_out_speakers, seed=seed
        )
        names = ", ".join(held_out.speakers)
        excluded.append(f"held-out speakers ({names})")
    counts = train.counts()
    missing = [label for label, count in counts.items() if not count]
    if missing:
        raise ValueError(
            f"Fold {fold.name!r} must have every class in its training part "
            f"(excluded: {' and '.join(excluded) or 'nothing'}). Missing: "
            f"{missing}. Received counts: {counts}. Hold out no speaker "
            "(--held-out-speakers 0) or others (another --seed), repair the "
            "audio, or select fewer labels."
        )
    return train, held_out, test


def check_fold_parts(
    folds: Sequence[Fold],
    features: FeatureSet | FeatureStreams,
    held_out_speakers: int = 1,
    seed: int = 0,
    batch_size: int = 1,
) -> None:
    """Raises `ValueError` if a fold cannot be trained or scored.

    Call it before a search or a training. In addition to the checks of
    `fold_parts`, the training part of each fold must fill a batch.

    Args:
        folds: List of `Fold`.
        features: See `fold_parts`.
        held_out_speakers: See `fold_parts`.
        seed: See `fold_parts`.
        batch_size: Utterances in a batch.

    Raises:
        ValueError: See above; the message names the fold.
    """
    for fold in folds:
        train, _, _ = fold_parts(fold, features, held_out_speakers, seed)
        if len(train) < batch_size:
            raise ValueError(
                f"`batch_size` must be at most the {len(train)} utterances "
                f"that fold {fold.name!r} trains on. Received: "
                f"batch_size={batch_size}"
            )


def _kept(fold, part, features):
    """Utterances of a part that have features, a manifest."""
    manifest = getattr(fold, part)
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
