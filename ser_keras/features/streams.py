"""FeatureStreams: several kinds of features of the same utterances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from ser_keras._errors import shortened
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import check_finite

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.features.feature_set import SkippedUtterance


class FeatureStreams:
    """Several feature sets of the same utterances, such as MFCC and deep ones.

    It is used like one `FeatureSet`: `make_dataset`, `train_network` and
    `cross_validate` accept it, and its batches are dicts. `make_dataset`
    accepts a plain dict of feature sets, too.

    Args:
        streams: Dict from the name of a stream to its `FeatureSet`. All must
            have the same utterances with the same labels in the same order;
            their frame rates and numbers of features may differ.

    Raises:
        ValueError: The streams differ in utterances, order or labels, or a
            feature is not finite. The message names them.

    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> mel = FeatureSet(manifest, [np.ones((50, 40))], frame_rate=100.0)
    >>> deep = FeatureSet(manifest, [np.ones((1, 1024))], frame_rate=2.0)
    >>> FeatureStreams({"handcrafted": mel, "deep": deep})
    <FeatureStreams: 1 utterances, handcrafted (40), deep (1024)>
    """

    def __init__(self, streams: Mapping[str, FeatureSet]):
        self.streams = dict(streams)
        if not self.streams:
            raise ValueError("`streams` must have at least one stream.")
        for name, features in self.streams.items():
            if not isinstance(features, FeatureSet):
                raise ValueError(
                    "`streams` must be a dict from a name to a `FeatureSet`. "
                    f"Received: {name!r}: {features}"
                )
            check_finite(features, f"Stream {name!r}")
        first, *rest = self.streams
        for other in rest:
            _check_same(first, other, self.streams)

    @property
    def manifest(self) -> Manifest:
        """`Manifest` of the utterances."""
        return next(iter(self.streams.values())).manifest

    @property
    def skipped(self) -> Sequence[SkippedUtterance]:
        """`SkippedUtterance` of each utterance with bad audio."""
        return next(iter(self.streams.values())).skipped

    def __len__(self):
        return len(self.manifest)

    def __repr__(self):
        sizes = ", ".join(f"{k} ({x.num_features})" for k, x in self._items())
        return f"<FeatureStreams: {len(self)} utterances, {sizes}>"

    def select(self, manifest: Manifest) -> FeatureStreams:
        """Selects the features of the utterances of a manifest, in its order.

        Args:
            manifest: See `FeatureSet.select`.

        Returns:
            `FeatureStreams`.
        """
        return FeatureStreams({k: x.select(manifest) for k, x in self._items()})

    def durations(self, duration_frames: Any = None) -> dict[str, int]:
        """Frames of every clip in a batch, for each stream.

        Args:
            duration_frames: Dict from name to frames; or the frames of the
                first stream, from which those of the others are computed for
                the same seconds, rounded up. None means the longest clip of
                each stream.

        Returns:
            Dict from name to frames.

        Raises:
            ValueError: A number is not positive, a name is unknown or missing,
                or clips of unknown frame rate would be cropped.
        """
        if duration_frames is None:
            return {k: x.max_length for k, x in self._items()}
        durations = duration_frames
        if not isinstance(durations, dict):
            durations = self._for_same_seconds(durations)
        if durations.keys() != self.streams.keys() or any(
            frames < 1 for frames in durations.values()
        ):
            raise ValueError(
                "`duration_frames` must be a positive integer, or have one for "
                f"each stream of {list(self.streams)}, or be None. Received: "
                f"duration_frames={duration_frames}"
            )
        cropped = [k for k, x in self._items() if x.max_length > durations[k]]
        if cropped:
            # Streams of one frame a clip are not cropped.
            self._check_rates([k for k, x in self._items() if x.max_length > 1])
        return durations

    def _for_same_seconds(self, frames):
        first, *rest = self.streams
        rest = [k for k in rest if self.streams[k].max_length > 1]
        durations = dict.fromkeys(self.streams, 1) | {first: frames}
        if rest:
            self._check_rates([first, *rest])
        for name in rest:
            rate = self.streams[name].frame_rate
            count = frames * rate / self.streams[first].frame_rate
            durations[name] = math.ceil(count - 1e-6)
        return durations

    def _check_rates(self, names):
        unknown = [k for k in names if self.streams[k].frame_rate is None]
        if len(names) > 1 and unknown:
            raise ValueError(
                "Streams must have a frame rate to be cropped to the same "
                "seconds: give `FeatureSet(..., frame_rate=...)`, frames per "
                "second, or `duration_frames` that no clip of them exceeds. "
                f"Received: no frame rate of {unknown}"
            )

    def _items(self):
        return self.streams.items()


def _check_same(first, other, streams):
    """Raises `ValueError` unless two streams have the same utterances."""
    ids = {k: [u.id for u in streams[k].manifest] for k in (first, other)}
    labels = {k: [u.label for u in streams[k].manifest] for k in (first, other)}
    only = {
        a: sorted(set(ids[a]) - set(ids[b]))
        for a, b in ((first, other), (other, first))
    }
    if any(only.values()):
        found = "; ".join(
            f"only {name!r} has {len(missing)}: {shortened(missing)}"
            for name, missing in only.items()
            if missing
        )
        raise ValueError(
            "Streams must have the same utterances; `select` those that all of "
            f"them have. Received: {found}"
        )
    for row, (a, b) in enumerate(zip(ids[first], ids[other], strict=True)):
        if a != b:
            raise ValueError(
                "Streams must have their utterances in the same order; use "
                f"`FeatureSet.select`. Received: row {row} is {a!r} in "
                f"{first!r} and {b!r} in {other!r}"
            )
    names = [streams[k].manifest.labels for k in (first, other)]
    differ = [
        x
        for x, a, b in zip(
            ids[first], labels[first], labels[other], strict=True
        )
        if a != b
    ]
    if names[0] != names[1] or differ:
        raise ValueError(
            "Streams must have the same labels. Received: "
            f"{first!r} has {names[0]}, {other!r} has {names[1]}, and "
            f"{len(differ)} utterances differ: {shortened(differ)}"
        )
