"""A preset and LiteRT file that come with the package, from a run.

    ser_keras train encoder --encoder whisper-tiny.en --num-layers 2 --litert \
        --corpus emodb --data-dir /corpora/emodb --fold 0 \
        --output-dir results/emodb_whisper_tiny
    python recipes/bundled_model.py results/emodb_whisper_tiny --no-preset \
        --precision int8_weights --licence "MIT (OpenAI), CC0 (EMO-DB)" \
        --corpus "EMO-DB: German sentences, acted by ten speakers"

The preset is the network that the run trained on all speakers, in float32. The
LiteRT file is the same network. Beside them lie the card, and the test
predictions of the folds' LiteRT files, from which the demo says how often an
answer of some probability is right.
"""

import dataclasses
import pathlib
import typing

import ser_keras as ser
from ser_keras.evaluation import Predictions
from ser_keras.export.run import load_network
from ser_keras.models import EncoderClassifier
from ser_keras.models import WaveformModel
from ser_keras.models.preset import BUNDLED

LARGEST = 6_000_000  # Bytes of the LiteRT file; it is in every installation.


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts a run's network into the package."""

    run: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a finished run with LiteRT files."""
    licence: str
    """Licence of the weights; the corpus' licence may restrict it."""
    corpus: str
    """What it was trained on, in words."""
    precision: typing.Literal["float16", "int8", "int8_weights", "float32"] = (
        "int8"
    )
    """Which of the run's LiteRT files."""
    preset: bool = True
    """Also the Keras network, four bytes a weight; not of an encoder."""


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
            f"{len(content)}. Take --precision int8 or int8_weights, or train "
            "a smaller network."
        )
    predictions = Predictions.concatenate(
        Predictions.load_csv(table)
        for table in sorted(run.glob(f"folds/*/{config.precision}.csv"))
    )
    model = ser.load_litert(file)
    card = dataclasses.replace(
        trained.card,
        description=_description(trained.network, config),
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
        precision=f"{config.precision} (LiteRT)"
        + (", float32 (preset)" if config.preset else ""),
        bytes=f"{len(content)} (LiteRT)",
    )
    folder = BUNDLED / name
    folder.mkdir(parents=True)  # Another one is not overwritten.
    if config.preset:
        WaveformModel(
            trained.network,
            trained.preprocessor,
            temperature=trained.temperature,
        ).save_to_preset(folder, trained.labels, card)
    (folder / "card.md").write_text(card, encoding="utf-8")
    (folder / "model.tflite").write_bytes(content)
    predictions.save_csv(folder / "predictions.csv")
    print(f"{folder}: {sum(x.stat().st_size for x in folder.iterdir())} bytes")


def _description(network, config):
    """What it is, in a sentence."""
    what = "Light-SERNet"
    if isinstance(network, EncoderClassifier):
        last = network.encoder.num_layers
        what = f"The first {last} layers of a speech encoder and a classifier"
    if config.preset:
        return (
            f"{what}, waveform in: a preset in float32 and a LiteRT file "
            f"({config.precision}) of the same network."
        )
    return f"{what}, waveform in: a LiteRT file ({config.precision})."


def _score(predictions, metric):
    value = getattr(ser.score(predictions), metric)
    interval = ser.evaluation.confidence_interval(predictions, metric)
    return (value, *interval) if interval else value


if __name__ == "__main__":
    ser.cli.run(main, Config)
