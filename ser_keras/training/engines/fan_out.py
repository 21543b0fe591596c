"""Fan-out: calls as tasks of an engine, and what their workers check."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib
import json
import math
import os
import pathlib
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ser_keras._errors import shortened
from ser_keras._quiet import import_tensorflow_quietly
from ser_keras._versions import package_versions
from ser_keras.training.engines.engine import Engine
from ser_keras.training.estimate import seconds_left
from ser_keras.training.run_lock import RunLock

#: Engines: name to module and class. A new one is a module and a line here.
ENGINES = {
    "local": "processes:LocalEngine",
    "ray": "ray:RayEngine",
    "slurm": "slurm:SlurmEngine",
}
_CONFIG = "config.json"
_LOOK = 10.0  # Seconds between two looks into the logs.


def make_engine(name: str, jobs: int, folder: str | os.PathLike[str]) -> Engine:
    """An engine by its name.

    Args:
        name: One of `ENGINES`.
        jobs: Calls at the same time.
        folder: Folder for files of the engine itself.

    Raises:
        ValueError: There is no such engine, or `jobs` is not positive.
        ImportError: The engine's extra is not installed.
    """
    if name not in ENGINES:
        raise ValueError(
            f"`engine` must be one of {', '.join(ENGINES)}. Received: "
            f"engine={name!r}"
        )
    module, kind = ENGINES[name].split(":")
    package = __package__ or ""
    engine = getattr(importlib.import_module(f"{package}.{module}"), kind)
    return engine(jobs, folder)


def run_tasks(
    function: Callable[..., Any],
    calls: Mapping[str, Sequence[Any]],
    jobs: int,
    logs: Mapping[str, str | os.PathLike[str]],
    *,
    engine: str = "local",
    folder: str | os.PathLike[str] | None = None,
    finals: Mapping[str, str | os.PathLike[str]] | None = None,
    files: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Runs `function(*arguments)` for each name, `jobs` at a time.

    It prints when each task is finished and the remaining time. A task whose
    worker is lost is begun again, by another worker. With `finals` a task is
    done once: a worker locks the folder of the task's final file, and returns
    at once if the file is there. A task that goes on from its folder, as every
    training here does, then loses at most an epoch with its worker.

    Before it begins, a worker checks that it has the same versions of packages,
    and that it sees the configuration of the run and the same audio files;
    otherwise the run ends with what differs.

    Args:
        function: Picklable function, with picklable arguments. What it returns
            is discarded: results are files.
        calls: Dict from a name to the arguments of its call.
        jobs: Number of tasks at the same time, at least 1.
        logs: Dict from a name to the file to which the call prints.
        engine: `"local"`, processes of this machine; `"ray"`; `"slurm"`.
        folder: The run's folder, on a disk that all workers see under this
            path; by default that of the first log.
        finals: Dict from a name to the file whose presence says that the task
            is finished. It must be the last that a call writes.
        files: Audio files that the calls read.

    Raises:
        ValueError: `jobs` is not positive, or there is no such engine.
        ImportError: The engine's extra is not installed.
        RuntimeError: A task failed; its log has the traceback. Tasks that are
            running are finished, the others are not started.

    Example: see `cross_validate`.
    """
    places = {name: pathlib.Path(logs[name]).absolute() for name in calls}
    for log in places.values():
        log.parent.mkdir(parents=True, exist_ok=True)
    if folder is None:
        folder = next((log.parent for log in places.values()), ".")
    seconds = []
    with make_engine(engine, jobs, folder) as executor:
        work = executor.share(
            Work(
                executor.dumps(function),
                Expected.of(folder, files),
                os.getcwd(),
                tuple(sys.path),
                _environment(executor.threads),
            )
        )
        names = {}
        for name, arguments in calls.items():
            print(f"{name}: see {logs[name]}", flush=True)
            final = None
            if finals is not None:
                final = pathlib.Path(finals[name]).absolute()
            task = Task(executor.dumps(arguments), places[name], final)
            names[executor.submit(run_task, work, task)] = name
        try:
            done = _as_completed(names, places, jobs)
            for count, future in enumerate(done, start=1):
                name = names[future]
                try:
                    outcome = future.result()
                    error = outcome.error
                except Exception as lost:
                    error = lost
                if error is not None:
                    raise RuntimeError(
                        f"{name} failed: {error!r}. See {logs[name]}"
                    ) from error
                seconds.append(outcome.seconds)
                line = f"{name}: finished, {count} of {len(calls)}"
                if left := len(calls) - count:
                    left *= sum(seconds) / count / min(jobs, left)
                    line += f", about {math.ceil(left / 60)} min left"
                print(line, flush=True)
        finally:
            executor.shutdown(cancel_futures=True)


def _as_completed(names, places, jobs):
    """Futures as they complete; says once how long all take, by their logs."""
    pending, said = set(names), False
    while pending:
        done, pending = concurrent.futures.wait(
            pending,
            None if said else _LOOK,
            return_when=concurrent.futures.FIRST_COMPLETED,
        )
        if not done:
            logs = [
                places[names[future]].read_text(encoding="utf-8")
                for future in pending
                if future.running() and places[names[future]].exists()
            ]
            waiting = len(pending) - len(logs)
            left = seconds_left(logs, waiting, jobs)
            if left is not None:
                print(f"about {math.ceil(left / 60)} min left", flush=True)
                said = True
        said = said or bool(done)
        yield from done


run_in_processes = run_tasks  # Deprecated since 0.3.0.


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the submitter of tasks sees, and their workers must see too.

    Args:
        versions: See `package_versions`.
        config: File with the run's configuration, and the configuration's
            hash; None if there is no such file.
        files: Path and bytes of each audio file that is read.
    """

    versions: dict
    config: tuple[str, str] | None
    files: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(
        cls,
        folder: str | os.PathLike[str],
        files: Iterable[str | os.PathLike[str]] = (),
    ) -> Expected:
        """What this process sees.

        Args:
            folder: The run's folder.
            files: Audio files.
        """
        config = pathlib.Path(folder).absolute() / _CONFIG
        absolute = [os.path.abspath(file) for file in dict.fromkeys(files)]
        return cls(
            package_versions(),
            (str(config), _config_hash(config)) if config.exists() else None,
            tuple((file, os.path.getsize(file)) for file in absolute),
        )

    def check(self) -> None:
        """Raises `RuntimeError` with what differs in this process."""
        here = f"The worker on {socket.gethostname()}"
        versions = package_versions()
        differences = [
            f"{name} {versions.get(name)} for {version}"
            for name, version in self.versions.items()
            if versions.get(name) != version
        ]
        if differences:
            raise RuntimeError(
                f"{here} must have the versions of the machine that the run "
                f"was started on, but has {', '.join(differences)}. Install "
                "the same there, best from constraints.txt"
            )
        if self.config is not None:
            file, expected = self.config
            if not os.path.exists(file):
                raise RuntimeError(
                    f"{here} does not see {file}. --output-dir must be on a "
                    "disk that all machines see under the same path"
                )
            if _config_hash(file) != expected:
                raise RuntimeError(
                    f"{here} sees another configuration in {file} than the "
                    "run was started with. Choose another --output-dir, or end "
                    "the other run in it"
                )
        check_files(self.files)


def check_files(files: Iterable[tuple[str, int]]) -> None:
    """Raises `RuntimeError` if this process sees other audio files.

    Args:
        files: Path and bytes of each file, as the submitter of a task sees it.
    """
    files, others = list(files), []
    for file, size in files:
        try:
            if os.path.getsize(file) == size:
                continue
            others.append(f"{file} (of another size)")
        except OSError:
            others.append(f"{file} (missing)")
    if others:
        raise RuntimeError(
            f"The worker on {socket.gethostname()} sees other audio files than "
            f"the machine that the run was started on, {len(others)} of "
            f"{len(files)}: {shortened(others)}. Audio must be on a disk that "
            "all machines see under the same path (--data-dir)"
        )


def _config_hash(file):
    """Of the configuration alone: the file also says who resumed the run."""
    record = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    text = json.dumps(record.get("config"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Work:
    """What all tasks of a run have in common; see `run_tasks`.

    Args:
        function: As bytes: what cannot be read elsewhere is told by
            `expected` before.
        expected: What the worker must see.
        folder: Working folder, as configurations have relative paths.
        path: Of imports.
        environment: Variables to set.
    """

    function: bytes
    expected: Expected
    folder: str
    path: tuple[str, ...]
    environment: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Task:
    """One call of a `Work`; see `run_tasks`.

    Args:
        arguments: As bytes.
        log: File to which it prints.
        final: File whose presence says that it is finished, or None.
    """

    arguments: bytes
    log: pathlib.Path
    final: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Args:
        seconds: How long it took.
        error: What it raised, or None.
    """

    seconds: float
    error: BaseException | None = None


def run_task(work: Work, task: Task) -> Outcome:
    """Runs a task in this process, which is a worker.

    An error is returned: engines raise their own for a worker that is lost.
    """
    # What it prints is in the log, and not on the terminal of who started it.
    import_tensorflow_quietly()
    start = time.perf_counter()
    error = None
    try:
        _enter(work, task)
    except Exception as wrong:
        return Outcome(0.0, wrong)
    with task.log.open("a", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file):
            try:
                function = pickle.loads(work.function)
                arguments = pickle.loads(task.arguments)
                if task.final is None:
                    function(*arguments)
                else:
                    with RunLock(task.final.parent):
                        if not task.final.exists():
                            function(*arguments)
            except BaseException as wrong:
                traceback.print_exc(file=file)
                error = _picklable(wrong)
    return Outcome(time.perf_counter() - start, error)


def _enter(work, task):
    """Makes this process like the one that submitted the task."""
    work.expected.check()
    host = socket.gethostname()
    for folder in (work.folder, task.log.parent):
        if not os.path.isdir(folder):
            raise RuntimeError(
                f"The worker on {host} does not see the folder {folder}. It "
                "must be on a disk that all machines see under the same path"
            )
    os.chdir(work.folder)
    sys.path += [place for place in work.path if place not in sys.path]
    # TensorFlow, which need not be imported here, reads them at its first use.
    os.environ.update(work.environment)


def _environment(threads):
    """Variables that decide how a worker computes, as they are here."""
    own = "TF_", "XLA_", "KERAS_", "SER_KERAS_"
    found = {k: v for k, v in os.environ.items() if k.startswith(own)}
    found.pop("TF_CONFIG", None)  # Says which of several this process is.
    return {**found, "TF_NUM_INTRAOP_THREADS": str(threads)}


def _picklable(error):
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
