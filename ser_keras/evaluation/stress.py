"""Stress report: scores against how the recordings arrive."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np

from ser_keras._registry import load_model
from ser_keras.audio.alterations import Alteration
from ser_keras.audio.alterations import BandLimit
from ser_keras.audio.alterations import Codec
from ser_keras.audio.alterations import Gain
from ser_keras.audio.alterations import Noise
from ser_keras.audio.alterations import Part
from ser_keras.audio.alterations import Reverberation
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.calibration import apply_temperature
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.predict import predict
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import score
from ser_keras.features.dataset import make_dataset
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.training.run_folder import fold_paths
from ser_keras.training.run_folder import read_json

#: What is tried, by what is altered; each is one alteration by itself.
CONDITIONS: dict[str, dict[str, Alteration]] = {
    "bandwidth": {
        f"{rate // 2000} kHz": BandLimit(rate) for rate in (12000, 8000, 6000)
    },
    "codec": {
        "MP3": Codec("mp3"),
        "MP3, few bits": Codec("mp3", 0.1),
        "Opus": Codec("opus"),
        "GSM": Codec("gsm"),
        "mu-law": Codec("mu_law"),
    },
    "noise": {
        **{f"SNR {snr} dB": Noise(snr=snr) for snr in (40, 30, 20, 10, 0)},
        "-50 dBFS": Noise(level=-50),
    },
    "room": {
        f"RT60 {decay} s": Reverberation(decay) for decay in (0.2, 0.5, 1.0)
    },
    "level": {f"{gain:+d} dB": Gain(gain) for gain in (-40, -20, 20)},
    "length": {f"{seconds} s": Part(seconds) for seconds in (2.0, 1.0, 0.5)},
}
#: Name of the row without any alteration.
UNALTERED = "as recorded"


def stress_conditions(
    answers: Callable[[Alteration | None], Predictions],
    conditions: dict[str, dict[str, Alteration]] | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """Scores of a model under each condition.

    Args:
        answers: `answers(alteration)`, predictions of all utterances with that
            alteration; None is without.
        conditions: As `CONDITIONS`, which is the default.
        progress: Wraps the list of conditions, such as to show how far it is.

    Returns:
        List of dicts with `altered` (what), `condition`, `uar`, `wa`, `ece`,
        `confidence` (its mean) and `n`; the first is without alteration.
    """
    todo: list[tuple[str, str, Alteration | None]] = [("", UNALTERED, None)]
    for altered, some in (conditions or CONDITIONS).items():
        todo += [(altered, name, x) for name, x in some.items()]
    rows = []
    for altered, name, alteration in progress(todo):
        predictions = answers(alteration)
        scores = score(predictions)
        confidence = predictions.probabilities.max(axis=1)
        rows.append(
            {
                "altered": altered,
                "condition": name,
                "uar": scores.uar,
                "wa": scores.wa,
                "ece": measure_calibration(predictions).ece,
                "confidence": float(np.mean(confidence)),
                "n": len(predictions.ids),
            }
        )
    return rows


def answers_of_run(
    path: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None = None,
) -> Callable[[Alteration | None], Predictions]:
    """Each fold's network on its own test speakers, for `stress_conditions`.

    With the temperature that is exported.

    Args:
        path: Folder of a finished run.
        cache_dir: Folder of the feature cache, or None. Features of altered
            recordings are not kept.

    Raises:
        FileNotFoundError: The run has not finished, or is none.
        ValueError: The run's features are of no front end.
    """
    path = pathlib.Path(path)
    result = read_json(path / "result.json")
    if result is None:
        raise FileNotFoundError(
            f"{path / 'result.json'}: no such file. {path} must be the folder "
            "of a finished run"
        )
    preprocessor = load_preprocessor(path)
    if not hasattr(preprocessor, "frontend"):
        raise ValueError(
            "A stress report alters waveforms before a front end. Received: "
            f"{path}, whose features are {preprocessor.describe()}"
        )
    everything = Manifest.load(path / "utterances.jsonl")
    labels = everything.labels
    known = {utterance.id: utterance for utterance in everything}
    folds = []
    for folder in fold_paths(path, result["folds"]).values():
        ids = Predictions.load_csv(folder / "predictions.csv").ids
        network = load_model(folder / "network.keras")
        folds.append((network, Manifest([known[i] for i in ids], labels)))

    def answers(alteration):
        parts = []
        for network, test in folds:
            # Altered ones would fill the cache, and nobody asks again.
            features = preprocessor.compute(
                test,
                None if alteration else cache_dir,
                alteration=alteration,
            )
            parts.append(predict(network, make_dataset(features, 16), test))
        pooled = Predictions.concatenate(parts)
        return apply_temperature(pooled, result.get("temperature") or 1.0)

    return answers
