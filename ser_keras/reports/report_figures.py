"""Parts of a report's page: pictures, sounds and diagrams, all embedded."""

import base64
import io
import pathlib

import numpy as np
import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio

_MARGIN = 44  # Pixels left of a drawing, for its scale.
_BLUE = "#0072B2"
_RATE = 16000  # Hz; speech needs no more, and every browser plays it.


def picture(path) -> str:
    """A PNG file as the address of an image that is in the page itself."""
    return _data_address("image/png", pathlib.Path(path).read_bytes())


def sound(utterance, seconds=8.0) -> dict:
    """The first seconds of an utterance, to be played in the page.

    Args:
        utterance: `Utterance`.
        seconds: How much of it at most.

    Returns:
        Dict with `address` and `cut`, whether it goes on; or with `missing`,
        why it cannot be played.
    """
    try:
        waveform = load_audio(
            utterance.path, _RATE, utterance.start, utterance.end
        )
    except AudioError as error:
        return {"missing": str(error)}
    longest = int(seconds * _RATE)
    file = io.BytesIO()
    # MP3, as every browser plays it; a sixth of the size of PCM.
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
        "address": _data_address("audio/mpeg", file.getvalue()),
        "cut": len(waveform) > longest,
    }


def reliability_diagram(calibration, size=260) -> str:
    """An SVG drawing: how often answers of a given confidence are right.

    Args:
        calibration: `Calibration`.
        size: Width and height of the plotted square, in pixels.

    Returns:
        An `<svg>` element; its text alternative are the numbers.
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
            f'fill="{_BLUE}" fill-opacity=".75"><title>{_said(row)}</title>'
            "</circle>"
        )
    described = "; ".join(_said(row) for row in rows)
    return _drawing(parts, "confidence", f"Reliability: {described}", size)


def coverage_diagram(coverage, size=260) -> str:
    """An SVG drawing: how many answers are right if the unsure are refused.

    Args:
        coverage: `Coverage`.
        size: Width and height of the plotted square, in pixels.

    Returns:
        An `<svg>` element; its text alternative are the numbers.
    """
    # The surest few alone jump between 0 and 1, and as many points as there
    # are pixels are enough.
    shown = np.linspace(0.05, 1, size)
    right = [coverage.accuracy_at(x) for x in shown]
    described = "; ".join(
        f"of the surest {x:.0%} {coverage.accuracy_at(x):.2f} right"
        for x in (0.25, 0.5, 0.75, 1)
    )
    parts = [_line(_points(shown, right, size))]
    name = "part that is answered, the surest first"
    return _drawing(parts, name, f"Coverage: {described}", size)


def _points(x, y, size):
    """Where values from 0 to 1 are in the drawing, in pixels."""
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


def _drawing(parts, x_name, described, size):
    """The `<svg>` of parts over a grid; upwards is how much is right."""
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
        'text-anchor="middle">right answers</text>',
    ]
    width, height = _MARGIN + size + 14, size + 54
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{described}">'
        + "".join([*grid, *parts, *names])
        + "</svg>"
    )


def _said(row):
    confidence, accuracy, count = row
    return f"confidence {confidence:.2f}: {accuracy:.2f} right of {count}"


def _data_address(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
