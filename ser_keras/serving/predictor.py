"""Models on disk, whatever their format, behind one call."""

import json
import os
import pathlib
from typing import Any

import ser_keras

# The same as in `models.preset`, whose import needs TensorFlow.
BUNDLED = pathlib.Path(ser_keras.__file__).parent / "models" / "presets"
"""Folder of the models that come with the package: `<name>/model.tflite`."""

DEFAULT = "emodb_whisper_tiny"
"""Which of them answers where none is named."""

_GET_ONE = """\
No model was named, and none comes with this installation. One that shows how
everything works takes a minute, on a part of the built-in corpus:
  ser_keras train light_sernet --smoke --output-dir results/first
  ser_keras predict --model results/first FILE
For one that recognises emotions, leave --smoke out; give it your own corpus by
--corpus and --data-dir."""


def load_predictor(path: str | os.PathLike[str] | None = None) -> Any:
    """Reads a model that takes waveforms.

    Args:
        path: A LiteRT file of `export_litert`; a SavedModel of
            `export_saved_model`, its folder or one version's; or a run's
            folder, for the SavedModel that the run exported. None means the
            model that comes with the package.

    Returns:
        `LiteRTModel` or `SavedModel`: both have `labels`, `sample_rate` in
        Hz and `path`, and return `probabilities` `(batch, classes)` and
        `label` `(batch,)` of a list of waveforms `(samples,)`.

    Raises:
        FileNotFoundError: There is nothing at `path`; or without one, no model
            comes with the package. The message says how to get one.
        ValueError: `path` is no such model, or one that takes features.
    """
    path = bundled_model() if path is None else pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such model. It must be a SavedModel's folder, a "
            "LiteRT file or a run's folder"
        )
    if path.is_file() and path.suffix != ".keras":
        from ser_keras.export.litert.model import load_litert

        return load_litert(path)
    if path.is_file():
        raise ValueError(
            f"{path}: a .keras file has no labels and may run code of its "
            "maker's. Export what you trust first: ser_keras export --help"
        )
    from ser_keras.export.saved_model.model import load_saved_model

    exported = (path / "result.json").exists()
    model = load_saved_model(exported_by(path) if exported else path)
    model.check_waveforms()
    return model


def exported_by(path: pathlib.Path) -> pathlib.Path:
    """Folder of the SavedModel's version that a run exported.

    Args:
        path: `pathlib.Path` of the run's folder, with `result.json`.

    Raises:
        FileNotFoundError: It is no more where it was.
    """
    result = json.loads((path / "result.json").read_text(encoding="utf-8"))
    exported = pathlib.Path(result["saved_model"])
    if not exported.exists():
        raise FileNotFoundError(
            f"{path} exported its SavedModel to {exported}, where it is no "
            f"more (from this working folder). Export it again: ser_keras "
            f"export {path}"
        )
    return exported


def bundled_model() -> pathlib.Path:
    """The model that comes with the package.

    Raises:
        FileNotFoundError: None does; the message says how to get one.
    """
    found = sorted(
        BUNDLED.glob("*/model.tflite"),
        key=lambda file: file.parent.name != DEFAULT,
    )
    if not found:
        raise FileNotFoundError(_GET_ONE)
    return found[0]
