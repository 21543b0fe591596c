"""Deep features of all utterances of a manifest, computed once."""

from __future__ import annotations

import concurrent.futures
import json
import math
import os
import pathlib
import time
from typing import TYPE_CHECKING

import numpy as np

from ser_keras._errors import shortened
from ser_keras._files import write_text
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import fit_length
from ser_keras.audio.io import load_audio
from ser_keras.audio.io import too_short
from ser_keras.features.feature_set import audio_keys
from ser_keras.features.feature_set import collect
from ser_keras.features.feature_set import is_finite
from ser_keras.features.feature_set import read_back
from ser_keras.features.store import FeatureStore
from ser_keras.features.store import settings_key

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.manifest import Utterance
    from ser_keras.features.extractors.base import Extractor
    from ser_keras.features.feature_set import FeatureSet

_SECONDS = 30  # Between two shards: what a kill costs at most.
_UTTERANCES = 512  # In a shard, at most.


def extract_features(
    manifest: Manifest,
    extractor: Extractor,
    cache_dir: str | os.PathLike[str],
    jobs: int | None = None,
    *,
    duration: float | None = None,
    skip_bad_audio: bool = False,
    verbose: bool = True,
) -> FeatureSet:
    """Extracts the features of every utterance, or reads them from a store.

    The store is a folder of `cache_dir` that is named by the extractor's
    settings. It knows an utterance by the content of its file, so manifests
    that share utterances share features, and never returns those of other
    settings. What is finished is kept every half minute: a run that is killed
    goes on from there when it is started again. `read_feature_store` reads the
    folder where the extractor is not.

    Args:
        manifest: `Manifest`.
        extractor: `Extractor`, such as `LiteRTExtractor`. Audio is resampled
            to its `sample_rate`.
        cache_dir: Folder of the stores.
        jobs: Utterances at a time, each in a thread; the runtimes compute
            outside of Python's lock. None means one for each processor.
        duration: Longest part of an utterance that is used, in seconds, from
            its middle. None means all of it.
        skip_bad_audio: Whether utterances with bad audio are left out and
            listed in `skipped`. Otherwise they raise.
        verbose: Whether to print how far it is, and how long it may take.

    Returns:
        `FeatureSet`, in the manifest's order, with `frame_rate`.

    Raises:
        AudioError: There is bad audio and it is not to be skipped, or no good
            audio. The message names every file (of many, the first 20).
        ValueError: The extractor gives NaN or a wrong shape, named with its
            utterance; or the store is of an extractor with the same settings
            and other answers.
        RuntimeError: The extractor fails at an utterance, named.

    Example:
        ```python
        deep = ser_keras.features.extract_features(
            manifest, LiteRTExtractor("yamnet.tflite"), "features"
        )
        ```
    """
    if duration is not None and duration <= 0:
        raise ValueError(
            "`duration` must be a positive number of seconds or None. "
            f"Received: duration={duration}"
        )
    if jobs is not None and jobs < 1:
        raise ValueError(
            f"`jobs` must be a positive integer or None. Received: jobs={jobs}"
        )
    store, keys, found = _stored(manifest, extractor, cache_dir, duration)
    todo = {keys[u.id]: u for u in manifest if keys[u.id] not in found}
    work = _Work(extractor, duration)
    bad = _run(work, todo, jobs, store, verbose)
    # Of two equal files that are bad, each has its own message.
    bad = {
        u.id: bad[keys[u.id]] if todo[keys[u.id]] is u else work(u)
        for u in manifest
        if keys[u.id] in bad
    }
    if todo:
        found = read_back(store, keys, bad)
    rate = extractor.frame_rate
    return collect(manifest, keys, found, bad, skip_bad_audio, rate)


def missing_features(
    manifest: Manifest,
    extractor: Extractor,
    cache_dir: str | os.PathLike[str],
    duration: float | None = None,
) -> list[Utterance]:
    """The utterances that `extract_features` would extract.

    Args:
        manifest: `Manifest`.
        extractor: `Extractor`.
        cache_dir: Folder of the stores.
        duration: See `extract_features`.

    Raises:
        ValueError: See `extract_features`.
    """
    _, keys, found = _stored(manifest, extractor, cache_dir, duration)
    return [u for u in manifest if keys[u.id] not in found]


def _stored(manifest, extractor, cache_dir, duration):
    """The store, the utterances' keys, and the features that are stored."""
    facts = _facts(extractor, duration)
    folder = pathlib.Path(cache_dir) / facts["key"]
    _check_store(folder, facts)
    store, keys = FeatureStore(folder), audio_keys(manifest)
    found = store.read(keys.values())
    _check_features(manifest, keys, found, facts["num_features"], folder)
    return store, keys, found


def read_feature_store(
    manifest: Manifest, folder: str | os.PathLike[str]
) -> FeatureSet:
    """Reads features that `extract_features` stored, without the extractor.

    For instance after they were extracted on a machine with an accelerator.
    The audio must be here as well: utterances are known by its content. The
    folder may be read-only.

    Args:
        manifest: `Manifest`.
        folder: The store, a folder with `extractor.json`.

    Returns:
        `FeatureSet`, in the manifest's order, with `frame_rate`.

    Raises:
        ValueError: The folder is no store, is of another corpus, was
            interrupted half-way, or holds features that are not finite.
    """
    folder = pathlib.Path(folder)
    facts = read_store_facts(folder)
    keys = audio_keys(manifest)
    store = FeatureStore(folder)
    if not store.shards():
        raise ValueError(
            f"{folder} has no features yet: its extraction was interrupted "
            "before its first shard. Run `extract_features` again"
        )
    found = store.read(keys.values(), set_aside=False)
    missing = [u.id for u in manifest if keys[u.id] not in found]
    if len(missing) == len(manifest):
        raise ValueError(
            f"{folder} is of another corpus: it has features of none of the "
            f"{len(manifest)} utterances of {manifest}, nor of the same files "
            "with other content; or its shards are damaged (there is a warning "
            "then)"
        )
    if missing:
        raise ValueError(
            f"{folder} is not complete: it lacks {len(missing)} of "
            f"{len(manifest)} utterances, {shortened(missing)}. It was "
            "interrupted, or a shard is damaged (there is a warning then); run "
            "`extract_features` again, which goes on from there, or leave them "
            "out"
        )
    _check_features(manifest, keys, found, facts["num_features"], folder)
    return collect(manifest, keys, found, {}, False, facts["frame_rate"])


def read_store_facts(folder):
    """What `extractor.json` of a store says of its features.

    Args:
        folder: The store.

    Returns:
        Dict with `settings` of the extractor, `sample_rate`, `num_features`
        and `frame_rate`.

    Raises:
        ValueError: The folder is no store.
    """
    facts = _read_facts(pathlib.Path(folder))
    if facts is None:
        raise ValueError(
            f"{folder} is no store of `extract_features`: it has no "
            "extractor.json. Name the folder that has one"
        )
    return facts


class _Work:
    """From an utterance to its features, in any thread."""

    def __init__(self, extractor, duration):
        self.extractor = extractor
        self.duration = duration

    def __call__(self, utterance):
        """Features, or the `AudioError` of a file that cannot be used."""
        rate = self.extractor.sample_rate
        try:
            waveform = load_audio(
                utterance.path, rate, utterance.start, utterance.end
            )
        except AudioError as error:
            return error
        if self.duration is not None:
            longest = min(len(waveform), round(self.duration * rate))
            waveform = fit_length(waveform, longest)
        # Asked of clips below a second only, as it may have to be found out.
        if len(waveform) < rate and len(waveform) < self.extractor.shortest:
            shortest = self.extractor.shortest
            return too_short(utterance.path, len(waveform), rate, shortest)
        source = f"{utterance.id} ({utterance.path})"
        return check_frames(self.extractor, waveform, source)


def check_frames(extractor, waveform, source):
    """Features of a waveform, if they are what the interface says.

    Raises:
        ValueError: They are not; the message names `source`.
        RuntimeError: The extractor fails; likewise.
    """
    try:
        x = np.asarray(extractor.extract(waveform))
    except Exception as error:
        raise RuntimeError(
            f"{extractor} failed at {len(waveform)} samples of {source}: "
            f"{error!r}"
        ) from error
    width = extractor.num_features
    if x.ndim != 2 or not len(x) or x.shape[1] != width:
        raise ValueError(
            f"An extractor must give `(time, {width})`, time at least 1. "
            f"Received: shape {x.shape} from {extractor} of {source}"
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"{extractor} gives NaN or infinity for {source}. Features must "
            "be finite; check the extractor's file, or leave it out"
        )
    return x.astype("float32", copy=False)


def _run(work, todo, jobs, store, verbose):
    """Fills the store; dict from key to `AudioError` of bad audio."""
    bad, shard = {}, {}
    start = written = time.monotonic()
    pool = concurrent.futures.ThreadPoolExecutor(
        jobs or len(os.sched_getaffinity(0))
    )
    try:
        results = pool.map(work, todo.values())
        for count, (key, result) in enumerate(
            zip(todo, results, strict=True), start=1
        ):
            if isinstance(result, AudioError):
                bad[key] = result
            else:
                shard[key] = result
            now = time.monotonic()
            if now - written > _SECONDS or len(shard) >= _UTTERANCES:
                store.write(shard)
                shard, written = {}, now
                if verbose:
                    _say(count, len(todo), now - start)
    finally:
        # Whatever stopped it: at once, and what is finished is kept.
        pool.shutdown(wait=False, cancel_futures=True)
        store.write(shard)
    if verbose and todo:
        _say(len(todo), len(todo), time.monotonic() - start)
    return bad


def _say(count, total, seconds):
    pace = count / max(seconds, 1e-3)
    line = f"features {count}/{total}  {pace:.1f} utterances/s"
    if count < total:
        line += f"  about {math.ceil((total - count) / pace / 60)} min left"
    print(line, flush=True)


def _facts(extractor, duration):
    """What `extractor.json` holds: settings, and an answer that proves them."""
    settings = json.loads(json.dumps(extractor.settings(), default=str))
    rng = np.random.default_rng(0)
    samples = round(1.3 * extractor.sample_rate)
    noise = rng.normal(0, 0.1, samples).astype("float32")
    answer = check_frames(extractor, noise, "1.3 s of noise")
    some = np.linspace(0, answer.size - 1, 64).astype(int)
    nothing = np.zeros(0)
    return {
        # No answer in it: on another device it is rounded to other values.
        "key": settings_key([], nothing, extractor=settings, duration=duration),
        "settings": settings,
        "duration": duration,
        "sample_rate": extractor.sample_rate,
        "frame_rate": extractor.frame_rate,
        "num_features": extractor.num_features,
        "answer": {
            "shape": list(answer.shape),
            "values": [float(x) for x in answer.ravel()[some]],
        },
    }


def _check_store(folder, facts):
    """Begins a store, or raises if another extractor began it.

    Settings that the user's own extractor forgot to name, and code that was
    changed, show in its answer.
    """
    before = _read_facts(folder)
    if before is None:
        write_text(folder / "extractor.json", json.dumps(facts, indent=1))
        return
    old, new = (np.array(x["answer"]["values"]) for x in (before, facts))
    if (
        before["answer"]["shape"] != facts["answer"]["shape"]
        or np.abs(old - new).max() > 0.01 * np.abs(new).max()
    ):
        raise ValueError(
            f"{folder} was made by an extractor with the same `settings()`, "
            "but of the same noise it gave other features. Add what has "
            f"changed to the settings, or delete the folder. Settings: "
            f"{facts['settings']}"
        )


def _read_facts(folder):
    path = folder / "extractor.json"
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["answer"]["shape"], facts["answer"]["values"]
        facts["num_features"], facts["frame_rate"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}). Delete {folder}, and extract again"
        ) from error
    return facts


def _check_features(manifest, keys, found, num_features, folder):
    bad = [
        u.id
        for u in manifest
        if keys[u.id] in found
        and (
            found[keys[u.id]].shape[1:] != (num_features,)
            or not is_finite(found[keys[u.id]])
        )
    ]
    if bad:
        raise ValueError(
            f"{folder} holds features that are NaN, infinite or not of "
            f"{num_features} values, of {len(bad)} utterances: "
            f"{shortened(bad)}. Another program wrote them; delete it, and "
            "extract again"
        )
