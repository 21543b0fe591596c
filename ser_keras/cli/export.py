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
    precision: typing.Literal["float32", "float16", "int8"] = "float32"
    """Of a LiteRT file. int8 must have been written by the run itself, whose
    training clips give its ranges."""
    inputs: typing.Literal["waveform", "features"] = "waveform"
    """What a LiteRT file takes: sound, or the features of a front end that
    runs elsewhere. A SavedModel takes both."""
    duration: float = 0.0
    """Seconds of a clip in a LiteRT file; 0 takes the training's, which is the
    only one where the front end makes every clip of it (`--clips fixed`)."""
    fold: str = ""
    """Whose network: the name of a folder in the run's `folds`. Default: the
    last one, as the run itself exports; the best one would have been chosen
    on its test speakers."""
    labels: tuple[str, ...] = ()
    """Class names in the order of the outputs; of a .keras file only."""
    trust: bool = False
    """Read a .keras file of other classes than Keras' plain layers and ours.
    It can run code of whoever made it: only for files that you or people you
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
    if source.is_file():
        parts = _from_file(source, config)
    else:
        parts = _from_run(source, config)
    if isinstance(parts, pathlib.Path):  # The run wrote and scored this file.
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(parts, output)
        return {"exported": str(output), "bytes": output.stat().st_size}
    model, labels, frontend, normalization, duration, run_config = parts
    if getattr(run_config, "streams", "handcrafted") != "handcrafted":
        return _export_streams(config, run_config, parts, output)
    if config.format == "savedmodel":
        from ser_keras.export.card import ModelCard
        from ser_keras.export.saved_model.export import export_serving

        folder = export_serving(
            model,
            output,
            labels=labels,
            frontend=frontend,
            normalization=normalization,
            card=ModelCard.from_run(source) if source.is_dir() else None,
        )
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        return {"exported": str(folder), "bytes": size}
    from ser_keras.export.litert.export import export_litert

    if config.precision == "int8":
        raise ValueError(
            f"{source} must have its own int8 file: its ranges come from "
            "training clips. A finished run of Light-SERNet is given one by "
            "the command that made it, with --litert for --no-litert."
        )
    file = export_litert(
        model,
        output,
        labels,
        frontend,
        normalization,
        inputs=config.inputs,
        precision=config.precision,
        duration=config.duration or duration,
    )
    return {"exported": str(file), "bytes": file.stat().st_size}


def _export_streams(config, run_config, parts, output):
    """Of a run with a deep stream, whose extractor its configuration names."""
    if config.format != "savedmodel":
        raise ValueError(
            f"{config.source} has a deep stream, whose extractor a LiteRT file "
            "cannot hold. Received: format='litert'"
        )
    from ser_keras.experiments.deep_stream import deep_extractor
    from ser_keras.export.card import ModelCard
    from ser_keras.export.saved_model.two_streams import export_streams

    model, labels, frontend, normalization, *_ = parts
    if run_config.streams == "deep":
        frontend = normalization = None
    folder = export_streams(
        model,
        output,
        labels,
        frontend,
        normalization,
        deep_extractor(run_config),
        card=ModelCard.from_run(config.source),
    )
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return {"exported": str(folder), "bytes": size}


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
    return model, config.labels, None, None, None, None


def _from_run(run, config):
    """Model, labels, front end, normalisation, duration and configuration.

    Or the file, if the run wrote it itself.
    """
    if config.labels:
        raise ValueError("--labels are a run's own; leave them out.")
    settings, result = (_read(run, f) for f in ("config.json", "result.json"))
    folds = list(result["folds"])
    fold = config.fold or folds[-1]
    if fold not in folds:
        raise ValueError(f"`fold` must be one of {folds}. Received: {fold!r}")
    folder = run / "folds" / fold
    same = config.duration in (0, settings["config"].get("duration"))
    if config.format == "litert" and same:
        scored = folder / _litert_name(config)
        if scored.exists():
            return scored
    from ser_keras._registry import load_model
    from ser_keras.evaluation.predictions import Predictions

    run_config, front_end = _kind(run, settings["config"])
    frontend, normalization = front_end(run_config)
    predictions = Predictions.load_csv(folder / "predictions.csv")
    model = load_model(folder / "network.keras")
    return (
        model,
        predictions.label_names,
        frontend,
        normalization,
        run_config.duration,
        run_config,
    )


def _litert_name(config):
    """How a run names such a file."""
    prefix = "features_" if config.inputs == "features" else ""
    return f"{prefix}{config.precision}.tflite"


def _read(run, name):
    try:
        return json.loads((run / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{run / name}: no such file. {run} must be the folder of a "
            "finished run"
        ) from error


def _kind(run, settings):
    """Configuration and front end of whatever the run trained."""
    if "streams" in settings:
        from ser_keras.experiments.cells import front_end
        from ser_keras.experiments.emotionnas import EmotionNASConfig as Run
    elif "schedule" in settings:
        from ser_keras.experiments.light_sernet import LightSERNetConfig as Run
        from ser_keras.experiments.light_sernet import front_end
    elif "search_filters" in settings:
        from ser_keras.experiments.emodarts import EmoDARTSConfig as Run
        from ser_keras.experiments.emodarts import front_end
    else:
        raise ValueError(
            f"{run} must be a run of emoDARTS, EmotionNAS or Light-SERNet. "
            f"Received fields: {sorted(settings)}"
        )
    # Recipes and commands add fields of their own.
    known = {field.name for field in dataclasses.fields(Run)}
    return Run(**{k: v for k, v in settings.items() if k in known}), front_end


def show(result):
    """Prints where it is."""
    size = result["bytes"] / 1e6
    print(f"exported {result['exported']} ({size:.2f} MB)")


EXPORT = Command(ExportConfig, export, show)
