"""Parts of a report's page: pictures, sounds and diagrams, all embedded."""

import base64
import io
import pathlib

import soundfile

from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio

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
    margin, step = 44, size / 4
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
    parts = []
    for i in range(5):
        at = margin + i * step
        down = 10 + size - i * step
        parts += [
            f'<path d="M{margin} {down:.0f}H{margin + size}M{at:.0f} 10V'
            f'{10 + size}" stroke="#ddd"/>',
            f'<text x="{margin - 6}" y="{down + 4:.0f}" text-anchor="end">'
            f"{i / 4:g}</text>",
            f'<text x="{at:.0f}" y="{size + 26}" text-anchor="middle">'
            f"{i / 4:g}</text>",
        ]
    parts.append(
        f'<path d="M{margin} {10 + size}L{margin + size} 10" stroke="#767676" '
        'stroke-dasharray="5 4"/>'
    )
    points = [
        (margin + size * confidence, 10 + size * (1 - accuracy))
        for confidence, accuracy, _ in rows
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(
        f'<polyline points="{line}" fill="none" stroke="#0072B2" '
        'stroke-width="2"/>'
    )
    for row, (x, y) in zip(rows, points, strict=True):
        radius = 3 + 9 * (row[2] / total) ** 0.5
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" '
            f'fill="#0072B2" fill-opacity=".75"><title>{_said(row)}</title>'
            "</circle>"
        )
    middle = 10 + size / 2
    parts += [
        f'<text x="{margin + size / 2:.0f}" y="{size + 46}" '
        'text-anchor="middle">confidence</text>',
        f'<text transform="translate(12 {middle:.0f}) rotate(-90)" '
        'text-anchor="middle">right answers</text>',
    ]
    described = "; ".join(_said(row) for row in rows)
    width, height = margin + size + 14, size + 54
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="Reliability: {described}">'
        + "".join(parts)
        + "</svg>"
    )


def _said(row):
    confidence, accuracy, count = row
    return f"confidence {confidence:.2f}: {accuracy:.2f} right of {count}"


def _data_address(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
