"""Embedded parts of a report's page: images, audio and SVG diagrams."""

import base64
import io
import os
import pathlib
from typing import Any

import numpy as np
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio

_MARGIN = 44  # Pixels left of a diagram, for its scale.
_BLUE = "#0072B2"
_RATE = 16000  # Of embedded audio, Hz.


def picture(path: str | os.PathLike[str]) -> str:
    """Data URL of a PNG file."""
    return _data_url("image/png", pathlib.Path(path).read_bytes())


def sound(utterance: Any, seconds: float = 8.0) -> dict:
    """The first seconds of an utterance, as embedded audio.

    Args:
        utterance: `Utterance`.
        seconds: Longest duration.

    Returns:
        Dict with `address`, a data URL, and `cut`, whether the utterance is
        longer; or with `missing`, why it cannot be played.
    """
    try:
        waveform = load_audio(
            utterance.path, _RATE, utterance.start, utterance.end
        )
    except AudioError as error:
        return {"missing": str(error)}
    longest = int(seconds * _RATE)
    file = io.BytesIO()
    # MP3: every browser plays it, and it has a sixth of the size of PCM.
    soundfile.write(
        file,
        waveform[:longest],
        _RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=0.8,
    )
    return {
        "address": _data_url("audio/mpeg", file.getvalue()),
        "cut": len(waveform) > longest,
    }


def reliability_diagram(calibration: Any, size: int = 260) -> str:
    """Reliability diagram as SVG: accuracy over confidence.

    Args:
        calibration: `Calibration`.
        size: Width and height of the plotted square, in pixels.

    Returns:
        An `<svg>` element, with the numbers as its text alternative.
    """
    total = calibration.counts.sum()
    rows = [
        row
        for row in zip(
            calibration.confidence,
            calibration.accuracy,
            calibration.counts,
            strict=True,
        )
        if row[2]
    ]
    points = _points([row[0] for row in rows], [row[1] for row in rows], size)
    parts = [
        f'<path d="M{_MARGIN} {10 + size}L{_MARGIN + size} 10" '
        'stroke="#767676" stroke-dasharray="5 4"/>',
        _line(points),
    ]
    for row, (x, y) in zip(rows, points, strict=True):
        radius = 3 + 9 * (row[2] / total) ** 0.5
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" '
            f'fill="{_BLUE}" fill-opacity=".75">'
            f"<title>{_described(row)}</title></circle>"
        )
    described = "; ".join(_described(row) for row in rows)
    return _diagram(parts, "confidence", f"Reliability: {described}", size)


def coverage_diagram(coverage: Any, size: int = 260) -> str:
    """Selective prediction as SVG: accuracy over coverage.

    Args:
        coverage: `Coverage`.
        size: Width and height of the plotted square, in pixels.

    Returns:
        An `<svg>` element, with the numbers as its text alternative.
    """
    # From 5 %, as accuracies of a few utterances jump between 0 and 1; with one
    # point for each pixel.
    shown = np.linspace(0.05, 1, size)
    accuracy = [coverage.accuracy_at(x) for x in shown]
    described = "; ".join(
        f"at a coverage of {x:.0%} accuracy {coverage.accuracy_at(x):.2f}"
        for x in (0.25, 0.5, 0.75, 1)
    )
    parts = [_line(_points(shown, accuracy, size))]
    return _diagram(parts, "coverage", f"Coverage: {described}", size)


def _points(x, y, size):
    """Positions in pixels of points with coordinates from 0 to 1."""
    return [
        (_MARGIN + size * right, 10 + size * (1 - up))
        for right, up in zip(x, y, strict=True)
    ]


def _line(points):
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{line}" fill="none" stroke="{_BLUE}" '
        'stroke-width="2"/>'
    )


def _diagram(parts, x_name, described, size):
    """The `<svg>` element of parts on a grid; the vertical axis is accuracy."""
    step, grid = size / 4, []
    for i in range(5):
        at = _MARGIN + i * step
        down = 10 + size - i * step
        grid += [
            f'<path d="M{_MARGIN} {down:.0f}H{_MARGIN + size}M{at:.0f} 10V'
            f'{10 + size}" stroke="#ddd"/>',
            f'<text x="{_MARGIN - 6}" y="{down + 4:.0f}" text-anchor="end">'
            f"{i / 4:g}</text>",
            f'<text x="{at:.0f}" y="{size + 26}" text-anchor="middle">'
            f"{i / 4:g}</text>",
        ]
    names = [
        f'<text x="{_MARGIN + size / 2:.0f}" y="{size + 46}" '
        f'text-anchor="middle">{x_name}</text>',
        f'<text transform="translate(12 {10 + size / 2:.0f}) rotate(-90)" '
        'text-anchor="middle">accuracy</text>',
    ]
    width, height = _MARGIN + size + 14, size + 54
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{described}">'
        + "".join([*grid, *parts, *names])
        + "</svg>"
    )


def _described(row):
    confidence, accuracy, count = row
    return f"confidence {confidence:.2f}: accuracy {accuracy:.2f} of {count}"


def _data_url(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
