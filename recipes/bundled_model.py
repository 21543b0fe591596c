"""A preset and LiteRT file that come with the package, from a run.

    python recipes/emodb_light_sernet.py --data-dir /corpora/emodb
    python recipes/bundled_model.py results/emodb_light_sernet \
        --licence "CC0, as EMO-DB" \
        --corpus "EMO-DB: German sentences, acted by ten speakers"

The preset is the network that the run trained on all speakers, in float32. The
LiteRT file is the same network, and answers `ser_keras predict`. Beside them
lie the card, and the test predictions of the folds' LiteRT files, from which
the demo says how often an answer of some probability is right.
"""

import dataclasses
import pathlib
import typing

import ser_keras as ser
from ser_keras.evaluation import Predictions
from ser_keras.export.run import load_network
from ser_keras.models import WaveformModel
from ser_keras.models.preset import BUNDLED

LARGEST = 1_000_000  # Bytes of the LiteRT file; it is in every installation.


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts a run's network into the package."""

    run: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a finished run of Light-SERNet, with LiteRT files."""
    licence: str
    """Licence of the weights; the corpus' licence may restrict it."""
    corpus: str
    """What it was trained on, in words."""
    precision: typing.Literal["float16", "int8", "float32"] = "int8"
    """Which of the run's LiteRT files."""


def main(config: Config):
    """Runs the recipe."""
    run = pathlib.Path(config.run)
    name = run.resolve().name
    trained = load_network(run)
    file = trained.folder / f"{config.precision}.tflite"
    content = file.read_bytes()
    if len(content) >= LARGEST:
        raise ValueError(
            f"{file} must be smaller than {LARGEST} bytes. Received: "
            f"{len(content)}. Take --precision int8, or train with --width."
        )
    predictions = Predictions.concatenate(
        Predictions.load_csv(table)
        for table in sorted(run.glob(f"folds/*/{config.precision}.csv"))
    )
    model = ser.load_litert(file)
    card = dataclasses.replace(
        trained.card,
        description="Light-SERNet, waveform in: a preset in float32 and a "
        f"LiteRT file ({config.precision}) of the same network.",
        corpus=config.corpus,
        licence=config.licence,
        scores={
            "UAR of the folds' LiteRT files": _score(predictions, "uar"),
            "WA": _score(predictions, "wa"),
        },
    ).markdown(
        name,
        labels=", ".join(trained.labels),
        sample_rate=f"{model.sample_rate} Hz",
        clip=f"{model.samples / model.sample_rate:g} s",
        precision=f"{config.precision} (LiteRT), float32 (preset)",
        bytes=f"{len(content)} (LiteRT)",
    )
    folder = BUNDLED / name
    folder.mkdir(parents=True)  # Another one is not overwritten.
    WaveformModel(
        trained.network, trained.preprocessor, temperature=trained.temperature
    ).save_to_preset(folder, trained.labels, card)
    (folder / "model.tflite").write_bytes(content)
    predictions.save_csv(folder / "predictions.csv")
    print(f"{folder}: {sum(x.stat().st_size for x in folder.iterdir())} bytes")


def _score(predictions, metric):
    value = getattr(ser.score(predictions), metric)
    interval = ser.evaluation.confidence_interval(predictions, metric)
    return (value, *interval) if interval else value


if __name__ == "__main__":
    ser.cli.run(main, Config)
