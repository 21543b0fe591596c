"""StreamingRecognizer: emotions over time in a stream of audio."""

from __future__ import annotations

import collections
import math
import numbers
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ser_keras.models.waveform_model import WaveformModel


class StreamUpdate(NamedTuple):
    """Result for one window of a stream.

    Args:
        time: End of the window, seconds from the start of the stream.
        probabilities: Smoothed probabilities, array `(classes,)`.
        label: Name of the most probable class.
    """

    time: float
    probabilities: np.ndarray
    label: str


class StreamingRecognizer:
    """Classifies windows of a long recording or of a microphone's stream.

    Window `i` is from second `i hop` to `i hop + window`. At the end of the
    stream, one more window covers its last seconds; a stream shorter than a
    window is one window of its own length. Memory is that of one window. A
    recognizer has no state between streams.

    Args:
        predictor: `LiteRTModel`, `SavedModel`, a `WaveformModel`; or any
            callable with `labels` and `sample_rate` that maps a list of
            waveforms to a dict with `probabilities` `(batch, classes)`. Its
            optional attributes `samples` and `min_samples` are the numbers of
            samples of the longest and the shortest clip that it takes.
        labels: Class names, for a `WaveformModel`.
        window: Seconds of a window, best those of the clips in training. None
            means the predictor's `samples`, or 3 s without any.
        hop: Seconds between windows.
        smoothing: `"exponential"`: `p <- p + (1 - exp(-t / T)) (q - p)` with
            the probabilities `q` of the newest window, `t` seconds after the
            one before. `"median"`: median of each class over the windows of
            the last `T` seconds, normalised to sum to 1. None: none.
        smoothing_seconds: `T`.

    Raises:
        ValueError: An argument is invalid, or `window` is longer than the clips
            of the predictor, or shorter than one frame.

    Example:
    >>> class Loudness:
    ...     labels, sample_rate = ("quiet", "loud"), 100
    ...     def __call__(self, clips):
    ...         loud = [np.mean(np.abs(clip)) for clip in clips]
    ...         return {"probabilities": np.array([[1 - p, p] for p in loud])}
    >>> recognizer = StreamingRecognizer(Loudness(), window=2.0, hop=1.0)
    >>> chunks = [np.zeros(250), np.ones(250)]
    >>> for time, probabilities, label in recognizer.stream(chunks):
    ...     print(time, probabilities.round(2), label)
    2.0 [1. 0.] quiet
    3.0 [0.9 0.1] quiet
    4.0 [0.65 0.35] quiet
    5.0 [0.39 0.61] loud

    A microphone is an iterable as well, here with the package sounddevice:

        with sounddevice.InputStream(16000, channels=1) as microphone:
            blocks = (microphone.read(4000)[0][:, 0] for _ in range(600))
            for time, probabilities, label in recognizer.stream(blocks):
                print(f"{time:7.1f} s  {label}")
    """

    def __init__(
        self,
        predictor: Any,
        labels: Sequence[str] | None = None,
        window: float | None = None,
        hop: float = 1.0,
        smoothing: str | None = "exponential",
        smoothing_seconds: float = 2.0,
    ):
        if smoothing not in ("exponential", "median", None):
            raise ValueError(
                "`smoothing` must be 'exponential', 'median' or None. "
                f"Received: smoothing={smoothing!r}"
            )
        if isinstance(predictor, WaveformModel):
            predictor = _KerasPredictor(predictor, labels)
        elif labels is not None:
            raise ValueError(
                "`labels` must be given for a `WaveformModel` only, as other "
                f"predictors have their own. Received: labels={labels}"
            )
        missing = [
            name
            for name in ("labels", "sample_rate")
            if getattr(predictor, name, None) is None
        ]
        if missing or not callable(predictor):
            raise ValueError(
                "`predictor` must take waveforms and have `labels` and "
                "`sample_rate`; put a front end before a network of features "
                f"by `with_frontend`. Received: {predictor}, without {missing}"
            )
        self.predictor = predictor
        self.labels = tuple(predictor.labels)
        self.sample_rate = predictor.sample_rate
        longest = getattr(predictor, "samples", None)
        if window is None:
            window = longest / self.sample_rate if longest else 3.0
        for name, value in (
            ("window", window),
            ("hop", hop),
            ("smoothing_seconds", smoothing_seconds),
        ):
            real = isinstance(value, numbers.Real)
            if not real or not 0 < value < math.inf:
                raise ValueError(
                    f"`{name}` must be positive seconds. "
                    f"Received: {name}={value!r}"
                )
        samples = round(window * self.sample_rate)
        if longest and samples > longest:
            raise ValueError(
                "`window` must not be longer than the clips of the predictor, "
                f"{longest / self.sample_rate:g} s. Received: window={window}"
            )
        if samples < self._least:
            raise ValueError(
                "`window` must be at least one frame of the predictor, "
                f"{self._least / self.sample_rate:g} s. Received: "
                f"window={window}"
            )
        if hop * self.sample_rate < 1:
            raise ValueError(
                "`hop` must be at least one sample, "
                f"{1 / self.sample_rate:g} s. Received: hop={hop}"
            )
        self.window = window
        self.hop = hop
        self.smoothing = smoothing
        self.smoothing_seconds = smoothing_seconds

    @property
    def _least(self):
        """Samples of the shortest clip that the predictor takes."""
        return max(getattr(self.predictor, "min_samples", None) or 1, 1)

    def stream(self, chunks: Iterable[np.ndarray]) -> Iterator[StreamUpdate]:
        """Classifies a stream, chunk by chunk.

        Args:
            chunks: Iterable of float arrays `(samples,)` in [-1, 1] at
                `sample_rate`, of any sizes, such as `stream_audio` yields for a
                file. It is read no further than needed.

        Yields:
            `StreamUpdate`, as soon as its window is complete.

        Raises:
            ValueError: A chunk is not a one-dimensional float array or has NaN
                or infinite samples; or the stream has no samples, or fewer than
                one frame of the predictor.
        """
        size = round(self.window * self.sample_rate)
        smooth = _Smoother(self)
        ring = _Ring(size)
        number = 0
        for chunk in chunks:
            chunk = self._check(chunk, ring.total)
            while True:
                # Rounded for each window, as summing up rounded hops would
                # drift.
                due = round(number * self.hop * self.sample_rate) + size
                chunk = ring.push(chunk, due)
                if ring.total < due:
                    break
                yield smooth(due, ring.last())
                number += 1
        if not ring.total:
            raise ValueError(
                "`chunks` must have samples. Received: an empty stream"
            )
        if ring.total < self._least:
            raise ValueError(
                "`chunks` must have at least one frame of the predictor, "
                f"{self._least} samples. Received: a stream of {ring.total} "
                "samples"
            )
        if ring.total != smooth.end:
            yield smooth(ring.total, ring.last())

    def _check(self, chunk, before):
        chunk = np.asarray(chunk)
        time = before / self.sample_rate
        if chunk.ndim != 1 or chunk.dtype.kind != "f":
            raise ValueError(
                "`chunks` must be float arrays (samples,) in [-1, 1]: divide "
                "int16 by 32768, average channels. Received: a chunk of "
                f"{chunk.dtype}, shape {chunk.shape}, {time:.3f} s into the "
                "stream"
            )
        finite = np.isfinite(chunk)
        if not finite.all():
            first = before + int(np.argmin(finite))
            raise ValueError(
                f"`chunks` must be finite. Received: {np.sum(~finite)} NaN or "
                f"infinite samples, the first {first / self.sample_rate:.3f} s "
                "into the stream"
            )
        return chunk


class _Ring:
    """Ring buffer of the last samples of a stream."""

    def __init__(self, size):
        self._samples = np.zeros(size, "float32")
        self.total = 0

    def push(self, chunk, end):
        """Adds samples up to number `end` of the stream; returns the rest."""
        taken, rest = np.split(chunk, [max(end - self.total, 0)])
        size = len(self._samples)
        kept = taken[-size:]
        first = (self.total + len(taken) - len(kept)) % size
        ahead = min(len(kept), size - first)
        self._samples[first : first + ahead] = kept[:ahead]
        self._samples[: len(kept) - ahead] = kept[ahead:]
        self.total += len(taken)
        return rest

    def last(self):
        """The last samples in order, fewer at the start of a stream."""
        if self.total < len(self._samples):
            return self._samples[: self.total].copy()
        return np.roll(self._samples, -self.total)


class _Smoother:
    """Classifies the windows of a stream and smooths their probabilities."""

    def __init__(self, recognizer):
        self._recognizer = recognizer
        windows = recognizer.smoothing_seconds / recognizer.hop
        self._recent = collections.deque(maxlen=max(round(windows), 1))
        self._smoothed = None
        self.end = 0  # Samples up to the end of the newest window.

    def __call__(self, end, window):
        recognizer = self._recognizer
        newest = recognizer.predictor([window])["probabilities"][0]
        newest = np.asarray(newest, "float64")
        elapsed = (end - self.end) / recognizer.sample_rate
        self.end = end
        if recognizer.smoothing == "median":
            self._recent.append(newest)
            newest = np.median(self._recent, axis=0)
            # All medians are 0 where every window predicts another class.
            newest = newest if newest.any() else np.mean(self._recent, axis=0)
            newest /= newest.sum()
        elif recognizer.smoothing == "exponential":
            if self._smoothed is not None:
                weight = -np.expm1(-elapsed / recognizer.smoothing_seconds)
                newest = self._smoothed + weight * (newest - self._smoothed)
            self._smoothed = newest
        label = recognizer.labels[int(newest.argmax())]
        return StreamUpdate(end / recognizer.sample_rate, newest, label)


class _KerasPredictor:
    """`WaveformModel` as a predictor, traced once for each clip length."""

    def __init__(self, model, labels):
        classes = model(tf.zeros((1, model.frontend.sample_rate)))
        classes = classes["probabilities"].shape[-1]
        if labels is None or len(labels) != classes:
            raise ValueError(
                f"`labels` must be as many as the model's {classes} classes. "
                f"Received: labels={labels}"
            )
        self.labels = tuple(labels)
        frontend = model.frontend
        self.sample_rate = frontend.sample_rate
        self.samples = None
        if frontend.duration is not None:  # Longer clips would be cropped.
            self.samples = round(frontend.duration * self.sample_rate)
        self.min_samples = frontend.min_samples
        self._model = tf.function(
            lambda x: model(x, training=False)["probabilities"],
            autograph=False,
        )

    def __call__(self, waveforms):
        rows = [self._model(np.float32(clip[None])) for clip in waveforms]
        return {"probabilities": np.concatenate(rows)}
