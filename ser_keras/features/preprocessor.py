"""Preprocessor: everything between an audio file and a network's input.

A network gives the right answers only for the features that it was trained on.
So the object that computes them in training is saved with the network, as
`preprocessor.json`, and exports and servers load that object; they do not
rebuild it from options.

There is one class for each kind of input: `Preprocessor` of a front end in the
graph, `DeepFeatures` of an extractor outside of it, and `StreamPreprocessors`
of several streams. All have `compute`, `get_config`, `hash` and `save`.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import importlib
import inspect
import json
import math
import os
import pathlib
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ser_keras
from ser_keras._files import write_text
from ser_keras._keras_file import check_config
from ser_keras._registry import register_all
from ser_keras._registry import serializable
from ser_keras.audio.augmentation.speed import AtSpeed
from ser_keras.audio.batches import compute_features
from ser_keras.audio.front_end import FrontEnd
from ser_keras.audio.front_end import FrontEndWrapper
from ser_keras.audio.io import load_many
from ser_keras.audio.io import too_short
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import audio_keys
from ser_keras.features.feature_set import collect
from ser_keras.features.feature_set import read_back
from ser_keras.features.store import FeatureStore
from ser_keras.features.store import digest
from ser_keras.features.store import layer_settings
from ser_keras.features.store import settings_key
from ser_keras.features.streams import FeatureStreams

if TYPE_CHECKING:
    from ser_keras.audio.alterations import Alteration
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.manifest import Utterance

#: Name of the file in a run's folder and in a preset.
PREPROCESSOR_FILE = "preprocessor.json"
_CHUNK = 512  # Utterances in memory as waveforms, and in a shard.


class Saved:
    """Saving and hashing, the same for every kind of preprocessor."""

    get_config: Callable[[], dict[str, Any]]

    @property
    def hash(self) -> str:
        """Hash of the configuration: equal where the features are equal."""
        return self._hash(self.get_config())

    def _hash(self, config):
        config = layer_settings({"class": type(self).__name__, **config})
        text = json.dumps(config, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def save(self, path: str | os.PathLike[str], **entries: Any) -> None:
        """Writes `preprocessor.json`.

        Args:
            path: The file.
            **entries: Further entries of the file, JSON types, such as the
                `kind` of a run.
        """
        record = {
            **entries,
            "hash": self.hash,
            "version": ser_keras.__version__,
            "preprocessor": keras.saving.serialize_keras_object(self),
        }
        write_text(path, json.dumps(record, indent=2) + "\n")


@serializable
class Preprocessor(Saved, keras.layers.Layer):
    """Front end and normalization of one stream, from waveforms to features.

    As a layer it is part of exported graphs; `compute` runs it over a corpus,
    with a cache. Both give the same features.

    Args:
        frontend: `FrontEnd`, such as `MFCC`, from waveforms to features.
            `FixedDuration` around it makes every clip of one duration.
        normalization: Layer that is called with the features and their
            `lengths` in frames, such as `UtteranceNormalization`; or `None`.
        duration: Seconds of a clip where it must have a fixed length: in
            training batches and in LiteRT files. A front end with a duration
            of its own needs none.

    Call arguments:
        waveform: `(batch, samples)`, floats in [-1, 1] at `sample_rate`.
        lengths: `(batch,)`, samples of each clip; what follows is padding of
            any value and changes nothing. `None`: all samples.

    Output shape:
        `(batch, time, features)`; frames after a clip's end are zero.

    Raises:
        ValueError: `frontend` is no front end or has another `duration`, or
            `normalization` takes no `lengths`.

    Example:
    >>> from ser_keras.audio import MFCC, UtteranceNormalization
    >>> preprocessor = Preprocessor(MFCC(), UtteranceNormalization())
    >>> preprocessor(np.ones((2, 16000), "float32")).shape
    TensorShape([2, 97, 40])
    >>> path = getfixture("tmp_path") / "preprocessor.json"
    >>> preprocessor.save(path)
    >>> load_preprocessor(path).hash == preprocessor.hash
    True
    """

    def __init__(
        self,
        frontend: FrontEnd,
        normalization: keras.layers.Layer | None = None,
        duration: float | None = None,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if not isinstance(frontend, FrontEnd):
            raise ValueError(
                "`frontend` must be a ser_keras.audio.FrontEnd, such as MFCC; "
                "a front end of your own derives from it. Received: "
                f"frontend={frontend!r}"
            )
        if normalization is not None and "lengths" not in (
            inspect.signature(normalization.call).parameters
        ):
            raise ValueError(
                "`normalization` must be a layer whose call takes `lengths`, "
                "frames of each clip of a padded batch. Received: "
                f"normalization={normalization!r}"
            )
        own = frontend.duration
        if duration is None:
            duration = own
        elif own not in (None, duration):
            raise ValueError(
                f"`duration` must be None or the front end's own, {own} s. "
                f"Received: duration={duration}"
            )
        if duration is not None and not 0 < duration < math.inf:
            raise ValueError(
                "`duration` must be positive, finite seconds, or None. "
                f"Received: duration={duration}"
            )
        self.frontend = frontend
        self.normalization = normalization
        self.duration = duration
        self.built = True

    @property
    def sample_rate(self) -> int:
        """Rate of the waveforms, Hz."""
        return self.frontend.sample_rate

    @property
    def num_features(self) -> int:
        """Size of the feature axis."""
        return self.frontend.num_features

    @property
    def frame_rate(self) -> float | None:
        """Frames per second; None if every clip is made of one duration."""
        return self.frontend.frame_rate

    @property
    def fixes_duration(self) -> bool:
        """Whether every clip is made of `duration`, cropped or padded."""
        return self.frontend.duration is not None

    @property
    def in_graph(self) -> bool:
        """Whether it can be part of an exported graph: always."""
        return True

    def describe(self) -> str:
        """The features in a line, for people.

        >>> from ser_keras.audio import MFCC, FixedDuration
        >>> Preprocessor(FixedDuration(MFCC(), 3.0)).describe()
        '40 MFCC features at 16000 Hz, every clip made of 3 s'
        """
        frontend = self.frontend
        while isinstance(frontend, FrontEndWrapper):
            frontend = frontend.frontend
        parts = [
            f"{self.num_features} {type(frontend).__name__} features at "
            f"{self.sample_rate} Hz"
        ]
        if self.fixes_duration:
            parts.append(f"every clip made of {self.duration:g} s")
        if self.normalization is not None:
            parts.append(type(self.normalization).__name__)
        return ", ".join(parts)

    def duration_frames(self) -> int | None:
        """Frames of a clip of `duration`, or None without one."""
        if self.duration is None:
            return None
        samples = math.ceil(self.duration * self.sample_rate)
        return int(self.frontend.num_frames(samples))

    def at_speed(self, speed: float) -> Preprocessor:
        """The same for speed perturbation: clips faster by a factor.

        For training only. A front end that makes clips of one duration makes
        them as long as before, of more or less of a recording.
        """
        return Preprocessor(AtSpeed(self.frontend, speed), self.normalization)

    def without_fft(self) -> Preprocessor:
        """The same with operations that LiteRT has, for exports."""
        return Preprocessor(
            self.frontend.without_fft(), self.normalization, self.duration
        )

    def call(
        self, waveform: tf.Tensor, lengths: tf.Tensor | None = None
    ) -> tf.Tensor:
        waveform = tf.cast(waveform, "float32")
        frames = None
        if lengths is not None:
            real = tf.sequence_mask(lengths, tf.shape(waveform)[1])
            # Not a product: the padding may be NaN.
            waveform = tf.where(real, waveform, 0.0)
            frames = self.frontend.num_frames(lengths)
        return self.normalize(self.frontend(waveform, lengths=lengths), frames)

    def normalize(
        self, features: tf.Tensor, frames: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalizes features and zeroes what is beyond a clip's end.

        Args:
            features: `(batch, time, features)`, from the front end.
            frames: `(batch,)`, frames of each clip; `None`: all.

        Returns:
            `(batch, time, features)`.
        """
        if self.normalization is not None:
            features = self.normalization(features, lengths=frames)
        if frames is not None:
            real = tf.sequence_mask(frames, tf.shape(features)[1])
            features = tf.where(real[:, :, None], features, 0.0)
        return features

    def compute_output_shape(
        self,
        waveform_shape: Sequence[Any],
        lengths_shape: Sequence[Any] | None = None,
    ) -> Any:
        return self.frontend.compute_output_shape(waveform_shape)

    def missing(
        self,
        manifest: Manifest,
        cache_dir: str | os.PathLike[str],
        alteration: Alteration | None = None,
    ) -> list[Utterance]:
        """The utterances whose features are not in a cache.

        Args:
            manifest: `Manifest`.
            cache_dir: Folder of the cache.
            alteration: See `compute`.
        """
        keys = audio_keys(manifest)
        found = self._store(cache_dir, alteration).read(keys.values())
        return [u for u in manifest if keys[u.id] not in found]

    def compute(
        self,
        manifest: Manifest,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        skip_bad_audio: bool = False,
        alteration: Alteration | None = None,
    ) -> FeatureSet:
        """Computes the features of every utterance, or reads them from a cache.

        The cache knows an utterance by the content of its file, and features
        by every setting that decides them, so it never returns stale ones;
        manifests that share utterances share their features. A file that
        cannot be used is reported here, before any training, together with all
        others.

        Args:
            manifest: `Manifest`.
            cache_dir: Folder of the cache. Features then stay in its files,
                which are mapped into memory. None computes everything and
                keeps it in memory.
            skip_bad_audio: Whether utterances with bad audio are left out and
                listed in `skipped`. Otherwise they raise.
            alteration: What is done to each waveform before the front end,
                such as `RandomAlteration`: for training, and for stress
                reports.

        Returns:
            `FeatureSet`, in the manifest's order.

        Raises:
            AudioError: There is bad audio and it is not to be skipped, or no
                good audio. The message names every file (of many, the first
                20).
        """
        store, found, bad = None, {}, {}
        keys = audio_keys(manifest)
        if cache_dir is not None:
            store = self._store(cache_dir, alteration)
            found = store.read(keys.values())
        todo = [u for u in manifest if keys[u.id] not in found]
        for first in range(0, len(todo), _CHUNK):
            chunk = todo[first : first + _CHUNK]
            waveforms, errors = self._load(chunk)
            bad.update(errors)
            new = {keys[k]: x for k, x in waveforms.items()}
            if alteration is not None:
                new = _altered(new, alteration, self.sample_rate)
            new = self._compute(new)
            if store is None:
                found.update(new)
            else:
                store.write(new)
        if store is not None and todo:
            found = read_back(store, keys, bad)
        return collect(
            manifest, keys, found, bad, skip_bad_audio, self.frame_rate
        )

    def _store(self, cache_dir, alteration=None):
        folder = pathlib.Path(cache_dir) / self._cache_key(alteration)
        return FeatureStore(folder)

    def _load(self, utterances):
        """Dicts from id to waveform, and from id to `AudioError`."""
        waveforms, errors = load_many(
            [u.path for u in utterances],
            self.sample_rate,
            starts=[u.start for u in utterances],
            ends=[u.end for u in utterances],
            on_error="skip",
        )
        good, bad = {}, {u.id: errors.get(i) for i, u in enumerate(utterances)}
        shortest = self.frontend.min_samples
        for utterance, waveform in zip(utterances, waveforms, strict=True):
            if waveform is None:
                continue
            if len(waveform) < shortest:
                bad[utterance.id] = too_short(
                    utterance.path, len(waveform), self.sample_rate, shortest
                )
                continue
            good[utterance.id] = waveform
        return good, {name: error for name, error in bad.items() if error}

    def _compute(self, waveforms):
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

    def _cache_key(self, alteration=None):
        layers = [x for x in (self.frontend, self.normalization) if x]
        weights = [w for layer in layers for w in layer.weights]
        settings: dict[str, Any] = {"sample_rate": self.sample_rate}
        if alteration is not None:
            settings["alteration"] = alteration.settings()
            # Its code may change, as a front end's may.
            settings["altered"] = _probe(alteration, self.sample_rate)
        if weights:
            # Which say all, and more: an encoder's answer is rounded to other
            # values on another machine.
            return settings_key(
                layers, np.zeros(0), weights=digest(weights), **settings
            )
        noise = np.random.default_rng(0).normal(0, 0.1, self.sample_rate)
        answer = self._compute({"noise": noise.astype("float32")})["noise"]
        return settings_key(layers, answer, **settings)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "frontend": keras.saving.serialize_keras_object(self.frontend),
            "normalization": keras.saving.serialize_keras_object(
                self.normalization
            ),
            "duration": self.duration,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Preprocessor:
        layers = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("frontend", "normalization")
        }
        return cls(**{**config, **layers})


def _probe(alteration, sample_rate):
    """What an alteration makes of some noise: a hash for each of 16 draws."""
    noise = np.random.default_rng(0).normal(0, 0.1, sample_rate)
    found = []
    for number in range(16):
        x = alteration.of_clip(
            noise.astype("float32"), sample_rate, str(number)
        )
        digits = (np.round(x[::100], 1) + 0.0).tobytes()
        found.append(hashlib.blake2b(digits, digest_size=8).hexdigest())
    return found


def _altered(waveforms, alteration, sample_rate):
    """Dict from a key to a waveform, altered, in threads."""

    def alter(key):
        return alteration.of_clip(waveforms[key], sample_rate, key)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(waveforms, pool.map(alter, waveforms), strict=True))


@serializable
class StreamPreprocessors(Saved):
    """The preprocessors of several streams, for `FeatureStreams`.

    Args:
        streams: Dict from a stream's name to its preprocessor. The first one's
            seconds are those of a training clip.

    >>> from ser_keras.audio import MFCC
    >>> both = {"handcrafted": Preprocessor(MFCC()), "slow": Preprocessor(
    ...     MFCC(frame_step=640))}
    >>> StreamPreprocessors(both).num_features
    {'handcrafted': 40, 'slow': 40}
    """

    def __init__(self, streams: Mapping[str, Preprocessor]):
        self.streams = dict(streams)
        wrong = [k for k, x in self.streams.items() if not isinstance(x, Saved)]
        if not self.streams or wrong:
            raise ValueError(
                "`streams` must be a dict of at least one stream, from its "
                "name to a Preprocessor or DeepFeatures. Received: "
                f"streams={self.streams}"
            )

    @property
    def num_features(self) -> dict:
        """Size of the feature axis, by stream."""
        return {name: x.num_features for name, x in self.streams.items()}

    def describe(self) -> str:
        """The features in a line, for people."""
        return "; ".join(
            f"{name}: {x.describe()}" for name, x in self.streams.items()
        )

    @property
    def duration(self) -> float | None:
        """Seconds of a training clip, of the first stream."""
        return next(iter(self.streams.values())).duration

    @property
    def in_graph(self) -> bool:
        """Whether all streams can be part of an exported graph."""
        return all(x.in_graph for x in self.streams.values())

    def duration_frames(self) -> int | None:
        """Frames of a training clip, of the first stream."""
        return next(iter(self.streams.values())).duration_frames()

    def missing(
        self, manifest: Manifest, cache_dir: str | os.PathLike[str]
    ) -> list[Utterance]:
        """The utterances of which a stream is not in a cache."""
        missing = {
            u.id
            for stream in self.streams.values()
            for u in stream.missing(manifest, cache_dir)
        }
        return [u for u in manifest if u.id in missing]

    def compute(
        self,
        manifest: Manifest,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        skip_bad_audio: bool = False,
    ) -> FeatureStreams:
        """Computes every stream; see `Preprocessor.compute`.

        Utterances that any stream had to skip are left out of all.
        """
        computed = {}
        for name, preprocessor in self.streams.items():
            computed[name] = preprocessor.compute(
                manifest, cache_dir, skip_bad_audio=skip_bad_audio
            )
            manifest = computed[name].manifest
        skipped = tuple(x for s in computed.values() for x in s.skipped)
        return FeatureStreams(
            {
                name: dataclasses.replace(
                    stream.select(manifest), skipped=skipped
                )
                for name, stream in computed.items()
            }
        )

    @property
    def hash(self) -> str:
        """Hash of the streams' hashes."""
        return self._hash({name: x.hash for name, x in self.streams.items()})

    def get_config(self) -> dict[str, Any]:
        return {
            "streams": {
                name: keras.saving.serialize_keras_object(x)
                for name, x in self.streams.items()
            }
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StreamPreprocessors:
        return cls(
            {
                name: keras.saving.deserialize_keras_object(x)
                for name, x in config["streams"].items()
            }
        )


def load_preprocessor(path: str | os.PathLike[str], trust: bool = False) -> Any:
    """Reads what a preprocessor's `save` wrote.

    Args:
        path: `preprocessor.json`, or the folder that has it.
        trust: Whether classes other than those of Keras and of this library
            are made, for files of people you trust; see
            `ser_keras.load_model`. Their modules must have been imported.

    Returns:
        `Preprocessor`, `DeepFeatures` or `StreamPreprocessors`.

    Raises:
        FileNotFoundError: There is no such file: the folder was written by a
            version before 0.2.0, or is no run; or an extractor is not there.
        ValueError: The file is broken, was changed by hand, or names a class
            that is refused; or an extractor has changed.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / PREPROCESSOR_FILE
    record = _read(path)
    register_all()
    # It derives from a class of this module, and is needed by its name only.
    importlib.import_module("ser_keras.features.deep_features")
    if not trust:
        check_config(path, record["preprocessor"])
    try:
        preprocessor = keras.saving.deserialize_keras_object(
            record["preprocessor"]
        )
    except (KeyError, TypeError) as error:
        # Keras' messages begin with pages of the configuration.
        reason = str(error).rpartition("Exception encountered: ")[-1]
        raise ValueError(
            f"{path} describes no preprocessor of ser_keras "
            f"{ser_keras.__version__}; it was written by "
            f"{record.get('version')}. Received: {reason}"
        ) from error
    if not isinstance(preprocessor, Saved):
        raise ValueError(
            f"{path} must hold a preprocessor. Received: "
            f"{type(preprocessor).__name__}"
        )
    if record.get("hash") not in (None, preprocessor.hash):
        raise ValueError(
            f"{path} does not hold the preprocessor whose hash it names, "
            f"{record['hash']}; it was changed by hand, or its classes behave "
            f"otherwise in ser_keras {ser_keras.__version__} than in "
            f"{record.get('version')}, which wrote it. Received: "
            f"{preprocessor.hash}"
        )
    return preprocessor


def _read(path):
    """The entries of a `preprocessor.json`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file. It says which features the network was "
            "trained on; runs of ser_keras before 0.2.0 have none. Start the "
            "run's command again: what is finished is kept, and the file is "
            "added"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(record, dict) or "preprocessor" not in record:
        raise ValueError(f"{path} was not written by ser_keras.")
    return record


def features_for(
    manifest: Manifest,
    frontend: FrontEnd,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    normalization: keras.layers.Layer | None = None,
    skip_bad_audio: bool = False,
) -> FeatureSet:
    """Deprecated: `Preprocessor(frontend, normalization).compute(manifest)`."""
    warnings.warn(
        "features_for is deprecated: use Preprocessor(frontend, "
        "normalization).compute(manifest, cache_dir)",
        DeprecationWarning,
        stacklevel=2,
    )
    return Preprocessor(frontend, normalization).compute(
        manifest, cache_dir, skip_bad_audio=skip_bad_audio
    )
