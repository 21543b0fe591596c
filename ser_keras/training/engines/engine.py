"""Engine: an executor of calls, each in another process, at least once."""

import concurrent.futures
import os
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

#: How often a call is begun again whose worker was lost.
RETRIES = 3


class TaskLostError(RuntimeError):
    """A task was lost: its process or machine is gone, without an answer."""


class Engine(concurrent.futures.ThreadPoolExecutor):
    """Base of engines: a `concurrent.futures.Executor` of `jobs` workers.

    A thread for each job starts calls elsewhere and waits for them, so that
    there are never more than `jobs` at a time. A call whose worker is lost is
    begun again up to three times; what an engine adds is `call`. A new engine
    is one module with such a class, named in `engines.fan_out.ENGINES`.

    Args:
        jobs: Calls at the same time, at least 1.
        folder: Folder for files of the engine itself, on a disk that its
            workers see. It may be missing, and stays so unless it is used.

    Attributes:
        threads: Threads that TensorFlow has for a step in each call.

    Raises:
        ValueError: `jobs` is not positive.
        ImportError: An extra is not installed.

    Example:
    >>> from ser_keras.training.engines import make_engine
    >>> with make_engine("local", 1, getfixture("tmp_path")) as engine:
    ...     engine.submit(pow, 2, 5).result()
    32
    """

    def __init__(self, jobs: int, folder: str | os.PathLike[str]):
        if jobs < 1:
            raise ValueError(
                f"`jobs` must be a positive integer. Received: jobs={jobs}"
            )
        super().__init__(jobs)
        self.jobs = jobs
        self.folder = pathlib.Path(folder).absolute()
        self.threads = max(1, len(os.sched_getaffinity(0)) // jobs)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a call in another process, and returns what it returned.

        Called in the thread of a job, so several times at the same time.

        Raises:
            TaskLostError: The process or its machine is gone.
        """
        raise NotImplementedError

    def dumps(self, value: Any) -> bytes:
        """A value as bytes that `pickle.loads` of a worker reads."""
        return pickle.dumps(value)

    def share(self, value: Any) -> Any:
        """What stands for a value as an argument of many calls.

        The value is sent to the workers once, or once for each machine.
        """
        return value

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> concurrent.futures.Future:
        """Schedules a call; a `concurrent.futures.Future` of its answer."""
        return super().submit(self._at_least_once, function, arguments, options)

    def _at_least_once(self, function, arguments, options):
        for time in range(1, RETRIES + 2):
            try:
                return self.call(function, *arguments, **options)
            except TaskLostError as error:
                if time > RETRIES:
                    raise TaskLostError(
                        f"{time} workers were lost. The last: {error}"
                    ) from error
                print(
                    f"a worker was lost, its task is begun again: {error}",
                    flush=True,
                )
        return None  # pragma: no cover
