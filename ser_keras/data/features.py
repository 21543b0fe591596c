"""Features of all utterances of a manifest, cached on disk."""

import concurrent.futures
import dataclasses
import functools
import pathlib

import numpy as np

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio
from ser_keras.data.feature_store import FeatureStore
from ser_keras.data.feature_store import audio_key
from ser_keras.data.feature_store import settings_key
from ser_keras.data.manifest import Manifest

_CHUNK = 256  # Utterances in memory as waveforms, and in a shard.
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

    >>> from ser_keras.data.manifest import Utterance
    >>> manifest = Manifest([Utterance("a", "a.wav", "anger", "03")])
    >>> FeatureSet(manifest, [np.zeros((50, 40), "float32")]).max_length
    50
    """

    manifest: Manifest
    arrays: tuple[np.ndarray, ...]
    skipped: tuple[SkippedUtterance, ...] = ()

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
        unknown = [u.id for u in manifest if u.id not in row_of | skipped]
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
        )


def features_for(
    manifest,
    frontend,
    cache_dir=None,
    *,
    sample_rate=16000,
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
        sample_rate: Rate to which audio is resampled, in Hz.
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
    frontend_rate = getattr(frontend, "sample_rate", sample_rate)
    if frontend_rate != sample_rate:
        raise ValueError(
            "`sample_rate` must be that of the front end. Received: "
            f"sample_rate={sample_rate}, frontend.sample_rate={frontend_rate}"
        )
    featurise = _Featurise(frontend, normalization)
    store, found = None, {}
    keys, bad = _audio_keys(manifest)
    if cache_dir is not None:
        store = FeatureStore(
            pathlib.Path(cache_dir)
            / settings_key(
                featurise.layers,
                featurise([_noise(sample_rate)])[0],
                sample_rate=sample_rate,
                duration=duration,
            )
        )
        found = store.read(keys.values())
    todo = [u for u in manifest if u.id in keys and keys[u.id] not in found]
    for first in range(0, len(todo), _CHUNK):
        good = {}
        chunk = todo[first : first + _CHUNK]
        waveforms = _load_all(chunk, sample_rate, duration)
        for utterance, waveform in zip(chunk, waveforms, strict=True):
            if isinstance(waveform, Exception):
                bad[utterance.id] = waveform
            else:
                good[keys[utterance.id]] = waveform
        new = dict(zip(good, featurise(list(good.values())), strict=True))
        found.update(new)
        if store is not None:
            store.write({key: x for key, x in new.items() if len(x)})
    for utterance in manifest:
        if utterance.id not in bad and not len(found[keys[utterance.id]]):
            bad[utterance.id] = AudioError(
                f"{utterance.path}: shorter than one frame of the front end"
            )
    return _collect(manifest, keys, found, bad, skip_bad_audio)


class _Featurise:
    """Front end and normalization of whole utterances of any length."""

    def __init__(self, frontend, normalization):
        self.frontend = frontend
        self.normalization = normalization
        self.layers = [x for x in (frontend, normalization) if x is not None]

    def __call__(self, waveforms):
        if not waveforms:
            return []
        features = compute_features(waveforms, self.frontend)
        if self.normalization is not None:
            features = [
                np.asarray(self.normalization(x[None]))[0] if len(x) else x
                for x in features
            ]
        return [np.asarray(x, np.float32) for x in features]


def _noise(sample_rate):
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, sample_rate).astype("float32")


def _audio_keys(manifest):
    """Cache keys of all utterances, and errors of files not to be read."""
    keys, bad, known = {}, {}, {}
    for utterance in manifest:
        try:
            keys[utterance.id] = audio_key(
                utterance.path, utterance.start, utterance.end, known
            )
        except OSError as error:
            bad[utterance.id] = AudioError(
                f"{utterance.path}: {error.strerror}"
            )
    return keys, bad


def _load_all(utterances, sample_rate, duration):
    """Waveforms, or the `AudioError` where there is none."""

    def load(utterance):
        try:
            waveform = load_audio(
                utterance.path,
                sample_rate,
                start=utterance.start,
                end=utterance.end,
            )
        except AudioError as error:
            return error
        if duration is not None:
            longest = round(duration * sample_rate)
            spare = max(len(waveform) - longest, 0)
            waveform = waveform[spare // 2 :][:longest]
        return waveform

    # Decoding and resampling let other threads run.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(load, utterances))


def _collect(manifest, keys, found, bad, skip_bad_audio):
    skipped = [
        SkippedUtterance(u.id, u.path, str(bad[u.id]))
        for u in manifest
        if u.id in bad
    ]
    if skipped and (not skip_bad_audio or len(skipped) == len(manifest)):
        lines = [f"  {skip.id}: {skip.reason}" for skip in skipped[:_SHOWN]]
        if len(skipped) > _SHOWN:
            lines.append(f"  and {len(skipped) - _SHOWN} more")
        raise AudioError(
            f"{len(skipped)} of {len(manifest)} utterances have audio that "
            "cannot be used. Repair or remove them, or skip bad audio:\n"
            + "\n".join(lines)
        )
    kept = [u for u in manifest if u.id not in bad]
    return FeatureSet(
        Manifest(kept, manifest.labels),
        [found[keys[u.id]] for u in kept],
        skipped,
    )
