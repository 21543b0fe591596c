"""Predictions of many recordings, as tasks of an engine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from ser_keras._errors import counted
from ser_keras._files import read_json
from ser_keras._files import write_text
from ser_keras.cli.answers import table_of
from ser_keras.training.engines.fan_out import check_files
from ser_keras.training.engines.fan_out import run_tasks
from ser_keras.training.run_folder import RunFolder

#: Recordings of one task: what a lost worker has to do again.
SHARD = 256
_ANSWERS = "answers.json"


def predict_shards(
    load: Callable[[str], Any],
    answer: Callable[[Any, str], dict],
    files: Sequence[str],
    model: str,
    *,
    output_dir: str | os.PathLike[str],
    jobs: int,
    engine: str,
    threshold: float = 0.0,
) -> list[dict]:
    """Answers for many files; resumable by shards of 256 files.

    `output_dir` then holds `shards`, a folder of answers for each shard, and
    `predictions.csv`, all of them as a table.

    Args:
        load: `load(model)`, the model; called once in each worker.
        answer: `answer(loaded, file)`, a dict for the file.
        files: Audio files.
        model: Folder or file of the model; empty for the bundled one.
        output_dir: Folder, on a disk that all workers see.
        jobs: Shards at the same time.
        engine: See `run_tasks`.
        threshold: Of `answer`, as part of what makes these answers.

    Returns:
        A dict for each file, in order, with `file`.

    Raises:
        ValueError: The folder has the answers of other files or of another
            model.
        RuntimeError: A task failed, see `run_tasks`.
    """
    model = model and os.path.abspath(model)
    names = json.dumps(list(files)).encode()
    run = RunFolder(
        output_dir,
        {
            "model": model,
            "files": len(files),
            "hash_of_files": hashlib.sha256(names).hexdigest()[:16],
            "files_of_a_shard": SHARD,
            **({"threshold": threshold} if threshold else {}),
        },
    )
    shards = {
        f"shard_{first // SHARD + 1:05d}": tuple(files[first : first + SHARD])
        for first in range(0, len(files), SHARD)
    }
    finals = {name: run.path / "shards" / name / _ANSWERS for name in shards}
    todo = [name for name in shards if not finals[name].exists()]
    run_tasks(
        _predict_shard,
        {
            name: (load, answer, model, _sizes(shards[name]), finals[name])
            for name in todo
        },
        jobs,
        {name: finals[name].with_name("log.txt") for name in todo},
        engine=engine,
        folder=run.path,
        finals=finals,
    )
    rows = [row for name in shards for row in read_json(finals[name])]
    _write_table(run.path / "predictions.csv", rows)
    return rows


def _sizes(files):
    """Path and bytes of each file that is there."""
    # Of others the answer says what is wrong.
    return tuple(
        (x, os.path.getsize(x) if os.path.isfile(x) else None) for x in files
    )


def _predict_shard(load, answer, model, files, final):
    check_files([(file, size) for file, size in files if size is not None])
    loaded = _loaded(load, model)
    rows = [{"file": file, **answer(loaded, file)} for file, _ in files]
    write_text(final, json.dumps(rows))
    failed = sum("error" in row for row in rows)
    print(f"{counted(len(rows), 'file')}, {failed} failed")


@functools.lru_cache(maxsize=1)
def _loaded(load, model):
    return load(model)


def _write_table(path: pathlib.Path, rows: list[dict]) -> None:
    labels = next((list(r["probabilities"]) for r in rows if "label" in r), [])
    write_text(path, table_of(rows, labels))
