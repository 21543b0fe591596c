"""Figure of a stream: probabilities over time above the waveform."""

import os
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ser_keras.reports.cell_drawing import save_figure
from ser_keras.reports.figures import COLOURS
from ser_keras.reports.figures import tidy


def plot_stream(
    updates: Iterable[tuple[float, np.ndarray, str]],
    labels: Sequence[str],
    path: str | os.PathLike[str],
    chunks: Iterable[np.ndarray] | None = None,
    sample_rate: int | None = None,
) -> None:
    """Draws probabilities over time above the waveform.

    Args:
        updates: Iterable of `(time, probabilities, label)`, as
            `StreamingRecognizer.stream` yields them.
        labels: Class names in the order of the probabilities.
        path: Image file to write.
        chunks: Audio: an iterable of arrays `(samples,)`, as `stream_audio`
            yields them. Only its outline is stored. None leaves it out.
        sample_rate: Of the audio, Hz.

    Raises:
        ValueError: There are no updates, they do not have one probability for
            each label, or only one of `chunks` and `sample_rate` is given.
    """
    updates = [(time, np.asarray(p)) for time, p, _ in updates]
    if not updates or any(p.shape != (len(labels),) for _, p in updates):
        raise ValueError(
            "`updates` must have a probability for each of the labels "
            f"{tuple(labels)}. Received: {len(updates)} updates"
            + (f", the first {updates[0][1]}" if updates else "")
        )
    if (chunks is None) != (sample_rate is None):
        raise ValueError(
            "`chunks` and `sample_rate` must be given together. "
            f"Received: sample_rate={sample_rate}"
        )
    times = np.array([time for time, _ in updates])
    table = np.array([p for _, p in updates])
    panels = 1 if chunks is None else 2
    figure = Figure((11, 3.6 + 1.6 * (panels - 1)), layout="constrained")
    axes = figure.subplots(
        panels, sharex=True, squeeze=False, height_ratios=[3, 1.2][:panels]
    ).ravel()
    draw_probabilities(axes[0], times, table, labels)
    if chunks is not None:
        outline = Outline()
        for chunk in chunks:
            outline.add(chunk)
        low, high, step = outline.get()
        seconds = (np.arange(len(low)) + 0.5) * step / sample_rate
        axes[1].fill_between(seconds, low, high, color="#555555", linewidth=0.4)
        tidy(axes[1], "", "waveform")
        axes[1].set_xlim(0, max(times[-1], outline.total / sample_rate))
    axes[-1].set_xlabel("time (s)")
    save_figure(figure, path)


def draw_probabilities(axis, times, table, labels):
    """Draws a line for each class.

    Args:
        axis: Matplotlib axes.
        times: Seconds `(times,)`.
        table: Probabilities `(times, classes)`.
        labels: Class names.
    """
    # More classes than colours have other line styles.
    styles = ("-", (0, (4, 2)), (0, (1, 1.5)))
    for i, label in enumerate(labels):
        axis.plot(
            times,
            table[:, i],
            color=COLOURS[i % len(COLOURS)],
            linestyle=styles[i // len(COLOURS) % len(styles)],
            linewidth=1.8,
            marker="o" if len(times) <= 60 else None,
            markersize=3.5,
            label=label,
        )
    tidy(axis, "", "probability")
    axis.set_ylim(-0.02, 1.02)
    axis.legend(
        frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )


class Outline:
    """Outline of audio: minimum and maximum of equal segments.

    Memory is constant: whenever there are twice `bins` segments, pairs of
    neighbours are merged.

    Args:
        bins: Smallest number of segments of long audio.

    >>> outline = Outline(bins=2)
    >>> for chunk in np.split(np.arange(10.0), 5):
    ...     outline.add(chunk)
    >>> [part.tolist() for part in outline.get()[:2]]
    [[0.0, 4.0, 8.0], [3.0, 7.0, 9.0]]
    """

    def __init__(self, bins=2000):
        self._capacity = 2 * bins
        self._step = 1
        self._ends = np.zeros((2, 0))  # Minima and maxima.
        self._rest = np.zeros(0)
        self.total = 0

    def add(self, chunk):
        """Adds the next samples, `(samples,)`."""
        self.total += len(chunk)
        while len(chunk):
            room = self._capacity - self._ends.shape[1]
            room = room * self._step - len(self._rest)
            samples = np.concatenate([self._rest, chunk[:room]])
            chunk = chunk[room:]
            whole = len(samples) // self._step * self._step
            segments = samples[:whole].reshape(-1, self._step)
            self._rest = samples[whole:]
            ends = segments.min(axis=1), segments.max(axis=1)
            self._ends = np.hstack([self._ends, ends])
            if self._ends.shape[1] == self._capacity:
                low, high = self._ends.reshape(2, -1, 2)
                self._ends = np.stack([low.min(axis=1), high.max(axis=1)])
                self._step *= 2

    def get(self):
        """The outline of the samples so far.

        Returns:
            `(low, high, step)`: arrays `(segments,)`, and the samples in a
            segment; the last one may be shorter.
        """
        low, high = self._ends
        if len(self._rest):
            low = np.append(low, self._rest.min())
            high = np.append(high, self._rest.max())
        return low, high, self._step
