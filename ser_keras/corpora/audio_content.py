"""What a recording sounds like, whatever its file is called."""

import concurrent.futures
import dataclasses
import hashlib
import os

import numpy as np
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import inspect_audio
from ser_keras.corpora.audio_content_cache import AudioContentCache

# Of what `audio_content` finds. Must be raised whenever it finds anything else
# in the same file, or what was kept before would be taken for it.
_VERSION = 1
_CHUNK = 512  # Utterances between two writes to the cache.
_FULL_SCALE = 0.999  # Of the largest sample that 16 bits can hold: 32734.
_HELD = 3  # Samples in a row at full scale: the wave was cut off.
_SILENT = 1e-4  # -80 dB: below the last bit or two of 16.


@dataclasses.dataclass(frozen=True)
class AudioContent:
    """What decoding an utterance tells.

    Args:
        hash: Of the decoded samples and their rate, the same in every lossless
            format and under every name; None if they cannot be decoded.
        duration: Seconds.
        peak: Largest absolute sample, 1 being full scale.
        clipped: Samples in runs of three or more at full scale.
        problem: Why it cannot be used, or None.
    """

    hash: str | None
    duration: float
    peak: float
    clipped: int
    problem: str | None = None

    @property
    def silent(self):
        """Whether there is nothing to hear: the peak is below -80 dB."""
        return self.problem is None and self.peak < _SILENT


def audio_content(utterance):
    """Decodes an utterance at its own rate, and looks at the samples.

    A copy in another lossless format (WAV, FLAC, AIFF) of as many bits has the
    same hash, and so has a copy with more channels that are all the same. A
    copy that was resampled, trimmed, faded or coded with loss has another.

    Args:
        utterance: `Utterance`.

    Returns:
        `AudioContent`; bad audio does not raise, it is the `problem`.
    """
    try:
        info = inspect_audio(utterance.path)
        rate = info.sample_rate
        start = round((utterance.start or 0.0) * rate)
        end = None if utterance.end is None else round(utterance.end * rate)
        samples, _ = soundfile.read(
            utterance.path,
            start=start,
            stop=None if end is None else min(end, info.frames),
            dtype="float32",
            always_2d=True,
        )
    except AudioError as error:
        return AudioContent(None, 0.0, 0.0, 0, error.found)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        return AudioContent(None, 0.0, 0.0, 0, f"cannot be decoded ({error})")
    if not np.isfinite(samples).all():
        return AudioContent(None, 0.0, 0.0, 0, "samples are NaN or infinite")
    if not len(samples):
        return AudioContent(None, 0.0, 0.0, 0, "no samples in its stretch")
    if (samples == samples[:, :1]).all():
        samples = samples[:, :1]
    digest = hashlib.blake2b(str(rate).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples + 0.0))  # No negative zeros.
    loud = np.abs(samples)
    return AudioContent(
        hash=digest.hexdigest(),
        duration=len(samples) / rate,
        peak=float(loud.max()),
        clipped=sum(_clipped(channel) for channel in loud.T),
    )


def audio_contents(manifest, jobs=None):
    """`audio_content` of every utterance, decoded on all cores.

    What was decoded before, by any run, and has not changed since is taken
    from a cache, see `ser_keras.corpora.audio_content_cache`. Problems are not
    kept there: what was wrong may be put right elsewhere than in the file.

    Args:
        manifest: `Manifest`.
        jobs: Threads; None means one for each processor. Decoding and hashing
            leave Python's lock alone.

    Returns:
        Dict from id to `AudioContent`, in the manifest's order.
    """
    utterances = list(manifest)
    found = {}
    with (
        concurrent.futures.ThreadPoolExecutor(
            jobs or len(os.sched_getaffinity(0))
        ) as pool,
        AudioContentCache(_VERSION) as cache,
    ):
        for first in range(0, len(utterances), _CHUNK):
            part = utterances[first : first + _CHUNK]
            found.update(_contents(part, pool, cache))
    return {u.id: found[u.id] for u in utterances}


def _contents(utterances, pool, cache):
    states = cache.states((u.path for u in utterances), pool)
    known = cache.read(utterances, states)
    found = {name: AudioContent(**x) for name, x in known.items()}

    def decode(utterance):
        content = audio_content(utterance)
        state = states.get(utterance.path)
        # Or it was written anew between hashing its bytes and decoding them.
        keep = state and content.problem is None and state.holds(utterance.path)
        return content, keep

    todo = [u for u in utterances if u.id not in found]
    new = []
    for utterance, (content, keep) in zip(
        todo, pool.map(decode, todo), strict=True
    ):
        found[utterance.id] = content
        if keep:
            new.append((utterance, dataclasses.asdict(content)))
    cache.write(new, states)
    return found


def _clipped(loud):
    """Samples in runs of at least `_HELD` at full scale."""
    if loud.max() < _FULL_SCALE:
        return 0
    full = np.concatenate([[0], loud >= _FULL_SCALE, [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(full))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= _HELD].sum())
