"""Extractor: base class of feature extractors outside of a TensorFlow graph."""

import bisect
import functools
import hashlib
import pathlib
from typing import Any

import numpy as np


class Extractor:
    """Base class of extractors: waveforms to frames of features, in NumPy.

    A subclass sets the attributes and implements `extract` and `settings`.
    `extract_features` runs it over a corpus.

    Attributes:
        sample_rate: Of the waveforms, Hz.
        num_features: Features of a frame.
        frame_rate: Frames per second; None if each clip has one frame.
        shortest: Samples of the shortest clip that has a frame. Shorter ones
            are bad audio for `extract_features`.

    >>> class Peaks(Extractor):
    ...     sample_rate, num_features, frame_rate = 16000, 1, 10.0
    ...
    ...     def extract(self, waveform):
    ...         return windows(waveform, 1600, 1600).max(axis=1, keepdims=True)
    ...
    ...     def settings(self):
    ...         return {"extractor": "peaks", "version": 1}
    >>> Peaks().extract(np.ones(4000, "float32")).shape
    (3, 1)
    """

    sample_rate: int
    num_features: int
    frame_rate: float | None
    shortest: int = 1

    def __repr__(self):
        return (
            f"<{type(self).__name__}: {self.sample_rate} Hz to "
            f"{self.num_features} features>"
        )

    def extract(self, waveform: np.ndarray) -> np.ndarray:
        """Computes the features of one utterance; it must be thread-safe.

        Args:
            waveform: Float32 array `(samples,)` of at least `shortest` samples.

        Returns:
            Float32 array `(time, num_features)`, time at least 1.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """All that determines the features besides the audio, as JSON types.

        It identifies stored features. For a file, give the hash of its content
        (see `content_hash`), not its name.
        """
        raise NotImplementedError


class WaveformNetwork(Extractor):
    """Base class of extractors that run a network on windows or whole clips.

    A network with a fixed number of samples runs window by window; the output
    of a window, averaged over all axes but the last, is a frame. The last
    window is zero-padded, so that it covers the end of the clip. A network for
    any number of samples runs once and computes the frames itself.

    Args:
        name: Name of the network in messages.
        sample_rate: Of the network, Hz.
        window: Samples of a window, or None for a network that takes any
            number of samples.
        hop: Seconds from frame to frame.

    Raises:
        ValueError: An argument is invalid, the output of the network has
            another shape, or its frame rate is not `1 / hop`.
    """

    def __init__(
        self,
        name: str,
        sample_rate: int,
        window: int | None,
        hop: float,
    ):
        if sample_rate < 1 or not hop > 0 or round(hop * sample_rate) < 1:
            raise ValueError(
                "`sample_rate` (Hz) and `hop` (seconds) must be positive. "
                f"Received: sample_rate={sample_rate}, hop={hop}"
            )
        self.name = str(name)
        self.sample_rate = int(sample_rate)
        self.window = window
        self.hop = hop
        # For windows, the rate of the hop rounded to samples.
        step = round(hop * sample_rate)
        self.frame_rate = sample_rate / step if window else 1 / hop
        self._step = step
        if window is None:
            self._check_hop()
        self.num_features = self.extract(_noise(sample_rate)).shape[1]

    def run(self, samples: np.ndarray) -> np.ndarray:
        """Output of the network, features last, for an array `(samples,)`."""
        raise NotImplementedError

    def extract(self, waveform: np.ndarray) -> np.ndarray:
        if self.window is None:
            frames = np.asarray(self.run(waveform), np.float32)
            # Without the batch axis of size 1.
            if frames.ndim == 3 and len(frames) == 1:
                frames = frames[0]
            if frames.ndim != 2 or not len(frames):
                raise ValueError(
                    f"{self.name} must give frames `(1, time, features)` of a "
                    "waveform. Received: an output of shape "
                    f"{frames.shape} for {len(waveform)} samples"
                )
            return frames
        frames = [
            np.asarray(self.run(part), np.float32)
            for part in windows(waveform, self.window, self._step)
        ]
        return np.stack([x.reshape(-1, x.shape[-1]).mean(0) for x in frames])

    @functools.cached_property
    def shortest(self) -> int:
        """Samples of the shortest clip that has a frame, at most a second."""
        if self.window is not None:
            return 1

        def has_frames(samples):
            try:
                return len(self.extract(_noise(samples))) > 0
            except Exception:  # Runtimes have no common error class.
                return False

        lengths = range(1, self.sample_rate)
        return 1 + bisect.bisect_left(lengths, True, key=has_frames)

    def _check_hop(self):
        """Raises unless 2 s more of audio give `2 / hop` more frames."""
        counts = [
            len(self.extract(_noise(seconds * self.sample_rate)))
            for seconds in (2, 4)
        ]
        if abs(counts[1] - counts[0] - 2 / self.hop) > 1.5:
            raise ValueError(
                f"`hop` must be the seconds between the frames of {self.name}, "
                f"which gives {counts[0]} frames for 2 s and {counts[1]} for "
                f"4 s. Received: hop={self.hop}"
            )


def windows(waveform: np.ndarray, size: int, step: int) -> np.ndarray:
    """Windows of a clip, zero-padded at its end.

    Args:
        waveform: Array `(samples,)`.
        size: Samples of a window.
        step: Samples from window to window.

    Returns:
        Array `(windows, size)`, with the fewest windows that cover the clip, at
        least 1.

    >>> windows(np.arange(1, 6), 3, 2).tolist()
    [[1, 2, 3], [3, 4, 5]]
    >>> windows(np.arange(1, 7), 3, 2).tolist()
    [[1, 2, 3], [3, 4, 5], [5, 6, 0]]
    """
    count = 1 + max(-(-(len(waveform) - size) // step), 0)
    samples = (count - 1) * step + size
    padded = np.pad(waveform, (0, max(samples - len(waveform), 0)))
    parts = np.lib.stride_tricks.sliding_window_view(padded, size)
    return parts[::step][:count]


def content_hash(path):
    """Hash of a file, or of all files in a folder with their names.

    Args:
        path: File or folder.

    Returns:
        Hexadecimal digits.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = check_file(path)
    files = [path]
    if path.is_dir():
        files = sorted(x for x in path.rglob("*") if x.is_file())
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        # Of the digests: concatenated contents would not show their limits.
        digest.update(hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def check_file(path):
    """Path of an existing file or folder.

    Args:
        path: The path.

    Returns:
        `pathlib.Path`.

    Raises:
        FileNotFoundError: It does not exist.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file. An extractor needs the file of a network; "
            "correct the path, or download the file from the network's "
            "publisher."
        )
    return path


def check_sample_rate(name, found, sample_rate):
    """Raises `ValueError` if a network has another sample rate.

    Args:
        name: Name of the network in messages.
        found: Its sample rate in Hz, or None if unknown.
        sample_rate: The sample rate it should have, Hz.
    """
    if found is not None and found != sample_rate:
        raise ValueError(
            f"{name} takes waveforms at {found} Hz; give that rate, to which "
            f"audio is resampled. Received: sample_rate={sample_rate}"
        )


def _noise(samples):
    noise = np.random.default_rng(0).normal(0, 0.1, samples)
    return noise.astype("float32")
