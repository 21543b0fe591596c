"""SavedModels of `export_saved_model`, read back for predictions in Python."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

CARD = "labels.json"


def load_saved_model(
    path: str | os.PathLike[str], version: int | None = None
) -> SavedModel:
    """Reads what `export_saved_model` wrote.

    Args:
        path: The model's folder, or one version's.
        version: A number; the highest by default.

    Returns:
        A `SavedModel`.

    Raises:
        FileNotFoundError: There is no such version, or it is not complete.
    """
    path = pathlib.Path(path)
    if not (path / "saved_model.pb").exists():
        versions = versions_in(path)
        if not versions or (version or versions[-1]) not in versions:
            raise FileNotFoundError(
                f"{path} has no version {version or ''}".rstrip()
                + f" of a SavedModel; versions there: {versions}"
            )
        path = path / str(version or versions[-1])
    return SavedModel(path)


class SavedModel:
    """A SavedModel of `export_saved_model`, for Python.

    Args:
        path: Folder of a version, with `saved_model.pb` and `labels.json`.

    Attributes:
        labels: Class names in the order of the probabilities.
        sample_rate: Of the waveforms, Hz.
        samples: Length of a clip; of a longer one the middle is used. None
            if clips of any length are used whole.
        bandwidth: Up to which frequency the training's recordings had content,
            Hz, or None if it is not known.
        calibrated_on: Corpus whose speakers gave the temperature, or None if
            it is not known.
        path: The folder.
        signatures: The SavedModel's functions by name.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        card = self.path / CARD
        if not card.exists():
            raise FileNotFoundError(
                f"{card} is missing; was it written by export_saved_model?"
            )
        facts = json.loads(card.read_text())
        self.labels = tuple(facts["labels"])
        self.sample_rate = facts["sample_rate"]
        self.samples = facts.get("samples")
        self.bandwidth = facts.get("bandwidth")
        self.calibrated_on = facts.get("calibrated_on")
        # Signatures do not keep the object alive that they belong to.
        self._module = tf.saved_model.load(str(path))
        self.signatures = self._module.signatures

    def check_waveforms(self) -> None:
        """Raises `ValueError` if the model takes features, not waveforms."""
        if "serving_lengths" in self.signatures:
            return
        names = sorted(set(self.signatures) - {"serving_default"})
        raise ValueError(
            f"{self.path} takes features, not waveforms: not all that makes "
            f"them could be in the graph. Its `signatures` are {names}; {CARD} "
            "says which features"
        )

    def __call__(
        self, waveforms: np.ndarray | Sequence[np.ndarray] | Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Classifies clips of any lengths.

        Args:
            waveforms: One array `(samples,)`, a list of them, or an array
                `(batch, samples)`; floats in [-1, 1] at `sample_rate`.

        Returns:
            Dict of numpy arrays: `probabilities` `(batch, classes)` and
            `label` `(batch,)`, strings.

        Raises:
            ValueError: A clip is empty, not one-dimensional, not finite, or
                longer than the model takes; or the model takes features.
        """
        self.check_waveforms()
        if isinstance(waveforms, np.ndarray) and waveforms.ndim == 1:
            waveforms = [waveforms]
        clips = [np.asarray(clip, "float32") for clip in waveforms]
        for i, clip in enumerate(clips):
            if clip.ndim != 1 or not clip.size or not np.isfinite(clip).all():
                raise ValueError(
                    "`waveforms` must be one-dimensional, not empty and "
                    f"finite. Received: clip {i} of shape {clip.shape}"
                )
        lengths = np.array([len(clip) for clip in clips], "int32")
        batch = np.zeros((len(clips), max(lengths, default=0)), "float32")
        for row, clip in zip(batch, clips, strict=True):
            row[: len(clip)] = clip
        outputs = self.signatures["serving_lengths"](
            waveform=tf.constant(batch), lengths=tf.constant(lengths)
        )
        for i, error in enumerate(outputs["error"].numpy()):
            if error:
                raise ValueError(f"Clip {i}: {error.decode()}")
        return {
            "probabilities": outputs["probabilities"].numpy(),
            "label": outputs["label"].numpy().astype(str),
        }


def takes_waveforms(path):
    """Whether a version's folder has a model that takes waveforms.

    Without loading it: `labels.json` names the signatures where they are not
    those of `export_saved_model`.
    """
    facts = json.loads((pathlib.Path(path) / CARD).read_text())
    names = facts.get("signatures", ["serving_lengths"])
    return "serving_lengths" in names


def versions_in(path):
    """Version numbers in a model's folder, sorted."""
    if not path.is_dir():
        return []
    return sorted(
        int(child.name)
        for child in path.iterdir()
        if child.name.isdecimal() and child.is_dir()
    )
