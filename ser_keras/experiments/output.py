"""The folders of a run: where it writes, and what it is resumed with."""

import contextlib
import dataclasses
import json
import os
import pathlib
from typing import Any

from ser_keras._files import safe_name
from ser_keras.experiments.options import RUNTIME
from ser_keras.training.run_folder import RunFolder


def open_run(config: Any) -> RunFolder:
    """The folder of a run.

    Devices, precision, fan-out (`RuntimeOptions`, `FanOutOptions`) and
    `deterministic` change only how the run computes; `seeds` and an
    ablation's `controls` only add runs to it, `litert`, `export_dir`, `final`
    and `calibrate` only files, and `cache_dir` is where features wait: they
    may be others when the run goes on. `config.json` keeps the first of the
    latter, so that it repeats that run.

    Raises:
        ValueError: The folder is that of another configuration, or a file is
            in the way of the SavedModel.
    """
    exported = pathlib.Path(
        getattr(config, "export_dir", "") or default_export_dir(config)
    )
    for folder in (exported, *exported.parents):
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"`export_dir` must be a folder, but {folder} is a file. "
                f"Received: export_dir={config.export_dir!r}"
            )
    return RunFolder(config.output_dir, run_settings(config))


def default_export_dir(config: Any) -> pathlib.Path:
    """Where the SavedModel goes unless the configuration says."""
    # Absolute, as the name of `.` or `..` is none.
    name = pathlib.Path(os.path.abspath(config.output_dir)).name
    return pathlib.Path("saved_models") / safe_name(name)


def run_settings(config: Any) -> dict:
    """The fields of a configuration that a run must be resumed with."""
    settings = dataclasses.asdict(config)
    for name in (*RUNTIME, "seeds", "controls", "deterministic"):
        settings.pop(name, None)
    file = pathlib.Path(config.output_dir) / "config.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        record = json.loads(file.read_text(encoding="utf-8"))["config"]
        for name in ("litert", "export_dir", "cache_dir", "final", "calibrate"):
            if name in settings and name in record:
                settings[name] = record[name]
        drop_newer(settings, config, record)
    return settings


def drop_newer(settings: dict, config: Any, record: Any) -> None:
    """Drops options that are newer than a run, which has their defaults.

    Args:
        settings: Fields of a configuration; they are dropped from it.
        config: The configuration.
        record: What the run has kept of its own.
    """
    for field in dataclasses.fields(config):
        missing = field.name in settings and field.name not in record
        if missing and settings[field.name] == field.default:
            del settings[field.name]
