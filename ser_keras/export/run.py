"""What a finished run's folder has for exports."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from ser_keras._registry import load_model
from ser_keras.evaluation.predictions import Predictions
from ser_keras.export.card import ModelCard
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.training.run_folder import fold_paths

#: Folder of the network that was trained on all speakers, in a run's folder.
FINAL = "final"


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network of a finished run, with all that it needs to be used.

    Args:
        folder: Where the network is: `final`, or a fold's folder.
        network: From features to logits.
        preprocessor: That of its training.
        labels: Class names in the order of the logits.
        temperature: By which logits are to be divided; 1 without held-out
            speakers, or if calibration is not wanted.
        card: `ModelCard` of the run.
        bandwidth: Of the training's recordings, Hz; None of an older run.
        predictions: `Predictions` of the run's test.
        overstates: Whether the protocol of that test overstates.
        calibrated_on: Corpus whose speakers gave the temperature; None without
            one.
    """

    folder: pathlib.Path
    network: keras.Model
    preprocessor: Any
    labels: Sequence[str]
    temperature: float
    card: ModelCard
    bandwidth: float | None = None
    predictions: Predictions | None = None
    overstates: bool = False
    calibrated_on: str | None = None


def network_folder(run: str | os.PathLike[str], fold: str = "") -> pathlib.Path:
    """Folder of a run's network.

    Args:
        run: Folder of a finished run.
        fold: Name of a fold. Default: the network that was trained on all
            speakers, or the last fold's where there is none; the best fold's
            would have been chosen on its test speakers.

    Raises:
        FileNotFoundError: The run has not finished, or is none.
        ValueError: There is no such fold.
    """
    run = pathlib.Path(run)
    result = _read(run, "result.json")
    if not fold and (run / FINAL / "network.keras").exists():
        return run / FINAL
    folds = list(result["folds"])
    fold = fold or folds[-1]
    if fold not in folds:
        raise ValueError(f"`fold` must be one of {folds}. Received: {fold!r}")
    return fold_paths(run, folds)[fold]


def load_network(
    run: str | os.PathLike[str], fold: str = "", calibrate: bool = True
) -> TrainedNetwork:
    """Reads a network of a finished run.

    Args:
        run: Folder of the run.
        fold: See `network_folder`.
        calibrate: Whether the run's temperature is applied.

    Returns:
        `TrainedNetwork`.

    Raises:
        FileNotFoundError: The run has not finished, is none, or was written
            by a version before 0.2.0, which kept no preprocessor.
        ValueError: There is no such fold.
    """
    run = pathlib.Path(run)
    folder = network_folder(run, fold)
    result = _read(run, "result.json")
    preprocessor = load_preprocessor(run)
    temperature = result.get("temperature") if calibrate else None
    predictions = Predictions.load_csv(run / "predictions.csv")
    return TrainedNetwork(
        folder,
        load_model(folder / "network.keras"),
        preprocessor,
        predictions.label_names,
        temperature or 1.0,
        ModelCard.from_run(run, final=folder.name == FINAL),
        result.get("bandwidth"),
        predictions,
        bool(result.get("leaks_speakers") or result.get("selects_on_test")),
        _read(run, "config.json")["config"].get("corpus") or "emodb"
        if temperature
        else None,
    )


def _read(run, name):
    try:
        return json.loads((run / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{run / name}: no such file. {run} must be the folder of a "
            "finished run"
        ) from error
