"""Features of all utterances of a manifest, cached on disk."""

import dataclasses
import functools
import pathlib

import numpy as np
import tensorflow as tf

from ser_keras.audio.batches import compute_features
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import fit_length
from ser_keras.audio.io import load_many
from ser_keras.corpora.manifest import Manifest
from ser_keras.features.store import FeatureStore
from ser_keras.features.store import audio_key
from ser_keras.features.store import settings_key

_CHUNK = 512  # Utterances in memory as waveforms, and in a shard.
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
    arrays: tuple[np.ndarray, ...]
    skipped: tuple[SkippedUtterance, ...] = ()
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
    def num_features(self):
        """Size of the feature axis."""
        return self.arrays[0].shape[1]

    @functools.cached_property
    def lengths(self):
        """Frames of each utterance, int32 array `(utterances,)`."""
        return np.array([len(array) for array in self.arrays], np.int32)

    @property
    def max_length(self):
        """Frames of the longest utterance."""
        return int(self.lengths.max())

    def select(self, manifest):
        """The features of another manifest's utterances, in its order.

        Args:
            manifest: For instance a fold's training part. It may have
                utterances that were skipped; they are left out here as well.

        Returns:
            `FeatureSet`, with the labels of `manifest`.

        Raises:
            ValueError: If an utterance has no features here.
        """
        row_of = {u.id: row for row, u in enumerate(self.manifest)}
        skipped = {skip.id: skip for skip in self.skipped}
        known = row_of.keys() | skipped.keys()
        unknown = [u.id for u in manifest if u.id not in known]
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
        if not np.isfinite(array).all()
    ]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(
            f"Features must be finite. {name} has NaN or infinity in "
            f"{len(bad)} of {len(features)} utterances: {bad[:5]}{more}. "
            "Compute them again, or leave these utterances out"
        )


def join(feature_sets):
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


def features_for(
    manifest,
    frontend,
    cache_dir=None,
    *,
    sample_rate=None,
    duration=None,
    normalization=None,
    skip_bad_audio=False,
):
    """Computes the features of every utterance, or reads them from a cache.

    The cache knows an utterance by the content of its file, and features by
    every setting that decides them, so it never returns stale ones; manifests
    that share utterances share their features. A file that cannot be used is
    reported here, before any training, together with all others.

    Args:
        manifest: `Manifest`.
        frontend: Layer from waveforms `(batch, samples)` to features
            `(batch, time, features)`, such as `MFCC`.
        cache_dir: Folder of the cache. None computes everything.
        sample_rate: Rate to which audio is resampled, in Hz. None means the
            front end's, or 16000 if it has none.
        duration: Longest part of an utterance that is used, in seconds, from
            its middle. None means all of it.
        normalization: Layer that is applied to the features of each whole
            utterance, such as `UtteranceNormalization`, or None.
        skip_bad_audio: Whether utterances with bad audio are left out and
            listed in `skipped`. Otherwise they raise.

    Returns:
        `FeatureSet`, in the manifest's order.

    Raises:
        AudioError: If there is bad audio and it is not to be skipped, or no
            good audio. The message names every file (of many, the first 20).
    """
    frontend_rate = getattr(frontend, "sample_rate", sample_rate or 16000)
    if sample_rate not in (None, frontend_rate):
        raise ValueError(
            "`sample_rate` must be that of the front end. Received: "
            f"sample_rate={sample_rate}, frontend.sample_rate={frontend_rate}"
        )
    if duration is not None and duration <= 0:
        raise ValueError(
            "`duration` must be a positive number of seconds or None. "
            f"Received: duration={duration}"
        )
    featurise = _Featurise(frontend, normalization, frontend_rate, duration)
    store, found, bad = None, {}, {}
    keys = audio_keys(manifest)
    if cache_dir is not None:
        store = FeatureStore(pathlib.Path(cache_dir) / featurise.key())
        found = store.read(keys.values())
    todo = [u for u in manifest if keys[u.id] not in found]
    for first in range(0, len(todo), _CHUNK):
        chunk = todo[first : first + _CHUNK]
        waveforms, errors = featurise.load(chunk)
        bad.update(errors)
        new = featurise({keys[name]: x for name, x in waveforms.items()})
        found.update(new)
        if store is not None:
            store.write(new)
    step = getattr(frontend, "frame_step", None)
    rate = frontend_rate / step if step else None
    return collect(manifest, keys, found, bad, skip_bad_audio, rate)


class _Featurise:
    """From utterances to waveforms to normalised features."""

    def __init__(self, frontend, normalization, sample_rate, duration):
        self.frontend = frontend
        self.normalization = normalization
        self.sample_rate = sample_rate
        self.duration = duration

    def load(self, utterances):
        """Dicts from id to waveform, and from id to `AudioError`."""
        waveforms, errors = load_many(
            [u.path for u in utterances],
            self.sample_rate,
            starts=[u.start for u in utterances],
            ends=[u.end for u in utterances],
            on_error="skip",
        )
        good, bad = {}, {u.id: errors.get(i) for i, u in enumerate(utterances)}
        shortest = getattr(self.frontend, "frame_length", 1)
        for utterance, waveform in zip(utterances, waveforms, strict=True):
            if waveform is None:
                continue
            if len(waveform) < shortest:
                bad[utterance.id] = AudioError(
                    utterance.path,
                    f"{len(waveform)} samples, shorter than one frame of the "
                    f"front end, {shortest}",
                    "Leave it out (recipes: --skip-bad-audio)",
                )
                continue
            longest = len(waveform)
            if self.duration is not None:
                longest = min(longest, round(self.duration * self.sample_rate))
            good[utterance.id] = fit_length(waveform, longest)
        return good, {name: error for name, error in bad.items() if error}

    def __call__(self, waveforms):
        """Dict from key to features, of a dict from key to waveform."""
        if not waveforms:
            return {}
        features = compute_features(list(waveforms.values()), self.frontend)
        if self.normalization is not None:
            # One graph for all lengths; every clip without any padding.
            normalize = tf.function(
                lambda x: self.normalization(x[None])[0],
                input_signature=[
                    tf.TensorSpec((None, features[0].shape[1]), tf.float32)
                ],
                autograph=False,
            )
            features = [normalize(x).numpy() for x in features]
        return dict(zip(waveforms, features, strict=True))

    def key(self):
        """Name of the settings, for the cache."""
        noise = np.random.default_rng(0).normal(0, 0.1, self.sample_rate)
        answer = self({"noise": noise.astype("float32")})["noise"]
        layers = [self.frontend, self.normalization]
        return settings_key(
            [layer for layer in layers if layer is not None],
            answer,
            sample_rate=self.sample_rate,
            duration=self.duration,
        )


def audio_keys(manifest):
    """Dict from id to cache key."""
    keys, known = {}, {}
    for utterance in manifest:
        try:
            keys[utterance.id] = audio_key(
                utterance.path, utterance.start, utterance.end, known
            )
        except OSError:
            # No such key is ever cached; loading it says what is wrong.
            keys[utterance.id] = f"unreadable {utterance.path}"
    return keys


def collect(manifest, keys, found, bad, skip_bad_audio, frame_rate):
    """The feature set of what was found, or an error about what is bad.

    Args:
        manifest: `Manifest`.
        keys: Dict from utterance id to cache key.
        found: Dict from cache key to features.
        bad: Dict from utterance id to `AudioError`.
        skip_bad_audio: See `features_for`.
        frame_rate: Frames in a second, or None.
    """
    skipped = [
        SkippedUtterance(u.id, u.path, str(bad[u.id]))
        for u in manifest
        if u.id in bad
    ]
    if skipped and (not skip_bad_audio or len(skipped) == len(manifest)):
        lines = [f"  {skip.reason}" for skip in skipped[:_SHOWN]]
        if len(skipped) > _SHOWN:
            lines.append(f"  and {len(skipped) - _SHOWN} more")
        raise AudioError(
            f"{len(skipped)} of {len(manifest)} utterances",
            "their audio cannot be used:\n" + "\n".join(lines) + "\n",
            "Repair or remove them, or skip bad audio",
        )
    kept = [u for u in manifest if u.id not in bad]
    return FeatureSet(
        Manifest(kept, manifest.labels),
        [found[keys[u.id]] for u in kept],
        skipped,
        frame_rate,
    )
