"""Features of each speaker, standardised by that speaker's own clips."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.splits import Fold

#: What the name of a protocol ends with whose test speakers were adapted to.
ADAPTED = ", ADAPTED TO EACH SPEAKER"


def standardize_by_speaker(features: FeatureSet) -> FeatureSet:
    """Standardises features by the mean and deviation of each speaker.

    No label is used, but all clips of a speaker, also of one who is tested:
    scores are then of a system that has heard a speaker before it judges him
    (transductive). A feature that is the same in all clips of a speaker
    becomes 0.

    Args:
        features: `FeatureSet` whose arrays have one shape, such as statistics
            of an encoder's layers, or functionals.

    Returns:
        `FeatureSet` of the same utterances.

    Raises:
        ValueError: Arrays differ in shape, or a speaker has one clip only.

    References:
        Busso et al., "Iterative feature normalization scheme for automatic
        emotion detection from speech", IEEE Transactions on Affective
        Computing 4 (2013), section 2 (speaker normalisation).

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest([
    ...     Utterance(f"{s}{i}", "x.wav", "AN"[i], s)
    ...     for s in "xy"
    ...     for i in (0, 1)
    ... ])
    >>> clips = [[[1.0]], [[3.0]], [[50.0]], [[70.0]]]
    >>> adapted = standardize_by_speaker(FeatureSet(manifest, clips))
    >>> [float(array[0, 0]) for array in adapted.arrays]
    [-1.0, 1.0, -1.0, 1.0]
    """
    shapes = {array.shape for array in features.arrays}
    if len(shapes) > 1:
        raise ValueError(
            "Adaptation to speakers needs one vector of each clip, such as "
            "functionals. Received: features of different lengths"
        )
    arrays: list = [None] * len(features)
    rows: dict[str, list[int]] = {}
    for row, utterance in enumerate(features.manifest):
        rows.setdefault(utterance.speaker, []).append(row)
    for speaker, own in rows.items():
        if len(own) < 2:
            raise ValueError(
                "Adaptation to speakers needs at least two clips of each. "
                f"Received: speaker {speaker!r} with one"
            )
        clips = np.stack([features.arrays[row] for row in own])
        clips = clips.astype("float64")
        deviation = clips.std(axis=0)
        clips = (clips - clips.mean(axis=0)) / np.where(deviation, deviation, 1)
        for row, clip in zip(own, clips.astype("float32"), strict=True):
            arrays[row] = clip
    return dataclasses.replace(features, arrays=arrays)


def adapted_to_speakers(folds: list[Fold]) -> list[Fold]:
    """The folds, with a protocol that says so in every table.

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> from ser_keras.protocols import get_protocol
    >>> manifest = Manifest([
    ...     Utterance(f"{s}{i}", "x.wav", "AN"[i], s)
    ...     for s in "xy"
    ...     for i in (0, 1)
    ... ])
    >>> folds = get_protocol("leave-one-speaker-out").folds(manifest)
    >>> adapted_to_speakers(folds)[0].protocol["name"]
    'leave-one-speaker-out, ADAPTED TO EACH SPEAKER'
    """
    return [
        dataclasses.replace(fold, protocol=_adapted(fold.protocol))
        for fold in folds
    ]


def _adapted(protocol: Any) -> dict[str, Any]:
    protocol = dict(protocol or {"name": "folds of your own"})
    # Not the hash of the protocol itself: its scores are no others' equals.
    changed = (
        {"hash": f"{protocol['hash']}-adapted"} if "hash" in protocol else {}
    )
    return {**protocol, "name": f"{protocol['name']}{ADAPTED}", **changed}
