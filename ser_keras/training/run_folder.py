"""The folder of one run: its configuration, progress and results on disk."""

import dataclasses
import datetime
import json
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from ser_keras._files import append_row
from ser_keras._files import drop_rows
from ser_keras._files import read_json
from ser_keras._files import read_rows
from ser_keras._files import safe_names
from ser_keras._files import write_text
from ser_keras._versions import package_versions

_CONFIG = "config.json"


class RunFolder:
    """Creates the folder of a run, or finds it again to resume the run.

    `config.json` holds the configuration, its seed, the versions of all
    packages, and the time of creation. A run that is resumed with other
    package versions is told so in its `resumed` list. Files are written whole
    or not at all, except metrics, where at most the last line is lost when the
    process is killed.

    Args:
        path: The folder. It may be missing, empty (hidden files do not count),
            or hold a run of the same configuration.
        config: Dict of the run's configuration. Dataclasses, tuples, paths and
            NumPy values are written as JSON types, and compared as such.

    Raises:
        ValueError: The folder has a run of another configuration, or other
            files. Nothing is changed in it.

    Example:
    >>> folder = RunFolder(getfixture("tmp_path"), {"seed": 3, "folds": (1, 2)})
    >>> folder.log("search", 1, loss=0.5)
    >>> RunFolder(folder.path, {"seed": 3, "folds": [1, 2]}).rows("search")
    [{'epoch': 1, 'loss': 0.5}]
    """

    def __init__(self, path: str | os.PathLike[str], config: Any):
        self.path = pathlib.Path(path)
        self.config = to_json_types(dict(config))
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} must be a folder, but is a file.")
        self.resumed = (self.path / _CONFIG).exists()
        if self.resumed:
            self._resume()
        else:
            self._create()

    def _create(self):
        files = self.path.iterdir() if self.path.is_dir() else ()
        names = sorted(file.name for file in files if file.name[0] != ".")
        if names:
            raise ValueError(
                f"{self.path} is not empty and is not a run of ser_keras (it "
                f"has no {_CONFIG}). Choose another output folder. Found: "
                f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_json(
            _CONFIG,
            {
                "config": self.config,
                "seed": self.config.get("seed"),
                "versions": package_versions(),
                "created": _now(),
                "resumed": [],
            },
        )

    def _resume(self):
        file = self.path / _CONFIG
        record = self.read_json(_CONFIG)
        if not isinstance(record, dict) or "config" not in record:
            raise ValueError(
                f"{file} was not written by ser_keras. Choose another output "
                "folder."
            )
        differences = list(_differences(record["config"], self.config))
        if differences:
            raise ValueError(
                f"{self.path} has a run of another configuration. Choose "
                "another output folder, or go back to the configuration in "
                f"{file} to resume that run. Different fields:\n"
                + "\n".join(
                    f"  {name}: {old} there, {new} now"
                    for name, old, new in differences
                )
            )
        resumed = record.get("resumed", [])
        versions = package_versions()
        latest = (resumed[-1] if resumed else record).get("versions")
        if versions != latest:
            resumed.append({"time": _now(), "versions": versions})
            self.write_json(_CONFIG, {**record, "resumed": resumed})

    def write_json(self, name: str, value: Any) -> None:
        """Writes `value` to the file `name`, in one atomic step."""
        text = json.dumps(to_json_types(value), indent=2, ensure_ascii=False)
        write_text(self.path / name, text + "\n")

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote, or None if there is no such file."""
        return read_json(self.path / name)

    def log(self, stage: str, epoch: int, **metrics: Any) -> None:
        """Appends an epoch to `<stage>_metrics.jsonl`.

        Args:
            stage: Name of a part of the run, such as `"search"`.
            epoch: Number of epochs that are finished, so 1 for the first.
            **metrics: Numbers. What is not finite is written as null.
        """
        row = to_json_types({"epoch": epoch, **metrics})
        append_row(self._metrics_file(stage), row)

    def rows(self, stage: str) -> list[dict[str, Any]]:
        """List of the dicts that were logged for a stage, oldest first."""
        return read_rows(self._metrics_file(stage))

    def truncate(self, stage: str, epoch: int) -> None:
        """Drops what was logged after `epoch`, where a checkpoint resumes."""
        drop_rows(self._metrics_file(stage), after=epoch)

    def _metrics_file(self, stage):
        return self.path / f"{stage}_metrics.jsonl"


def fold_paths(
    run: str | os.PathLike[str], folds: Iterable[str]
) -> dict[str, pathlib.Path]:
    """Folders of a run's folds, in the run's folder.

    Args:
        run: The run's folder.
        folds: Names of all folds of the run, as in `result.json`. A fold is
            named by its speakers, who may have any name; see `safe_names`.

    Returns:
        Dict from the name of each fold to its folder.

    >>> paths = fold_paths("run", ["03+08", "spk/a"])
    >>> [path.as_posix() for path in paths.values()]
    ['run/folds/03+08', 'run/folds/spk_a~...']
    """
    folder = pathlib.Path(run) / "folds"
    return {name: folder / safe for name, safe in safe_names(folds).items()}


def to_json_types(value):
    """Turns dataclasses, tuples, paths and NumPy values into JSON types.

    Numbers that are not finite become None, as JSON has no such numbers.

    >>> to_json_types({"folds": (1, np.float64(2)), "path": pathlib.Path("a")})
    {'folds': [1, 2.0], 'path': 'a'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_types(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_json_types(item) for item in value)
    if isinstance(value, (np.ndarray, np.generic)):
        return to_json_types(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ValueError(
        "A value must be a number, a string, or made of them. Received: "
        f"{value!r} (type {type(value).__name__})"
    )


def _differences(old, new, name=""):
    """Yields `(field, old value, new value)`, both as JSON."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            path = f"{name}.{key}" if name else key
            if key not in new or key not in old:
                yield (
                    path,
                    json.dumps(old[key]) if key in old else "missing",
                    json.dumps(new[key]) if key in new else "missing",
                )
            else:
                yield from _differences(old[key], new[key], path)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield name, json.dumps(old), json.dumps(new)


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(
        "T", "seconds"
    )
