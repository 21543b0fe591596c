"""Held-out speakers: which training speakers choose the epoch of each fold."""

from __future__ import annotations

import collections
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from ser_keras._errors import shortened

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.protocols.splits import Fold


def rotate_held_out(
    folds: Sequence[Fold],
    count: int = 1,
    seed: int = 0,
    names: Sequence[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Chooses training speakers of each fold, other ones in each.

    One speaker who is unlike all others would otherwise choose the epoch and
    the temperature of nearly every fold. A speaker is held out again when all
    others have been; as many of one sex as of the other are, and nobody without
    whom the training part lacks a class, as far as the speakers allow. Those
    who have utterances of most classes go before others.

    Args:
        folds: All folds of a run.
        count: How many are held out in each fold, or 0.
        seed: Seed of their order.
        names: Speakers who are held out in each fold that trains on them, in
            place of others; a fold that trains on none of them has others.

    Returns:
        Dict from the name of each fold to the held-out speakers, sorted. A fold
        with a single training speaker holds out nobody, and a warning says so;
        nor does one whose epoch is selected on its test part.

    Raises:
        ValueError: No speaker would be left to train on, or no fold trains on
            one of `names`.

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> from ser_keras.protocols.splits import leave_one_speaker_out
    >>> manifest = Manifest([Utterance(s, s, "anger", s) for s in "abcd"])
    >>> held_out = rotate_held_out(leave_one_speaker_out(manifest))
    >>> sorted(speaker for (speaker,) in held_out.values())
    ['a', 'b', 'c', 'd']
    """
    known = {s for fold in folds for s in fold.train.speakers}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            "`hold_out` must name training speakers. Received unknown ones: "
            f"{unknown}. Known: {shortened(sorted(known), 20)}"
        )
    turns: collections.Counter[Any] = collections.Counter()
    later = collections.Counter(
        s for fold in folds for s in fold.train.speakers
    )
    alone: list[str] = []
    chosen: dict[str, tuple[str, ...]] = {}
    for fold in folds:
        later.subtract(fold.train.speakers)
        speakers = fold.train.speakers
        chosen[fold.name] = ()
        if fold.selects_on_test or not count:
            continue
        if len(speakers) == 1:
            alone.append(fold.name)
            continue
        here = [name for name in names if name in speakers]
        if not 0 < max(count, len(here)) < len(speakers):
            raise ValueError(
                "`held_out_speakers` must be 0 or more, and less than the "
                f"{len(speakers)} training speakers of fold {fold.name!r}. "
                f"Received: held_out_speakers={max(count, len(here))}"
            )
        here = here or _next(fold.train, count, turns, later, seed)
        turns.update(here)
        chosen[fold.name] = tuple(sorted(here))
    if alone:
        warnings.warn(
            f"NOBODY IS HELD OUT in fold {', '.join(alone)}: there is a single "
            "training speaker. The last epoch is kept, not a chosen one, and "
            "probabilities are not calibrated.",
            stacklevel=2,
        )
    return chosen


def _next(
    train: Manifest,
    count: int,
    turns: collections.Counter[Any],
    later: collections.Counter[str],
    seed: int,
) -> list[str]:
    """The next speakers in turn.

    Args:
        train: Training part of a fold.
        count: How many.
        turns: How often each has been held out, and each sex; this is changed.
        later: In how many later folds each can be held out.
        seed: Seed of their order.
    """
    speakers = train.speakers
    order = np.random.default_rng(seed).permutation(len(speakers))
    place = dict(zip(speakers, order.tolist(), strict=True))
    row = {speaker: number for number, speaker in enumerate(speakers)}
    sex = {u.speaker: u.sex for u in train}
    counts = np.zeros((len(speakers), len(train.labels)), int)
    for utterance, label in zip(train, train.label_ids, strict=True):
        counts[row[utterance.speaker], label] += 1
    left = counts.sum(axis=0)
    covered = (counts > 0).sum(axis=1)
    chosen: list[str] = []
    for _ in range(count):
        same = collections.Counter(sex[s] for s in chosen)
        best = min(
            (s for s in speakers if s not in chosen),
            key=lambda s: (
                bool(np.any((left > 0) & (left - counts[row[s]] <= 0))),
                same[sex[s]],
                turns[s],
                later[s],
                turns["sex", sex[s]],
                -covered[row[s]],
                place[s],
            ),
        )
        left = left - counts[row[best]]
        turns["sex", sex[best]] += 1
        chosen.append(best)
    return chosen
