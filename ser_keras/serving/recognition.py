"""From a recording to what is told about it: by the program, page and server.

One reader and one set of answers for all of them.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from ser_keras.audio.bandwidth import missing_band
from ser_keras.audio.io import load_recording
from ser_keras.audio.io import too_short

#: In place of a label whose probability is below the threshold.
UNSURE = "unsure"
_LOUDEST = 2.0  # Resampling makes samples of full scale a little larger.


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording that a model takes.

    Args:
        waveform: Float32 array `(samples,)` at the model's rate.
        note: What is odd about its file, or None.
        warning: What it lacks that the model's training had, or None.
        used: Seconds from and to, if the model uses only these of it.
    """

    waveform: np.ndarray
    note: str | None = None
    warning: str | None = None
    used: tuple[float, float] | None = None

    def facts(self) -> dict[str, Any]:
        """What there is to say beside the answer, as JSON types."""
        facts = {
            "note": self.note,
            "warning": self.warning,
            "heard": self.used and list(self.used),
        }
        return {key: value for key, value in facts.items() if value}


def read_clip(predictor: Any, source: str | os.PathLike[str] | bytes) -> Clip:
    """Reads a recording for a model.

    Args:
        predictor: What `load_predictor` returns.
        source: Path of a file, or all its bytes.

    Returns:
        `Clip`.

    Raises:
        AudioError: The file cannot be used, or is shorter than the model needs.
    """
    rate = predictor.sample_rate
    recording = load_recording(source, rate)
    waveform = recording.waveform
    least = getattr(predictor, "min_samples", None) or 1
    if len(waveform) < least:
        name = "the recording" if isinstance(source, bytes) else str(source)
        raise too_short(name, len(waveform), rate, least)
    used, samples = None, getattr(predictor, "samples", None)
    if samples and len(waveform) > samples:  # A fixed duration.
        first = (len(waveform) - samples) // 2
        used = round(first / rate, 3), round((first + samples) / rate, 3)
    return Clip(
        waveform,
        recording.info.note,
        missing_band(waveform, rate, predictor.bandwidth),
        used,
    )


def waveform_warning(predictor: Any, waveform: np.ndarray) -> str | None:
    """What is odd about samples that a program sends, or None.

    Args:
        predictor: What `load_predictor` returns.
        waveform: Float array `(samples,)`.

    >>> class Model:
    ...     sample_rate, bandwidth = 16000, None
    >>> waveform_warning(Model(), np.full(100, 3000.0))
    'samples of up to 3000, where the model takes -1 to 1: divide those of 16
    bits by 32768'
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if not np.isfinite(peak):  # The model says so.
        return None
    if peak == 0:
        return f"silent: all of its {len(waveform)} samples are 0"
    if peak > _LOUDEST:
        return (
            f"samples of up to {peak:g}, where the model takes -1 to 1: divide "
            "those of 16 bits by 32768"
        )
    return missing_band(waveform, predictor.sample_rate, predictor.bandwidth)


def describe(
    labels: Any, probabilities: np.ndarray, threshold: float = 0.0
) -> dict[str, Any]:
    """An answer as JSON types.

    Args:
        labels: Names of the classes.
        probabilities: Of each class.
        threshold: Lowest probability with which the most probable class is an
            answer; otherwise the answer is `"unsure"`.

    Returns:
        Dict with `label` and `probabilities`.

    Raises:
        ValueError: A probability is not finite.

    >>> describe(("anger", "joy"), np.array([0.4, 0.6]))
    {'label': 'joy', 'probabilities': {'anger': 0.4, 'joy': 0.6}}
    >>> describe(("anger", "joy"), np.array([0.4, 0.6]), 0.8)["label"]
    'unsure'
    """
    probabilities = np.asarray(probabilities, "float64")
    if not np.isfinite(probabilities).all():
        raise ValueError("samples too large: the model's answer is not finite")
    sure = probabilities.max() >= threshold
    return {
        "label": labels[int(probabilities.argmax())] if sure else UNSURE,
        "probabilities": dict(
            zip(labels, probabilities.round(6).tolist(), strict=True)
        ),
    }


def recognize(
    predictor: Any,
    source: str | os.PathLike[str] | bytes,
    threshold: float = 0.0,
) -> dict[str, Any]:
    """Reads and classifies one recording.

    Args:
        predictor: What `load_predictor` returns.
        source: Path of a file, or all its bytes.
        threshold: As of `describe`.

    Returns:
        Dict of JSON types with `label` and `probabilities`; and, where there
        is something to say, `note` (about the file), `warning` (about the
        answer) and `heard` (seconds from and to that were used).

    Raises:
        AudioError: The file cannot be used.
        ValueError: The model refuses it.
    """
    clip = read_clip(predictor, source)
    probabilities = predictor([clip.waveform])["probabilities"][0]
    return describe(predictor.labels, probabilities, threshold) | clip.facts()
