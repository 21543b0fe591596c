"""Audio files to mono float32, with one clear error for every bad file."""

import concurrent.futures
import dataclasses
import os
import pathlib
import struct

import numpy as np
import soundfile
import soxr


class AudioError(ValueError):
    """An audio file that cannot be used: which one, why, and what to do."""

    def __init__(self, path, found, advice):
        super().__init__(f"{path}: {found}. {advice}")
        self.path = str(path)
        self.found = found
        self.advice = advice

    def __reduce__(self):  # Survives pickling between processes.
        return AudioError, (self.path, self.found, self.advice)


_REPLACE = (
    "Restore the file from the corpus' distribution, or leave it out "
    "(recipes: --skip-bad-audio)"
)


@dataclasses.dataclass(frozen=True)
class AudioInfo:
    """Header of an audio file.

    Args:
        sample_rate: Hz.
        channels: Number of channels.
        frames: Samples per channel.
        format: Container, such as `"WAV"`.
        subtype: Coding of a sample, such as `"PCM_16"`.
    """

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def duration(self):
        """Seconds."""
        return self.frames / self.sample_rate


def inspect_audio(path):
    """Reads an audio file's header only, and checks it.

    Thousands of files a second: meant for a look at a whole corpus before
    hours are spent on it. Samples are not decoded, so silence and NaN are left
    for `load_audio` to find.

    Args:
        path: File that libsndfile reads: WAV, FLAC, OGG, MP3, AIFF and others.

    Returns:
        `AudioInfo`.

    Raises:
        AudioError: If the file is missing, empty, truncated, without samples,
            or not audio.
    """
    with _open(path) as file:
        return _info(file)


def load_audio(path, sample_rate, start=None, end=None):
    """Loads a file, or a stretch of it, as mono float32.

    Channels are averaged. Other rates are resampled with soxr at high quality,
    band-limited, without delay.

    Args:
        path: File that libsndfile reads: WAV (8 to 64 bit, float), FLAC, OGG,
            MP3, AIFF and others.
        sample_rate: Hz of what is returned.
        start: Where to begin, in seconds. None means at the beginning.
        end: Where to stop, in seconds. None means at the end of the file.

    Returns:
        Float32 array `(samples,)`, full scale being 1.

    Raises:
        AudioError: If the file is missing, empty, truncated, silent, without
            samples, not audio, has NaN or infinite samples, or does not reach
            from `start` to `end`.

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
        # Annotations are rounded, so they may end a little after the file.
        slack = round(0.05 * info.sample_rate)
        if not 0 <= first < last <= info.frames + slack or first >= info.frames:
            raise AudioError(
                path,
                f"no stretch from {start} s to {end} s; the file lasts "
                f"{info.duration:.3f} s",
                "Check start and end in the manifest against the audio",
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
    # One pass for all three: a NaN or an infinity makes the sum one, and
    # squares of what is not zero add up to more than zero.
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
                path, f"only {wanted} samples, nothing is left", _REPLACE
            )
    return np.ascontiguousarray(waveform, np.float32)


def stream_audio(path, sample_rate, seconds=1.0):
    """Reads a file block by block, however long it is.

    Joined, the blocks are what `load_audio` returns, but for the rounding of
    resampling in parts. They are not checked for silence and NaN.

    Args:
        path: File that libsndfile reads.
        sample_rate: Hz of what is returned.
        seconds: Of the file in a block.

    Yields:
        Float32 arrays `(samples,)`.

    Raises:
        AudioError: If the file is missing, empty, truncated, without samples,
            or not audio.

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
    paths,
    sample_rate,
    starts=None,
    ends=None,
    num_workers=None,
    on_error="raise",
):
    """Loads many files in parallel; decoding leaves Python's lock alone.

    Args:
        paths: List of files.
        sample_rate: Hz of what is returned.
        starts: Where to begin, in seconds: a list with a number or None for
            each file, or None.
        ends: Where to stop, likewise.
        num_workers: Threads. None means one for each processor.
        on_error: `"raise"`, or `"skip"` to leave bad files out and report them.

    Returns:
        `(waveforms, errors)`: a list with a float32 array for each path, None
        where it was skipped, and a dict from the index of each skipped file to
        its `AudioError`, in order.

    Raises:
        AudioError: Of the first bad file, with `on_error="raise"`.

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
        pool.shutdown(cancel_futures=True)  # Not after hours, but at once.
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


def fit_length(waveform, samples, mode="center", seed=None):
    """Crops or zero-pads a clip to a given length.

    Args:
        waveform: Array `(samples, ...)`.
        samples: Length wanted.
        mode: What is kept of a longer clip, and where a shorter one stands:
            `"center"`, `"start"`, or `"random"`.
        seed: Of `"random"`, an int or a sequence of ints.

    Returns:
        Array `(samples, ...)`.

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
    others = [(0, 0)] * (np.ndim(waveform) - 1)
    return np.pad(waveform, [before_and_after, *others])


def _info(file):
    return AudioInfo(
        file.samplerate, file.channels, file.frames, file.format, file.subtype
    )


def _open(path):
    """Opens a file with libsndfile, after what can be said without it."""
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
    """Raises if a WAV file's data chunk reaches beyond the file's end.

    libsndfile shortens such a file without a word.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF" or file.read(8)[4:] != b"WAVE":
            return
        align = 1
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                present = size - file.tell()
                # Programs that write to a pipe cannot know the length.
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
