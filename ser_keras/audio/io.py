"""Reading audio files as mono float32, with one error class for bad files."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import io
import logging
import mmap
import os
import pathlib
import struct
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile
import soxr

from ser_keras.audio.containers import ENDS_EARLY
from ser_keras.audio.containers import HEAD
from ser_keras.audio.containers import NO_LENGTH
from ser_keras.audio.containers import needs_ffmpeg
from ser_keras.audio.containers import not_audio
from ser_keras.audio.containers import pointer
from ser_keras.audio.containers import samples_of
from ser_keras.audio.ffmpeg import FFmpegError
from ser_keras.audio.ffmpeg import decode_by_ffmpeg

_LOG = logging.getLogger(__name__)

_AGAIN = "Record it again, or get it again from where it came from"
_BLOCK = 1 << 22  # Samples that are read at once.
_ENDLESS = 1 << 62  # Frames of a FLAC file that does not say how many.
_SAID: set[str] = set()  # Notes that this process has written.
_CANCELLED = 1e-6  # Energy of a mean of channels, of that of each.
_RATES = 100, 1_000_000  # Hz; others are a damaged header.


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

    @property
    def reason(self) -> str:
        """What is wrong and what to do, where the file is named already."""
        return f"{self.found}. {self.advice}"

    def __reduce__(self):  # Survives pickling between processes.
        return AudioError, (self.path, self.found, self.advice)


@dataclasses.dataclass(frozen=True)
class AudioInfo:
    """Header of an audio file.

    Args:
        sample_rate: Hz.
        channels: Number of channels.
        frames: Samples per channel.
        format: Container, such as `"WAV"`.
        subtype: Encoding of a sample, such as `"PCM_16"`.
        note: What is odd about the file and does not keep it from being read,
            such as a header that does not say how long it is; or None.
    """

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    note: str | None = None

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording as a model takes it.

    Args:
        waveform: Float32 array `(samples,)` in [-1, 1].
        info: Of the file it was read from.
    """

    waveform: np.ndarray
    info: AudioInfo


def inspect_audio(path: str | os.PathLike[str]) -> AudioInfo:
    """Reads and checks the header of an audio file.

    Fast enough to check a whole corpus. Samples are not decoded, so silence and
    NaN are found by `load_audio` only.

    Args:
        path: File that `load_audio` reads.

    Returns:
        `AudioInfo`.

    Raises:
        AudioError: The file is missing, empty, truncated, without samples, or
            not audio.
    """
    with _open(path) as (_, info):
        return info


def load_audio(
    path: str | os.PathLike[str],
    sample_rate: int,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """Loads a file, or a segment of it, as mono float32.

    Channels are averaged. Other rates are resampled by soxr at high quality,
    band-limited and without delay. A file whose length is not known, or wrong
    by a little, is read to its end.

    Args:
        path: File that libsndfile reads: WAV (8 to 64 bit, float, A-law,
            mu-law, ADPCM, GSM), FLAC, OGG, MP3, AIFF and others; or m4a, WebM,
            AMR and others where the program ffmpeg is installed.
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
    recording = load_recording(path, sample_rate, start, end)
    if recording.info.note:
        _say_once(recording.info.note, str(path))
    return recording.waveform


def load_recording(
    source: str | os.PathLike[str] | bytes,
    sample_rate: int,
    start: float | None = None,
    end: float | None = None,
) -> Recording:
    """`load_audio` of a file, or of a file's bytes, with what is odd about it.

    Args:
        source: Path of a file, or all its bytes.
        sample_rate: As of `load_audio`.
        start: As there.
        end: As there.

    Returns:
        `Recording`.

    Raises:
        AudioError: As there.
    """
    samples, info = decode_audio(source, start, end)
    path, wanted = _name(source), len(samples)
    waveform = samples[:, 0] if info.channels == 1 else samples.mean(axis=1)
    # One pass for NaN, infinity and silence: NaN or infinity in a sum stays,
    # and a sum of squares is zero for (nearly) silent clips only.
    with np.errstate(over="ignore", invalid="ignore"):
        energy = np.dot(waveform, waveform)
    if not np.isfinite(energy) and not np.isfinite(waveform).all():
        bad = int(np.sum(~np.isfinite(waveform)))
        raise AudioError(
            path, f"{bad} of {wanted} samples are NaN or infinite", _AGAIN
        )
    if info.channels > 1:
        each = np.dot(samples.ravel(), samples.ravel()) / info.channels
        if 0 < each and energy < _CANCELLED * each:
            raise AudioError(
                path,
                f"(nearly) silent as a mean of its {info.channels} channels, "
                "which cancel each other out",
                f"Keep one: sox {_in_commands(source)} one.wav remix 1",
            )
    if energy == 0 and not waveform.any():
        raise AudioError(
            path, f"silent: all of its {wanted} samples are 0", _AGAIN
        )
    if info.sample_rate != sample_rate:
        waveform = soxr.resample(waveform, info.sample_rate, sample_rate)
        if not len(waveform):
            raise AudioError(
                path,
                f"{_samples(wanted)} at {info.sample_rate} Hz, too few to "
                f"resample to {sample_rate} Hz",
                "Record more",
            )
    return Recording(np.ascontiguousarray(waveform, np.float32), info)


def decode_audio(
    source: str | os.PathLike[str] | bytes,
    start: float | None = None,
    end: float | None = None,
) -> tuple[np.ndarray, AudioInfo]:
    """All channels of a file, or of a segment, at the file's own rate.

    Args:
        source: Path of a file, or all its bytes.
        start: As of `load_audio`.
        end: As there.

    Returns:
        `(samples, info)`: float32 array `(samples, channels)`, and `AudioInfo`.

    Raises:
        AudioError: The file is missing, empty, truncated, without samples, not
            audio, or shorter than the segment.
    """
    path = _name(source)
    with _open(source) as (file, info):
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
        blocks = list(_blocks(path, file, first, wanted, _BLOCK))
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return samples, info


def stream_audio(
    path: str | os.PathLike[str], sample_rate: int, seconds: float = 1.0
) -> Iterator[np.ndarray]:
    """Reads a file block by block, in constant memory.

    Joined, the blocks are what `load_audio` returns, up to rounding where it
    resamples. They are not checked for silence and NaN.

    Args:
        path: File that `load_audio` reads.
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
    with _open(path) as (file, info):
        size = max(round(seconds * info.sample_rate), 1)
        resampler = None
        if info.sample_rate != sample_rate:
            resampler = soxr.ResampleStream(
                info.sample_rate, sample_rate, num_channels=1
            )
        done = 0
        for samples in _blocks(path, file, 0, info.frames, size):
            done += len(samples)
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
    """The error for a clip that is shorter than a model needs.

    Args:
        path: Audio file.
        samples: Samples of the clip.
        sample_rate: Of the clip, Hz.
        min_samples: Samples of the shortest clip that has a frame.

    Returns:
        `AudioError`.

    >>> str(too_short("a.wav", 100, 16000, 1024))
    'a.wav: 6 ms long; the model needs 64 ms. Record more'
    """
    found, needed = samples / sample_rate, min_samples / sample_rate
    return AudioError(
        path,
        f"{1000 * found:.0f} ms long; the model needs {1000 * needed:.0f} ms",
        "Record more",
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


class _Bytes(io.BytesIO):
    """A file in memory, which a damaged header may send before its start."""

    def seek(self, offset, whence=0):
        with contextlib.suppress(ValueError):
            super().seek(offset, whence)
        return self.tell()


class _File(soundfile.SoundFile):
    """A file that is read from its front; `SoundFile.read` seeks as well.

    GSM and other codecs cannot seek, and FLAC of unknown length cannot either.
    """

    def seekable(self):
        return False

    def skip(self, frames):
        """Goes to a sample of a file that has just been opened."""
        if frames and super().seekable() and self.frames < _ENDLESS:
            self.seek(frames)
            return
        while frames:
            skipped = len(self.read(min(frames, _BLOCK), always_2d=True))
            if not skipped:
                return
            frames -= skipped


def _blocks(path, file, first, wanted, size):
    """Samples `(samples, channels)` from `first` on, in blocks.

    As many as are `wanted`, or an error; all there are, if that is None.
    """
    done = 0
    try:
        file.skip(first)
        while wanted is None or done < wanted:
            count = size if wanted is None else min(size, wanted - done)
            block = file.read(count, dtype="float32", always_2d=True)
            if not len(block):
                break
            done += len(block)
            yield block
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(
            path, f"cannot be decoded ({_said(error)})", _AGAIN
        ) from error
    if wanted is not None and done < wanted:
        rate = file.samplerate
        raise _truncated(path, (first + wanted) / rate, (first + done) / rate)


@contextlib.contextmanager
def _open(source):
    """Opens a file; yields it as `_File`, and its `AudioInfo`.

    Whatever is wrong with the file that can be told without its samples is
    told here.
    """
    path = _name(source)
    with contextlib.ExitStack() as stack:
        raw, size = _raw(source, stack)
        head = raw.read(HEAD)
        note, foreign = None, needs_ffmpeg(head)
        if foreign is None:
            wrong = not_audio(head, _in_commands(source))
            if wrong is not None:
                raise AudioError(
                    path, f"not audio but {wrong.what}", wrong.advice or _AGAIN
                )
            raw.seek(0)
            given, note = _mended(path, source, raw, size, stack)
            try:
                file = stack.enter_context(_File(given))
            except (soundfile.LibsndfileError, TypeError) as error:
                foreign = needs_ffmpeg(head, tried=True)
                if foreign is None:
                    raise AudioError(
                        path,
                        f"not audio that can be read here ({_said(error)})",
                        _AGAIN,
                    ) from error
        if foreign is not None:
            decoded = stack.enter_context(_by_ffmpeg(source, *foreign))
            file = stack.enter_context(_File(decoded))
        frames = file.frames
        if frames >= _ENDLESS:
            note = NO_LENGTH
            frames = sum(map(len, _blocks(path, file, 0, None, _BLOCK)))
            if not isinstance(given, str):
                given.seek(0)
            file = stack.enter_context(_File(given))
        if not frames:
            raise AudioError(path, "a header, but no samples", _AGAIN)
        low, high = _RATES
        if not low <= file.samplerate <= high:
            raise AudioError(
                path,
                f"a damaged header: it says {file.samplerate} samples a second",
                _AGAIN,
            )
        yield (
            file,
            AudioInfo(
                file.samplerate,
                file.channels,
                frames,
                file.format,
                file.subtype,
                note,
            ),
        )


def _raw(source, stack):
    """The bytes of a source as an open file, and how many there are."""
    if isinstance(source, bytes):
        if not source:
            raise AudioError(_name(source), "empty (0 bytes)", _AGAIN)
        return _Bytes(source), len(source)
    path = pathlib.Path(source)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise AudioError(
                path, "a folder, not a file", "Give the files that are in it"
            )
        raw = stack.enter_context(open(path, "rb"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise AudioError(
            path, f"cannot be read ({error.strerror})", "Check its permissions"
        ) from error
    if not size:
        raise AudioError(path, "an empty file (0 bytes)", _AGAIN)
    return raw, size


def _missing(path):
    """The error of a file that is not there."""
    wrong = None
    if path.is_symlink():
        target = os.readlink(path)
        if "annex/objects" in target:
            wrong = pointer("git-annex", "git annex get", path)
        else:
            wrong = f"a link to {target}, which is not there"
    elif path.with_name(path.name + ".dvc").exists():
        wrong = pointer("DVC", "dvc pull", path)
    if wrong is None:
        return AudioError(path, "no such file", "Check the name and the folder")
    if isinstance(wrong, str):
        return AudioError(path, wrong, "Copy the file that it names")
    return AudioError(path, f"not audio but {wrong.what}", wrong.advice)


def _mended(path, source, raw, size, stack):
    """What libsndfile is to open, and a note; `AudioError` if truncated."""
    given = str(source) if not isinstance(source, bytes) else raw
    samples = samples_of(raw, size)
    raw.seek(0)
    if samples is None:
        return given, None
    if samples.unknown:
        return given, NO_LENGTH
    if not samples.promised and samples.present > 0:
        # libsndfile believes this one. In memory, where the file is not
        # changed.
        length = struct.pack(f"{samples.order}I", samples.present)
        at = samples.length_at
        if isinstance(source, bytes):
            return io.BytesIO(
                source[:at] + length + source[at + 4 :]
            ), NO_LENGTH
        copy = stack.enter_context(
            mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY)
        )
        copy[at : at + 4] = length
        return copy, NO_LENGTH
    if samples.missing and samples.little:
        return given, ENDS_EARLY
    if samples.missing:
        if not samples.byte_rate:
            raise _truncated(path, None, None)
        rate = samples.byte_rate
        raise _truncated(path, samples.promised / rate, samples.present / rate)
    return given, None


@contextlib.contextmanager
def _by_ffmpeg(source, name, demuxer):
    """Opens what ffmpeg decodes."""
    with contextlib.ExitStack() as stack:
        path, shown = source, _in_commands(source)
        if isinstance(source, bytes):
            copy = stack.enter_context(tempfile.NamedTemporaryFile())
            copy.write(source)
            copy.flush()
            path = copy.name
        try:
            yield stack.enter_context(
                decode_by_ffmpeg(path, name, demuxer, shown)
            )
        except FFmpegError as error:
            raise AudioError(_name(source), error.found, error.advice) from None


def _name(source):
    return "the recording" if isinstance(source, bytes) else str(source)


def _in_commands(source):
    return "FILE" if isinstance(source, bytes) else str(source)


def _said(error):
    """What libsndfile says, without the file's name."""
    text = getattr(error, "error_string", "") or str(error)
    return text.strip().rstrip(".")


def _samples(number):
    return f"{number} sample{'s' * (number != 1)}"


def _say_once(note, path):
    """A corpus may have thousands of such files."""
    if note not in _SAID:
        _SAID.add(note)
        _LOG.warning("%s: %s. This is said of one such file", path, note)


def _truncated(path, promised, found):
    lengths = ""
    if promised is not None:
        lengths = (
            f": its header promises {promised:.3f} s, only {found:.3f} s are "
            "there"
        )
    return AudioError(
        path,
        f"truncated{lengths}",
        "Download or copy it again",
    )
