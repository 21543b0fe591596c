"""Content of audio files: hash, duration, peak, clipping."""

import concurrent.futures
import dataclasses
import hashlib
import os

import numpy as np

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import decode_audio
from ser_keras.corpora.audio_content_cache import AudioContentCache

# Version of `audio_content`'s results. Raise it with any change of them, or
# older entries of the cache would be used.
_VERSION = 1
_CHUNK = 512  # Utterances between two writes to the cache.
_FULL_SCALE = 0.999  # Of the largest sample that 16 bits can hold: 32734.
_HELD = 3  # Samples in a row at full scale that count as clipped.
_SILENT = 1e-4  # -80 dB: below the last two bits of 16.


@dataclasses.dataclass(frozen=True)
class AudioContent:
    """Properties of the decoded audio of an utterance.

    Args:
        hash: Of the decoded samples and the sample rate, the same in every
            lossless format and under every name; None if the audio cannot be
            decoded.
        duration: Seconds.
        peak: Largest absolute sample; full scale is 1.
        clipped: Number of samples in runs of three or more at full scale.
        problem: Why the audio cannot be used, or None.
    """

    hash: str | None
    duration: float
    peak: float
    clipped: int
    problem: str | None = None

    @property
    def silent(self):
        """Whether the clip is silent: its peak is below -80 dB."""
        return self.problem is None and self.peak < _SILENT


def audio_content(utterance):
    """Decodes an utterance at its own sample rate and hashes the samples.

    A copy in another lossless format (WAV, FLAC, AIFF) with as many bits has
    the same hash, and so has a copy with several identical channels. A copy
    that was resampled, trimmed, faded or compressed with loss has another hash.

    Args:
        utterance: `Utterance`.

    Returns:
        `AudioContent`. Bad audio does not raise; its `problem` says why.
    """
    try:
        samples, info = decode_audio(
            utterance.path, utterance.start, utterance.end
        )
    except AudioError as error:
        return AudioContent(None, 0.0, 0.0, 0, error.found)
    rate = info.sample_rate
    if not np.isfinite(samples).all():
        return AudioContent(None, 0.0, 0.0, 0, "samples are NaN or infinite")
    if (samples == samples[:, :1]).all():
        samples = samples[:, :1]
    digest = hashlib.blake2b(str(rate).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples + 0.0))  # No negative zeros.
    magnitude = np.abs(samples)
    return AudioContent(
        hash=digest.hexdigest(),
        duration=len(samples) / rate,
        peak=float(magnitude.max()),
        clipped=sum(_clipped(channel) for channel in magnitude.T),
    )


def audio_contents(manifest, jobs=None):
    """`audio_content` of every utterance, decoded on all cores.

    Results of unchanged files are cached between runs, see
    `ser_keras.corpora.audio_content_cache`; problems are not, as their cause
    may be outside of the file.

    Args:
        manifest: `Manifest`.
        jobs: Threads; None means one for each processor. Decoding and hashing
            release the GIL.

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
        # The file may have changed between hashing its bytes and decoding.
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


def _clipped(magnitude):
    """Samples in runs of at least `_HELD` at full scale."""
    if magnitude.max() < _FULL_SCALE:
        return 0
    full = np.concatenate([[0], magnitude >= _FULL_SCALE, [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(full))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= _HELD].sum())
