"""FeatureSet: the features of all utterances of a manifest."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_keras._errors import shortened
from ser_keras.audio.io import AudioError
from ser_keras.corpora.audio_content_cache import file_hashes
from ser_keras.corpora.manifest import Manifest
from ser_keras.features.mapped_frames import known_finite
from ser_keras.features.store import audio_key

_SHOWN = 20  # Files an error message names.


@dataclasses.dataclass(frozen=True)
class SkippedUtterance:
    """An utterance that was left out, and why."""

    id: str
    path: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """The utterances of a manifest, and the features of each.

    Args:
        manifest: `Manifest`.
        arrays: Float32 arrays `(time, features)`, in the manifest's order.
        skipped: `SkippedUtterance` of each utterance with bad audio.
        frame_rate: Frames in a second, or None if it is not known. Several
            streams are cropped to the same seconds by it.

    >>> from ser_keras.corpora.manifest import Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> FeatureSet(manifest, [np.zeros((50, 40), "float32")]).max_length
    50
    """

    manifest: Manifest
    arrays: Sequence[np.ndarray]
    skipped: Sequence[SkippedUtterance] = ()
    frame_rate: float | None = None

    def __post_init__(self):
        arrays = tuple(np.asarray(array, np.float32) for array in self.arrays)
        if len(arrays) != len(self.manifest) or any(
            array.ndim != 2
            or not len(array)
            or array.shape[1] != arrays[0].shape[1]
            for array in arrays
        ):
            raise ValueError(
                "`arrays` must be one `(time, features)` for each of "
                f"{len(self.manifest)} utterances, time at least 1. Received "
                f"shapes: {[array.shape for array in arrays[:5]]}, "
                f"{len(arrays)} arrays"
            )
        if self.frame_rate is not None and not self.frame_rate > 0:
            raise ValueError(
                "`frame_rate` must be a positive number of frames per second, "
                f"or None. Received: frame_rate={self.frame_rate}"
            )
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "skipped", tuple(self.skipped))

    def __len__(self):
        return len(self.manifest)

    @property
    def num_features(self) -> int:
        """Size of the feature axis."""
        return self.arrays[0].shape[1]

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Frames of each utterance, int32 array `(utterances,)`."""
        return np.array([len(array) for array in self.arrays], np.int32)

    @functools.cached_property
    def _row_of(self):
        return {u.id: row for row, u in enumerate(self.manifest)}

    @property
    def max_length(self) -> int:
        """Frames of the longest utterance."""
        return int(self.lengths.max())

    def select(self, manifest: Manifest) -> FeatureSet:
        """The features of another manifest's utterances, in its order.

        Args:
            manifest: For instance a fold's training part. It may have
                utterances that were skipped; they are left out here as well.

        Returns:
            `FeatureSet`, with the labels of `manifest`.

        Raises:
            ValueError: If an utterance has no features here.
        """
        row_of = self._row_of
        skipped = {skip.id: skip for skip in self.skipped}
        unknown = [
            u.id for u in manifest if u.id not in row_of and u.id not in skipped
        ]
        if unknown:
            raise ValueError(
                "`manifest` must hold utterances of this feature set only. "
                f"Received {len(unknown)} others, first {unknown[:3]}"
            )
        kept = [u for u in manifest if u.id in row_of]
        return FeatureSet(
            Manifest(kept, manifest.labels),
            [self.arrays[row_of[u.id]] for u in kept],
            [skipped[u.id] for u in manifest if u.id in skipped],
            self.frame_rate,
        )


def is_finite(array):
    """Whether no value is NaN or infinite; a store's frames are not read."""
    return known_finite(array) or bool(np.isfinite(array).all())


def check_finite(features, name="The feature set"):
    """Raises if a feature is NaN or infinite.

    Args:
        features: `FeatureSet`.
        name: What the message calls it.

    Raises:
        ValueError: It is; the message names the utterances.
    """
    bad = [
        u.id
        for u, array in zip(features.manifest, features.arrays, strict=True)
        if not is_finite(array)
    ]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(
            f"Features must be finite. {name} has NaN or infinity in "
            f"{len(bad)} of {len(features)} utterances: {bad[:5]}{more}. "
            "Compute them again, or leave these utterances out"
        )


def join(feature_sets: Sequence[Any]) -> Any:
    """One feature set of several with the same labels.

    Args:
        feature_sets: Sequence of `FeatureSet`, or of `FeatureStreams` with
            the same streams. Utterances of the second and later ones are
            renamed, from `id` to `id@1`, `id@2` ...

    >>> from ser_keras.corpora.manifest import Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> clip = FeatureSet(manifest, [np.zeros((5, 2), "float32")])
    >>> [utterance.id for utterance in join([clip, clip]).manifest]
    ['a', 'a@1']
    """
    first, *others = feature_sets
    if not others:
        return first
    if not isinstance(first, FeatureSet):
        parts = [feature_set.streams for feature_set in feature_sets]
        return type(first)({k: join([p[k] for p in parts]) for k in parts[0]})
    utterances, arrays = list(first.manifest), list(first.arrays)
    for number, other in enumerate(others, start=1):
        arrays += other.arrays
        utterances += [
            dataclasses.replace(u, id=f"{u.id}@{number}")
            for u in other.manifest
        ]
    manifest = Manifest(utterances, first.manifest.labels)
    return FeatureSet(manifest, arrays, frame_rate=first.frame_rate)


def audio_keys(manifest):
    """Dict from id to cache key."""
    keys, known = {}, file_hashes(u.path for u in manifest)
    for utterance in manifest:
        try:
            keys[utterance.id] = audio_key(
                utterance.path, utterance.start, utterance.end, known
            )
        except OSError:
            # No such key is ever cached; loading it says what is wrong.
            keys[utterance.id] = f"unreadable {utterance.path}"
    return keys


def read_back(store, keys, bad):
    """What a store has of all utterances, after their features were written.

    Args:
        store: `FeatureStore`.
        keys: Dict from utterance id to cache key.
        bad: Ids of utterances that have none.

    Returns:
        Dict from cache key to features.

    Raises:
        OSError: Some are not there, or damaged.
    """
    found = store.read(keys.values())
    lost = [k for k, key in keys.items() if key not in found and k not in bad]
    if lost:
        raise OSError(
            f"{store.folder} does not hold what was just written to it: "
            f"features of {len(lost)} utterances are missing or damaged, "
            f"{shortened(lost)}. Check the disk, or choose another folder"
        )
    return found


def collect(manifest, keys, found, bad, skip_bad_audio, frame_rate):
    """The feature set of what was found, or an error about what is bad.

    Args:
        manifest: `Manifest`.
        keys: Dict from utterance id to cache key.
        found: Dict from cache key to features.
        bad: Dict from utterance id to `AudioError`.
        skip_bad_audio: See `Preprocessor.compute`.
        frame_rate: Frames in a second, or None.
    """
    skipped = [
        SkippedUtterance(u.id, u.path, f"{bad[u.id].path}: {bad[u.id].found}")
        for u in manifest
        if u.id in bad
    ]
    if skipped and (not skip_bad_audio or len(skipped) == len(manifest)):
        lines = [f"  {skip.reason}" for skip in skipped[:_SHOWN]]
        if len(skipped) > _SHOWN:
            lines.append(f"  and {len(skipped) - _SHOWN} more")
        raise AudioError(
            f"{len(skipped)} of {len(manifest)} utterances",
            "bad audio",
            f"Mend or remove {'it' if len(skipped) == 1 else 'them'}, or leave "
            "bad audio out with --skip-bad-audio:\n" + "\n".join(lines),
        )
    kept = [u for u in manifest if u.id not in bad]
    return FeatureSet(
        Manifest(kept, manifest.labels),
        [found[keys[u.id]] for u in kept],
        skipped,
        frame_rate,
    )
