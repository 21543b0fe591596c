"""Records of measurements: JSON files from which the docs' tables are rendered.

A record says what was measured, and everything that is needed to measure it
again: command, commit, package versions, machine. There are two kinds. A
record of *runs* has the scores of one or several finished runs on the same
folds; a record of a *benchmark* has measured values with their units. Those of
this project are in `docs/results/`; no figure of the documentation is copied
by hand.

A field that is not known is null. A field that is missing, or that no record
has, is an error which names it.
"""

import datetime
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from ser_keras._files import write_text
from ser_keras._registry import package_versions
from ser_keras.corpora.built_in import LABELS
from ser_keras.evaluation.scores import METRICS
from ser_keras.reports.data import comparisons
from ser_keras.reports.data import read_runs
from ser_keras.training.run_folder import to_json_types

SCHEMA = 1


def run_record(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    command: str,
    name: str,
    commit: str | None = None,
    machine: str | None = None,
    corpus: str | None = None,
) -> dict[str, Any]:
    """Record of finished runs, read from their folders.

    Args:
        runs: Folder of a finished run, or a list of them. Several must have
            tested the same utterances with the same protocol; the first one is
            the reference of the paired differences.
        command: The command that made the runs, as it is typed.
        name: Name of the record, by convention that of its file.
        commit: Abbreviated hash of the commit that made the runs. Default:
            that of the source tree in use, or None outside of one.
        machine: Description of the machine. Default: this one.
        corpus: Name of the corpus. Default: what the first run's
            configuration says.

    Returns:
        Dict of JSON types, which `check_record` has accepted.

    Raises:
        ValueError: A folder is not that of a finished run, or the runs have
            different protocols or test utterances.
    """
    runs = read_runs(runs)
    first = runs[0]
    for run in runs[1:]:
        if _protocol(run) != _protocol(first):
            raise ValueError(
                "Runs of one record must have the same protocol. Received: "
                f"{first.path}: {_protocol(first)}, {run.path}: "
                f"{_protocol(run)}. Write a record of each."
            )
    return check_record(
        {
            "schema": SCHEMA,
            "kind": "runs",
            "name": name,
            "command": command,
            "commit": source_commit() if commit is None else commit,
            "date": first.record.get("created", "")[:10] or None,
            "machine": describe_machine() if machine is None else machine,
            "versions": first.record.get("versions"),
            "corpus": corpus or _corpus(first),
            "protocol": _protocol(first),
            "folds_hash": first.result.get("folds_hash"),
            "seed": first.result.get("seed"),
            "runs": [_run(run) for run in runs],
            "differences": [
                {
                    "run": row["name"],
                    "reference": first.name,
                    "metric": "uar",
                    "value": row["difference"],
                    "interval_95": _interval(row["low"], row["high"]),
                    "p_value": row["p_value"],
                }
                for row in (comparisons(runs) if len(runs) > 1 else ())
            ],
        }
    )


def benchmark_record(
    name: str,
    command: str,
    measurements: Iterable[dict[str, Any]],
    commit: str | None = None,
    machine: str | None = None,
) -> dict[str, Any]:
    """Record of a benchmark on this machine, made now.

    Args:
        name: Name of the record, by convention that of its file.
        command: The command that made it, as it is typed.
        measurements: List of dicts from `measurement`.
        commit: Abbreviated hash of the commit that was measured. Default:
            that of the source tree in use, or None outside of one.
        machine: Description of the machine. Default: this one.

    Returns:
        Dict of JSON types, which `check_record` has accepted.

    Example:
    >>> record = benchmark_record(
    ...     "example", "python example.py",
    ...     [measurement("ours", "step", 0.21, "s", (0.2, 0.24)),
    ...      measurement("peer", "step", 0.59, "s")])
    >>> print(benchmark_table(record))
    |  | step (s) |
    |---|---|
    | ours | 0.21 (0.2 to 0.24) |
    | peer | 0.59 |
    """
    return check_record(
        {
            "schema": SCHEMA,
            "kind": "benchmark",
            "name": name,
            "command": command,
            "commit": source_commit() if commit is None else commit,
            "date": datetime.datetime.now().date().isoformat(),
            "machine": describe_machine() if machine is None else machine,
            "versions": package_versions(),
            "measurements": list(measurements),
        }
    )


def measurement(
    of: str,
    quantity: str,
    value: float,
    unit: str,
    spread: Sequence[float] | None = None,
) -> dict[str, Any]:
    """One measured value of a benchmark.

    Args:
        of: What was measured: a row of the rendered table.
        quantity: Which of its properties, such as `"step"` or `"latency, 99th
            percentile"`: a column.
        value: Number.
        unit: Its unit, such as `"s"`, `"ms"`, `"bytes"`; `""` for a ratio.
        spread: `(least, greatest)` of the repetitions, if there were several.

    Returns:
        Dict of JSON types.
    """
    row: dict[str, Any] = {
        "of": of,
        "quantity": quantity,
        "value": value,
        "unit": unit,
    }
    if spread is not None:
        row["spread"] = spread
    return to_json_types(row)


def check_record(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record that has every field of its kind, and no other.

    Args:
        record: Dict of JSON types.

    Raises:
        ValueError: A field is missing, unknown or of a wrong type. The message
            names it.

    Example:
    >>> check_record({"schema": 1, "kind": "benchmark"})
    Traceback (most recent call last):
    ...
    ValueError: A record needs the field `name`...
    """
    _check_record(record, "")
    return record


def write_record(
    record: dict[str, Any],
    path: str | os.PathLike[str],
    replace: bool = False,
) -> pathlib.Path:
    """Writes a record as a JSON file.

    Args:
        record: Dict; see `check_record`.
        path: The file.
        replace: Replace the file if it exists.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: The record is not valid.
        FileExistsError: The file exists, and `replace` is false.
    """
    path = pathlib.Path(path)
    if path.exists() and not replace:
        raise FileExistsError(
            f"{path} exists. Choose another file, or replace it."
        )
    text = json.dumps(check_record(record), indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")
    return path


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a record from a JSON file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or the record is not valid.
    """
    try:
        return check_record(json.loads(pathlib.Path(path).read_text("utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def runs_table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown table of the runs of one or several records, best UAR first.

    Args:
        records: List of records of runs on the same corpus and folds.

    Returns:
        A string. Each row has UAR with its 95 % confidence interval and WA,
        and where they are known the number of parameters and the paired
        difference from the first record's reference, with its interval and
        p-value.

    Raises:
        ValueError: The records are of different corpora or folds.
    """
    first = records[0]
    for record in records:
        for field in ("corpus", "protocol", "folds_hash"):
            if _plain(record[field]) != _plain(first[field]):
                raise ValueError(
                    "Runs of one table must have been scored on the same "
                    f"corpus and folds. Received: {first['name']} with "
                    f"{field}={first[field]!r}, {record['name']} with "
                    f"{field}={record[field]!r}"
                )
    runs = [run for record in records for run in record["runs"]]
    runs.sort(key=lambda run: -run["scores"]["uar"]["value"])
    parameters = any(run.get("parameters") for run in runs)
    differences = [row for record in records for row in record["differences"]]
    reference = differences[0]["reference"] if differences else None
    differences = {
        row["run"]: row for row in differences if row["reference"] == reference
    }
    head = ["system", "UAR (95 % interval)", "WA"]
    if parameters:
        head.append("parameters")
    if reference:
        head.append(f"difference from {reference} (95 % interval), p")
    rows = []
    for run in runs:
        scores = run["scores"]
        wa = f"{scores['wa']['value']:.3f}"
        row = [run["name"], _score(scores["uar"]), wa]
        if parameters:
            row.append(_number(run.get("parameters")))
        if reference:
            row.append(_difference(differences.get(run["name"])))
        rows.append(row)
    return _markdown(head, rows)


def differences_table(record: dict[str, Any]) -> str:
    """Markdown table of the paired differences of a record of runs.

    Args:
        record: Record of runs.

    Returns:
        A string.
    """
    return _markdown(
        ["system", "reference", "difference (95 % interval), p"],
        [
            [row["run"], row["reference"], _difference(row)]
            for row in record["differences"]
        ],
    )


def benchmark_table(record: dict[str, Any]) -> str:
    """Markdown table of a benchmark: what was measured by quantities.

    Args:
        record: Record of a benchmark.

    Returns:
        A string. With many quantities they are the rows, so that the table
        stays narrow.
    """
    rows: dict[str, dict[str, str]] = {
        row["of"]: {} for row in record["measurements"]
    }
    quantities: dict[str, str] = {}
    for row in record["measurements"]:
        name, unit = row["quantity"], row["unit"]
        quantity = f"{name} ({unit})" if unit else name
        rows[row["of"]][quantity] = quantities[quantity] = _measured(row)
    if len(quantities) > max(4, len(rows)):
        return _markdown(
            ["", *rows],
            [
                [quantity, *(row.get(quantity, "") for row in rows.values())]
                for quantity in quantities
            ],
        )
    return _markdown(
        ["", *quantities],
        [
            [of, *(row.get(quantity, "") for quantity in quantities)]
            for of, row in rows.items()
        ],
    )


def describe_machine() -> str:
    """Processor, cores, memory and load of this machine, in one line."""
    name = platform.processor() or platform.machine()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(x.split(": ")[1] for x in lines if "model name" in x)
    except (OSError, StopIteration, IndexError):
        pass  # Not Linux on x86: what Python knows has to do.
    parts = [name]
    if hasattr(os, "sched_getaffinity"):
        parts.append(f"{len(os.sched_getaffinity(0))} cores")
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        parts.append(f"{memory / 2**30:.0f} GiB")
    if hasattr(os, "getloadavg"):
        parts.append(f"load average {os.getloadavg()[0]:.1f}")
    return ", ".join(parts)


def source_commit() -> str | None:
    """Abbreviated hash of the source tree's commit, or None outside of one.

    It ends in `+changes` where files differ from the commit.
    """
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def _run(run):
    scores = run.scores.to_dict()
    return {
        "name": run.name,
        "parameters": run.result.get("parameters"),
        "scores": {
            "n": scores["n"],
            **{
                metric: {
                    "value": scores[metric],
                    "interval_95": _interval(*(run.intervals[metric] or ())),
                }
                for metric in METRICS
            },
        },
        "recall": scores["recall"],
        "per_speaker": {
            speaker: row["uar"]
            for speaker, row in scores["per_speaker"].items()
        },
        "calibration": run.result.get("calibration"),
    }


def _interval(*bounds):
    return [float(bound) for bound in bounds] or None


def _protocol(run):
    protocol = run.result.get("protocol")
    if not isinstance(protocol, dict):  # A name alone in older runs.
        protocol = {"name": protocol, **run.facts, "hash": None}
    fields = ("name", "leaks_speakers", "selects_on_test", "hash")
    return {field: protocol.get(field) for field in fields}


def _corpus(run):
    if run.config.get("data_dir") == "":
        return f"built-in corpus ({', '.join(LABELS)} of EMO-DB)"
    return run.config.get("corpus") or "unknown"


def _plain(value):
    """`EMO-DB` and `emodb` are one corpus."""
    return value.lower().replace("-", "") if isinstance(value, str) else value


def _markdown(head, rows):
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _score(metric):
    if not metric["interval_95"]:
        return f"{metric['value']:.3f}"
    low, high = metric["interval_95"]
    return f"{metric['value']:.3f} ({low:.3f} to {high:.3f})"


def _difference(row):
    if row is None:
        return ""
    low, high = row["interval_95"]
    return (
        f"{row['value']:+.3f} ({low:+.3f} to {high:+.3f}), {row['p_value']:.3f}"
    )


def _measured(row):
    number = _number if row["unit"] else _ratio
    text = number(row["value"])
    if row.get("spread"):
        low, high = map(number, row["spread"])
        text += f" ({low} to {high})"
    return text


def _number(value):
    """A number as a person reads it: thousands apart, no trailing zeros."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _ratio(value):
    """A number without a unit: a score has three decimals.

    A difference that is smaller than they show is not 0.
    """
    if isinstance(value, float) and 0 < abs(value) < 5e-4:
        return f"{value:.1e}"
    if isinstance(value, float) and 0 < abs(value) < 1:
        return f"{value:.3f}"
    return _number(value)


# What a record may hold. Each check is a function of a value and of the place
# where it was found, which raises a ValueError.


def _is(what, *types):
    def check(value, place):
        if not isinstance(value, types) or (
            isinstance(value, bool) and bool not in types
        ):
            raise ValueError(
                f"`{place}` of a record must be {what}. Received: {value!r}"
            )

    return check


def _maybe(check):
    return lambda value, place: value is None or check(value, place)


def _each(check):
    def check_each(values, place):
        _is("a list", list)(values, place)
        for i, value in enumerate(values):
            check(value, f"{place}[{i}]")

    return check_each


def _fields(required, optional=None):
    optional = optional or {}

    def check(value, place):
        dot = f"{place}." if place else ""
        _is("an object", dict)(value, place)
        for field in required:
            if field not in value:
                raise ValueError(
                    f"A record needs the field `{dot}{field}`; null where it "
                    f"is not known. Received: {', '.join(value)}"
                )
        for field, found in value.items():
            known = required.get(field) or optional.get(field)
            if known is None:
                raise ValueError(
                    f"A record has no field `{dot}{field}`. It may have: "
                    f"{', '.join([*required, *optional])}"
                )
            known(found, dot + field)

    return check


def _pair(value, place):
    _each(_NUMBER)(value, place)
    if len(value) != 2 or value[0] > value[1]:
        raise ValueError(
            f"`{place}` of a record must be [low, high]. Received: {value}"
        )


_TEXT = _is("text", str)
_NUMBER = _is("a number", int, float)
_FLAG = _is("true or false", bool)
_ANY = _is("an object", dict)
_METRIC = _fields({"value": _NUMBER, "interval_95": _maybe(_pair)})
_COMMON = {
    "schema": _is("a whole number", int),
    "kind": _TEXT,
    "name": _TEXT,
    "command": _maybe(_TEXT),
    "commit": _maybe(_TEXT),
    "date": _maybe(_TEXT),
    "machine": _maybe(_TEXT),
    "versions": _maybe(_ANY),
}
# `source` is set where a record was not written by a program: what it was
# moved from. `notes` is for what else a reader must know.
_REMARKS = {"source": _TEXT, "notes": _TEXT}
_RUN = _fields(
    {
        "name": _TEXT,
        "scores": _fields(
            {"n": _maybe(_NUMBER), "uar": _METRIC, "wa": _METRIC},
            {metric: _METRIC for metric in METRICS},
        ),
    },
    {
        "parameters": _maybe(_NUMBER),
        "recall": _ANY,
        "per_speaker": _ANY,
        "calibration": _maybe(_ANY),
        # An earlier measurement that was found to be wrong, and why.
        "before": _ANY,
    },
)
_RECORDS = {
    "runs": _fields(
        _COMMON
        | {
            "corpus": _TEXT,
            "protocol": _fields(
                {
                    "name": _TEXT,
                    "leaks_speakers": _FLAG,
                    "selects_on_test": _FLAG,
                    "hash": _maybe(_TEXT),
                }
            ),
            "folds_hash": _maybe(_TEXT),
            "seed": _maybe(_NUMBER),
            "runs": _each(_RUN),
            "differences": _each(
                _fields(
                    {
                        "run": _TEXT,
                        "reference": _TEXT,
                        "metric": _TEXT,
                        "value": _NUMBER,
                        "interval_95": _pair,
                        "p_value": _NUMBER,
                    }
                )
            ),
        },
        _REMARKS,
    ),
    "benchmark": _fields(
        _COMMON
        | {
            "measurements": _each(
                _fields(
                    {
                        "of": _TEXT,
                        "quantity": _TEXT,
                        "value": _NUMBER,
                        "unit": _TEXT,
                    },
                    {"spread": _pair},
                )
            )
        },
        _REMARKS,
    ),
}


def _check_record(record, place):
    _ANY(record, place)
    if record.get("schema") != SCHEMA:
        raise ValueError(
            f"`schema` of a record must be {SCHEMA}. Received: "
            f"{record.get('schema')!r}"
        )
    if record.get("kind") not in _RECORDS:
        raise ValueError(
            f"`kind` of a record must be one of {', '.join(_RECORDS)}. "
            f"Received: {record.get('kind')!r}"
        )
    _RECORDS[record["kind"]](record, place)
