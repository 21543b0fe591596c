"""What makes deep features: the one interface, and what extractors share."""

import bisect
import functools
import hashlib
import pathlib

import numpy as np


class Extractor:
    """Base of extractors: waveforms to frames of features, outside a graph.

    A subclass sets the attributes, and implements `extract` and `settings`.
    `extract_features` runs it over a corpus.

    Attributes:
        sample_rate: Of the waveforms it takes, Hz.
        num_features: Size of a frame.
        frame_rate: Frames in a second; None if a clip has one frame only.
        shortest: Samples of the shortest clip that has a frame. Of shorter
            ones `extract_features` says that their audio is bad.

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

    def extract(self, waveform):
        """Features of one utterance. Several threads may call it at a time.

        Args:
            waveform: Float32 array `(samples,)`, of any length from
                `shortest`.

        Returns:
            Float32 array `(time, num_features)`, time at least 1.
        """
        raise NotImplementedError

    def settings(self):
        """Dict of JSON types: all that decides the features but the audio.

        Features on disk are known by it. Of a file, its content counts (see
        `content_hash`), not its name.
        """
        raise NotImplementedError


class WaveformNetwork(Extractor):
    """Base of extractors that run a network on windows or on whole clips.

    A network for a fixed number of samples runs window by window, and each
    window gives a frame: its output, averaged over all axes but the last. The
    last window is followed by zeros, so that all of a clip is seen. A network
    for any number of samples runs once, and gives the frames itself.

    Args:
        name: Of the network, for messages.
        sample_rate: Of the network, Hz.
        window: Samples of a window, or None for a network that takes any.
        hop: Seconds from frame to frame: from window to window, or those of a
            network that gives the frames itself.

    Raises:
        ValueError: An argument is invalid, the network's output is no frames,
            or it gives them at another rate than `hop` says.
    """

    def __init__(self, name, sample_rate, window, hop):
        if sample_rate < 1 or not hop > 0 or round(hop * sample_rate) < 1:
            raise ValueError(
                "`sample_rate` (Hz) and `hop` (seconds) must be positive. "
                f"Received: sample_rate={sample_rate}, hop={hop}"
            )
        self.name = str(name)
        self.sample_rate = int(sample_rate)
        self.window = window
        self.hop = hop
        # Of windows, what the rounded hop in samples really makes.
        step = round(hop * sample_rate)
        self.frame_rate = sample_rate / step if window else 1 / hop
        self._step = step
        if window is None:
            self._check_hop()
        self.num_features = self.extract(_noise(sample_rate)).shape[1]

    def run(self, samples):
        """Output of the network, features last, for an array `(samples,)`."""
        raise NotImplementedError

    def extract(self, waveform):
        if self.window is None:
            frames = np.asarray(self.run(waveform), np.float32)
            # Without its batch axis of 1.
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
    def shortest(self):
        """Samples of the shortest clip that has a frame: at most a second."""
        if self.window is not None:
            return 1

        def has_frames(samples):
            try:
                return len(self.extract(_noise(samples))) > 0
            except Exception:  # Each runtime has errors of its own.
                return False

        lengths = range(1, self.sample_rate)
        return 1 + bisect.bisect_left(lengths, True, key=has_frames)

    def _check_hop(self):
        """Frames of 2 s more must be as many more as `hop` says."""
        counts = [
            len(self.extract(_noise(seconds * self.sample_rate)))
            for seconds in (2, 4)
        ]
        if abs(counts[1] - counts[0] - 2 / self.hop) > 1.5:
            raise ValueError(
                f"`hop` must be the seconds between the frames of {self.name}, "
                f"which gives {counts[0]} frames of 2 s and {counts[1]} of "
                f"4 s. Received: hop={self.hop}"
            )


def windows(waveform, size, step):
    """Windows of a clip, zeros after its end.

    Args:
        waveform: Array `(samples,)`.
        size: Samples of a window.
        step: Samples from window to window.

    Returns:
        Array `(windows, size)`: as few as reach the clip's end, at least 1.

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
    """Hash of a file, or of all files in a folder and their names.

    Args:
        path: File or folder.

    Returns:
        String.

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
        # Of the digests: joined contents could be cut at other places.
        digest.update(hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def check_file(path):
    """The path, if there is something.

    Raises:
        FileNotFoundError: There is not.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file. An extractor needs the network's file; "
            "check the path, or fetch it from where the network is published"
        )
    return path


def check_sample_rate(name, found, sample_rate):
    """Raises if a file says that it takes waveforms of another rate."""
    if found is not None and found != sample_rate:
        raise ValueError(
            f"{name} takes waveforms at {found} Hz; audio of any rate is "
            f"resampled to that. Received: sample_rate={sample_rate}"
        )


def _noise(samples):
    noise = np.random.default_rng(0).normal(0, 0.1, samples)
    return noise.astype("float32")
