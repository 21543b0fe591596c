"""`ser_keras export`: from a run's folder to files that others run."""

import dataclasses
import json
import math
import pathlib
import shutil
import typing

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Turns a run into a SavedModel or a LiteRT file.

    A SavedModel is what TensorFlow Serving and `ser_keras serve` read; a
    LiteRT file is for phones and small boards. Nothing is overwritten.
    """

    source: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a finished run of yours; or a .keras file."""
    output: str = dataclasses.field(default="", metadata={"path": True})
    """Folder of the SavedModel, which gets the next version in it, default
    `saved_models/<name of source>`; or LiteRT file, default `<name of
    source>_<precision>.tflite`, or `<name of
    source>_features_<precision>.tflite`."""
    format: typing.Literal["savedmodel", "litert"] = "savedmodel"
    """What to write."""
    precision: typing.Literal["float32", "float16", "int8", "int8_weights"] = (
        "float32"
    )
    """Of a LiteRT file. int8 must have been written by the run itself, whose
    training clips give its ranges; int8_weights needs none, and is for
    encoders."""
    inputs: typing.Literal["waveform", "features"] = "waveform"
    """What a LiteRT file takes: sound, or the features of a front end that
    runs elsewhere. A SavedModel takes both."""
    duration: float = 0.0
    """Seconds of a clip in a LiteRT file; 0 takes the training's, which is the
    only one where the front end makes every clip of it (`--clips fixed`)."""
    fold: str = ""
    """Whose network: the name of a folder in the run's `folds`. Default: the
    network that was trained on all speakers, or the last fold's where there
    is none, as the run itself exports; the best fold's would have been chosen
    on its test speakers."""
    calibrate: bool = True
    """Divide the logits by the run's temperature (temperature scaling)."""
    labels: tuple[str, ...] = ()
    """Class names in the order of the outputs; of a .keras file only."""
    trust: bool = False
    """Read a .keras file of other classes than Keras' plain layers and ours.
    It can run code that came with it: only for files that you or people you
    trust made."""

    def __post_init__(self):
        if not 0 <= self.duration < math.inf:
            raise ValueError(
                "`duration` must be positive, finite seconds, or 0 for the "
                f"training's. Received: duration={self.duration}"
            )
        if self.format == "savedmodel" and self.inputs == "features":
            raise ValueError(
                "`inputs` is for --format litert: a SavedModel takes waveforms "
                "and features. Received: inputs='features'"
            )


def export(config):
    """Writes the SavedModel or the file."""
    source = pathlib.Path(config.source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such run or file")
    name = source.resolve().stem
    output = pathlib.Path(config.output or pathlib.Path("saved_models") / name)
    if config.format == "litert":
        output = pathlib.Path(config.output or f"{name}_{_litert_name(config)}")
        if output.exists():
            raise FileExistsError(
                f"{output} exists and is not overwritten. Choose another "
                "--output."
            )
        if source.is_dir():
            written = _written_by_run(source, config)
            if written is not None:
                output.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(written, output)
                return {"exported": str(output), "bytes": _size(output)}
    model, arguments, card, test = _from_source(source, config)
    if config.format == "savedmodel":
        from ser_keras.export.saved_model.export import export_saved_model
        from ser_keras.export.saved_model.model import versions_in

        earlier = versions_in(output)
        exported = export_saved_model(
            model, output, card=card, **arguments, **test
        )
        return {
            "exported": str(exported),
            "bytes": _size(exported),
            "beside": [str(output / str(n)) for n in earlier],
        }
    from ser_keras.export.litert.export import export_litert

    if config.precision == "int8":
        raise ValueError(
            f"{source} must have its own int8 file: its ranges come from "
            "training clips. A finished run is given one by the command that "
            "made it, with --litert."
        )
    exported = export_litert(
        model,
        output,
        inputs=config.inputs,
        precision=config.precision,
        duration=config.duration or None,
        **arguments,
    )
    return {"exported": str(exported), "bytes": _size(exported)}


def _size(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _from_source(source, config):
    """Model, arguments of its export, card, and what is known of its test."""
    if source.is_file():
        return _from_file(source, config), {"labels": config.labels}, None, {}
    if config.labels:
        raise ValueError("--labels are a run's own; leave them out.")
    from ser_keras.export.run import load_network

    found = load_network(source, config.fold, config.calibrate)
    arguments = {
        "labels": found.labels,
        "preprocessor": found.preprocessor,
        "temperature": found.temperature,
        "bandwidth": found.bandwidth,
    }
    test = {
        "predictions": found.predictions,
        "overstates": found.overstates,
        "calibrated_on": found.calibrated_on,
    }
    return found.network, arguments, found.card, test


def _from_file(file, config):
    if file.suffix != ".keras":
        raise ValueError(
            f"{file} must be a run's folder or a .keras file, not "
            f"{file.suffix or 'a file without an ending'}"
        )
    from ser_keras._registry import load_model
    from ser_keras.models.waveform_model import WaveformModel

    model = load_model(file, config.trust)
    if not isinstance(model, WaveformModel):
        raise ValueError(
            f"{file} must be a network with its front end (`with_frontend`). "
            "Received: one that takes features, and nothing says which. Export "
            "its run's folder instead."
        )
    if not config.labels:
        raise ValueError(f"{file} has no class names: give --labels.")
    return model


def _written_by_run(run, config):
    """A LiteRT file that the run wrote itself, or None."""
    from ser_keras.export.run import network_folder

    folder = network_folder(run, config.fold)
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    if config.duration not in (0, settings["config"].get("duration")):
        return None
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    if result.get("temperature") and not config.calibrate:
        return None
    file = folder / _litert_name(config)
    return file if file.exists() else None


def _litert_name(config):
    """How a run names such a file."""
    prefix = "features_" if config.inputs == "features" else ""
    return f"{prefix}{config.precision}.tflite"


def show(result):
    """Prints where it is."""
    size = result["bytes"] / 1e6
    print(f"exported {result['exported']} ({size:.2f} MB)")
    if result.get("beside"):
        print(
            f"A new version beside {', '.join(result['beside'])}, which "
            "stays as it is: the highest version is what is served."
        )


EXPORT = Command(ExportConfig, export, show)
