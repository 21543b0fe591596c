"""Figure of the demo: emotion over time, waveform and spectrogram."""

import base64
import html
import io

import numpy as np
import scipy.signal
from matplotlib.figure import Figure

from ser_keras.reports.figures import tidy
from ser_keras.reports.stream_figure import Outline
from ser_keras.reports.stream_figure import draw_probabilities

_COLUMNS = 1200  # Largest number of columns of the spectrogram.
_RANGE = 70.0  # Dynamic range of the spectrogram, dB.


def draw_recording(waveform, sample_rate, results, width=11.0):
    """Draws probabilities over time of several models, and the recording.

    Args:
        waveform: Float array `(samples,)`.
        sample_rate: Hz.
        results: Dict from the name of a model to `(labels, times, table)`:
            class names, seconds `(times,)`, probabilities `(times, classes)`.
        width: Width of the figure in inches; a narrow one has its legends below
            the axes.

    Returns:
        Bytes of a PNG file.
    """
    narrow = width < 8
    panels = len(results)
    heights = [2.6 + 0.9 * narrow] * panels + [1.2, 2.0]
    figure = Figure((width, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(
        panels + 2, sharex=True, height_ratios=heights, squeeze=False
    ).ravel()
    for axis, (name, (labels, times, table)) in zip(
        axes, results.items(), strict=False
    ):
        draw_probabilities(axis, times, table, labels)
        if panels > 1:
            axis.set_title(name, fontsize=11, loc="left")
        if narrow:
            axis.legend(
                frameon=False,
                fontsize=9,
                ncols=3,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.08),
            )
    _draw_sound(axes[-2], axes[-1], waveform, sample_rate)
    figure.align_ylabels(axes)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130, facecolor="white")
    return content.getvalue()


def _draw_sound(above, below, waveform, sample_rate):
    seconds = len(waveform) / sample_rate
    outline = Outline()
    outline.add(waveform)
    low, high, step = outline.get()
    times = (np.arange(len(low)) + 0.5) * step / sample_rate
    above.fill_between(times, low, high, color="#555555", linewidth=0.4)
    tidy(above, "", "waveform")
    above.set_xlim(0, seconds)
    # Windows of 32 ms, 8 ms apart unless that gives too many columns.
    size = min(round(0.032 * sample_rate), len(waveform))
    hop = max(size // 4, len(waveform) // _COLUMNS, 1)
    power = scipy.signal.spectrogram(
        waveform, sample_rate, nperseg=size, noverlap=max(size - hop, 0)
    )[2]
    level = 10 * np.log10(power + 1e-12)
    below.imshow(
        level,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, sample_rate / 2000),
        cmap="magma_r",
        vmin=level.max() - _RANGE,
        vmax=level.max(),
    )
    tidy(below, "time (s)", "frequency (kHz)")
    below.grid(False)


def as_html(wide, narrow, text):
    """HTML of a picture with a version for narrow screens.

    Args:
        wide: Bytes of a PNG file.
        narrow: Bytes of a PNG file for screens of up to 640 pixels.
        text: Alternative text.

    Returns:
        HTML of a `<picture>`.
    """
    wide, narrow = (
        "data:image/png;base64," + base64.b64encode(image).decode()
        for image in (wide, narrow)
    )
    return (
        f'<picture><source media="(max-width: 640px)" srcset="{narrow}">'
        f'<img src="{wide}" alt="{html.escape(text)}" '
        'style="width: 100%; height: auto"></picture>'
    )
