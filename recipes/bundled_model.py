"""The model that comes with the package, from a run of Light-SERNet.

    python recipes/bundled_model.py results/emodb_light_sernet \
        --licence "CC0, as EMO-DB" \
        --corpus "EMO-DB: acted German sentences of ten speakers"

copies the LiteRT file of the run's last fold, writes its card, and gathers its
test predictions, from which the demo says how sure the model may be.
"""

import dataclasses
import json
import pathlib
import typing

import ser_keras as ser
from ser_keras.evaluation.predictions import Predictions
from ser_keras.serving.predictor import BUNDLED

LARGEST = 1_000_000  # Bytes; it is in every installation.


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts a run's LiteRT file into the package."""

    run: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a finished run of Light-SERNet, with LiteRT files."""
    licence: str
    """Licence of the weights; the corpus' licence may restrict it."""
    corpus: str
    """What it has learned from, in words."""
    precision: typing.Literal["float16", "int8", "float32"] = "float16"
    """Which of the run's files."""


def main(config: Config):
    """Runs the recipe."""
    run = pathlib.Path(config.run)
    result = json.loads((run / "result.json").read_text())
    folds = [run / "folds" / name for name in result["folds"]]
    file = folds[-1] / f"{config.precision}.tflite"
    content = file.read_bytes()
    if len(content) >= LARGEST:
        raise ValueError(
            f"{file} must be smaller than {LARGEST} bytes. Received: "
            f"{len(content)}. Take --precision int8, or train with --width."
        )
    name = run.resolve().name
    model = ser.load_litert(file)
    predictions = Predictions.concatenate(
        Predictions.load_csv(fold / f"{config.precision}.csv") for fold in folds
    )
    card = ser.export.ModelCard.from_run(
        run,
        description="Light-SERNet as a LiteRT file, waveform in, with the "
        f"weights of the last fold ({folds[-1].name} unheard).",
        corpus=config.corpus,
        licence=config.licence,
        scores={
            "UAR of these files": _with_interval(predictions, "uar"),
            "WA": _with_interval(predictions, "wa"),
        },
    )
    folder = BUNDLED / name
    folder.mkdir(parents=True)  # Another one is not overwritten.
    (folder / "model.tflite").write_bytes(content)
    (folder / "card.md").write_text(
        card.markdown(
            name,
            labels=", ".join(model.labels),
            sample_rate=f"{model.sample_rate} Hz",
            clip=f"{model.samples / model.sample_rate:g} s",
            precision=config.precision,
            bytes=len(content),
        )
    )
    Predictions.concatenate(
        Predictions.load_csv(fold / f"{config.precision}.csv") for fold in folds
    ).save_csv(folder / "predictions.csv")
    print(f"{folder}: {len(content)} bytes")


def _with_interval(predictions, metric):
    value = getattr(ser.score(predictions), metric)
    interval = ser.evaluation.confidence_interval(predictions, metric)
    return (value, *interval) if interval else value


if __name__ == "__main__":
    ser.cli.run(main, Config)
