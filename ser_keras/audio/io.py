"""Reading audio files as mono float32, with one error class for bad files."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
import struct
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile
import soxr


class AudioError(ValueError):
    """An audio file that cannot be used.

    Args:
        path: The file.
        found: What is wrong with it.
        advice: What to do about it.
    """

    def __init__(self, path: str | os.PathLike[str], found: str, advice: str):
        super().__init__(f"{path}: {found}. {advice}")
        self.path = str(path)
        self.found = found
        self.advice = advice

    def __reduce__(self):  # Survives pickling between processes.
        return AudioError, (self.path, self.found, self.advice)


_LEAVE_OUT = "leave it out (`ser_keras train` and recipes: --skip-bad-audio)"
_REPLACE = (
    f"Restore the file from the distribution of the corpus, or {_LEAVE_OUT}"
)


@dataclasses.dataclass(frozen=True)
class AudioInfo:
    """Header of an audio file.

    Args:
        sample_rate: Hz.
        channels: Number of channels.
        frames: Samples per channel.
        format: Container, such as `"WAV"`.
        subtype: Encoding of a sample, such as `"PCM_16"`.
    """

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def inspect_audio(path: str | os.PathLike[str]) -> AudioInfo:
    """Reads and checks the header of an audio file.

    Fast enough to check a whole corpus. Samples are not decoded, so silence and
    NaN are found by `load_audio` only.

    Args:
        path: File that libsndfile reads: WAV, FLAC, OGG, MP3, AIFF and others.

    Returns:
        `AudioInfo`.

    Raises:
        AudioError: The file is missing, empty, truncated, without samples, or
            not audio.
    """
    with _open(path) as file:
        return _info(file)


def load_audio(
    path: str | os.PathLike[str],
    sample_rate: int | None,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """Loads a file, or a segment of it, as mono float32.

    Channels are averaged. Other rates are resampled by soxr at high quality,
    band-limited and without delay.

    Args:
        path: File that libsndfile reads: WAV (8 to 64 bit, float), FLAC, OGG,
            MP3, AIFF and others.
        sample_rate: Of the result, Hz.
        start: Start of the segment in seconds. None means that of the file.
        end: End of the segment in seconds. None means that of the file.

    Returns:
        Float32 array `(samples,)` in [-1, 1].

    Raises:
        AudioError: The file is missing, empty, truncated, silent, without
            samples, not audio, has NaN or infinite samples, or is shorter than
            the segment.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/tone.wav"
    >>> tone = np.sin(np.arange(48000) / 40)
    >>> soundfile.write(path, np.stack([tone, tone], 1), 48000)
    >>> load_audio(path, 16000, end=0.5).shape
    (8000,)
    """
    with _open(path) as file:
        info = _info(file)
        first = round((start or 0.0) * info.sample_rate)
        last = info.frames
        if end is not None:
            last = round(end * info.sample_rate)
        # Annotations are rounded, so a segment may end just after the file.
        slack = round(0.05 * info.sample_rate)
        if not 0 <= first < last <= info.frames + slack or first >= info.frames:
            raise AudioError(
                path,
                f"no segment from {start} s to {end} s; the file lasts "
                f"{info.duration:.3f} s",
                "Correct `start` and `end` in the manifest",
            )
        wanted = min(last, info.frames) - first
        try:
            file.seek(first)
            samples = file.read(wanted, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(
                path, f"cannot be decoded ({error})", _REPLACE
            ) from error
    if len(samples) < wanted:
        raise _truncated(path, first + wanted, first + len(samples))
    waveform = samples[:, 0] if info.channels == 1 else samples.mean(axis=1)
    # One pass for NaN, infinity and silence: NaN or infinity in a sum stays,
    # and a sum of squares is zero for (nearly) silent clips only.
    with np.errstate(over="ignore"):
        energy = np.dot(waveform, waveform)
    if not np.isfinite(energy) and not np.isfinite(waveform).all():
        bad = int(np.sum(~np.isfinite(waveform)))
        raise AudioError(
            path, f"{bad} of {wanted} samples are NaN or infinite", _REPLACE
        )
    if energy == 0 and not waveform.any():
        raise AudioError(
            path, f"silent: all of its {wanted} samples are 0", _REPLACE
        )
    if info.sample_rate != sample_rate:
        waveform = soxr.resample(waveform, info.sample_rate, sample_rate)
        if not len(waveform):
            raise AudioError(
                path,
                f"{wanted} samples at {info.sample_rate} Hz, too few to "
                f"resample to {sample_rate} Hz",
                _REPLACE,
            )
    return np.ascontiguousarray(waveform, np.float32)


def stream_audio(
    path: str | os.PathLike[str], sample_rate: int, seconds: float = 1.0
) -> Iterator[np.ndarray]:
    """Reads a file block by block, in constant memory.

    Joined, the blocks are what `load_audio` returns, up to rounding where it
    resamples. They are not checked for silence and NaN.

    Args:
        path: File that libsndfile reads.
        sample_rate: Of the result, Hz.
        seconds: Length of a block, in the file.

    Yields:
        Float32 arrays `(samples,)`.

    Raises:
        AudioError: The file is missing, empty, truncated, without samples, or
            not audio.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/tone.wav"
    >>> soundfile.write(path, np.sin(np.arange(40000) / 40), 16000)
    >>> [len(block) for block in stream_audio(path, 16000)]
    [16000, 16000, 8000]
    """
    with _open(path) as file:
        info = _info(file)
        size = max(round(seconds * info.sample_rate), 1)
        resampler = None
        if info.sample_rate != sample_rate:
            resampler = soxr.ResampleStream(
                info.sample_rate, sample_rate, num_channels=1
            )
        done = 0
        while done < info.frames:
            wanted = min(size, info.frames - done)
            try:
                samples = file.read(wanted, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise AudioError(
                    path, f"cannot be decoded ({error})", _REPLACE
                ) from error
            done += len(samples)
            if len(samples) < wanted:
                raise _truncated(path, info.frames, done)
            block = samples.mean(axis=1)
            if resampler is not None:
                last = done == info.frames
                block = resampler.resample_chunk(block, last=last)
            if len(block):
                yield block


def load_many(
    paths: Sequence[str | os.PathLike[str]],
    sample_rate: int,
    starts: Sequence[float | None] | None = None,
    ends: Sequence[float | None] | None = None,
    num_workers: int | None = None,
    on_error: str = "raise",
) -> Any:
    """Loads many files in parallel threads; decoding releases the GIL.

    Args:
        paths: List of files.
        sample_rate: Of the results, Hz.
        starts: Starts of the segments in seconds, a list with a number or None
            for each file, or None.
        ends: Ends of the segments, likewise.
        num_workers: Threads. None means one a processor.
        on_error: `"raise"`, or `"skip"` to leave out bad files and return their
            errors.

    Returns:
        `(waveforms, errors)`: a list with a float32 array for each path, None
        for a skipped file, and a dict from the index of each skipped file to
        its `AudioError`, in order.

    Raises:
        AudioError: Of the first bad file, with `on_error="raise"`.
        ValueError: `on_error` is something else.

    >>> load_many(["nowhere.wav"], 16000, on_error="skip")[0]
    [None]
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(
            "`on_error` must be 'raise' or 'skip'. "
            f"Received: on_error={on_error!r}"
        )

    def load(path, start, end):
        try:
            return load_audio(path, sample_rate, start, end)
        except AudioError as error:
            if on_error == "raise":
                raise
            return error

    nothing = [None] * len(paths)
    jobs = (paths, starts or nothing, ends or nothing)
    workers = num_workers or os.cpu_count()
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        results = list(pool.map(load, *jobs))
    finally:
        # After an error, do not decode the remaining files first.
        pool.shutdown(cancel_futures=True)
    errors = {
        index: result
        for index, result in enumerate(results)
        if isinstance(result, AudioError)
    }
    waveforms = [
        None if index in errors else result
        for index, result in enumerate(results)
    ]
    return waveforms, errors


def too_short(path, samples, sample_rate, min_samples):
    """The error for a clip that is shorter than one frame of features.

    Args:
        path: Audio file.
        samples: Samples of the clip.
        sample_rate: Of the clip, Hz.
        min_samples: Samples of the shortest clip that has a frame.

    Returns:
        `AudioError`.
    """
    return AudioError(
        path,
        f"{samples} samples at {sample_rate} Hz, shorter than one frame of "
        f"features, {min_samples} samples",
        _LEAVE_OUT.capitalize(),
    )


def fit_length(
    waveform: np.ndarray,
    samples: int,
    mode: str = "center",
    seed: int | None = None,
) -> np.ndarray:
    """Crops or zero-pads a clip to a given length.

    Args:
        waveform: Array `(samples, ...)`.
        samples: Length of the result.
        mode: Which part of a longer clip is kept, and where a shorter clip is
            placed: `"center"`, `"start"`, or `"random"`.
        seed: Seed of `"random"`, an int or a sequence of ints.

    Returns:
        Array `(samples, ...)`.

    Raises:
        ValueError: There is no such mode.

    >>> fit_length(np.float32([1, 2, 3]), 6).tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]
    >>> fit_length(np.float32([1, 2, 3, 4]), 2).tolist()
    [2.0, 3.0]
    """
    surplus = len(waveform) - samples
    offset = abs(surplus)
    if mode == "start":
        offset = 0
    elif mode == "center":
        offset //= 2
    elif mode == "random":
        offset = int(np.random.default_rng(seed).integers(offset + 1))
    else:
        raise ValueError(
            "`mode` must be 'center', 'start' or 'random'. "
            f"Received: mode={mode!r}"
        )
    if surplus >= 0:
        return waveform[offset : offset + samples]
    before_and_after = (offset, -surplus - offset)
    no_padding = [(0, 0)] * (np.ndim(waveform) - 1)
    return np.pad(waveform, [before_and_after, *no_padding])


def _info(file):
    return AudioInfo(
        file.samplerate, file.channels, file.frames, file.format, file.subtype
    )


def _open(path):
    """Opens a file with libsndfile, after checks that do not need it."""
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
        if size:
            _check_wav_size(path, size)
            file = soundfile.SoundFile(str(path))
    except FileNotFoundError as error:
        raise AudioError(
            path, "no such file", "Check the corpus folder and the manifest"
        ) from error
    except OSError as error:
        raise AudioError(
            path, f"cannot be read ({error.strerror})", "Check its permissions"
        ) from error
    except (soundfile.LibsndfileError, TypeError) as error:
        raise AudioError(
            path, f"not audio that libsndfile reads ({error})", _REPLACE
        ) from error
    if not size:
        raise AudioError(path, "an empty file (0 bytes)", _REPLACE)
    if not file.frames:
        file.close()
        raise AudioError(path, "a header, but no samples", _REPLACE)
    return file


def _check_wav_size(path, size):
    """Raises `AudioError` if a WAV file is shorter than its data chunk.

    libsndfile reads such a file without an error.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
            return
        align = 1
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                present = size - file.tell()
                # Programs that write to a pipe do not know the length.
                unknown = length >= 0x7FFFFF00
                if length > present and not unknown:
                    raise _truncated(path, length // align, present // align)
                return
            body = file.read(length + length % 2)
            if name == b"fmt " and len(body) >= 14:
                align = max(struct.unpack_from("<H", body, 12)[0], 1)


def _truncated(path, promised, found):
    return AudioError(
        path,
        f"truncated: its header promises {promised} samples per channel, "
        f"{found} are there",
        _REPLACE,
    )
