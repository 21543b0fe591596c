"""The engine `local`: processes of this machine."""

import concurrent.futures
import itertools
import multiprocessing
import os
import threading
from typing import Any

from ser_keras.training.engines.engine import Engine
from ser_keras.training.engines.engine import TaskLostError

_VISIBLE = "CUDA_VISIBLE_DEVICES"


class LocalEngine(Engine):
    """Engine of processes on this machine, which share its cores evenly.

    They share its GPUs as well: those that this process may use, by
    `CUDA_VISIBLE_DEVICES`, are dealt out to them in turn. With more processes
    than GPUs, several have the same one.

    The processes end with the one that started them, also after a kill, so
    that they never write to a run that is started again.

    Args:
        jobs: Processes, at least 1.
        folder: Not used.
    """

    def __init__(self, jobs, folder):
        super().__init__(jobs, folder)
        self._own = threading.local()
        self._pools = []
        self._gpus = gpu_shares(jobs)
        self._jobs_begun = itertools.count()

    def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Runs a call in the process of this thread."""
        # Of one process each: if it is killed, the others go on.
        pool = getattr(self._own, "pool", None)
        if pool is None:
            # Kept by a process that takes the place of one that was killed.
            if not hasattr(self._own, "job"):
                self._own.job = next(self._jobs_begun)
            # Not forked: a fork has no TensorFlow threads.
            pool = self._own.pool = concurrent.futures.ProcessPoolExecutor(
                1,
                multiprocessing.get_context("spawn"),
                _begin,
                (self._gpus[self._own.job],),
            )
            self._pools.append(pool)
        try:
            return pool.submit(function, *arguments, **options).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            self._own.pool = None
            pool.shutdown()
            raise TaskLostError(
                "its process was killed; if that was for lack of memory, fewer "
                "`--jobs` need less"
            ) from error

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False
    ) -> None:
        """Ends the processes, after the calls that they run."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait)


def gpu_shares(jobs: int) -> list[str | None]:
    """What `CUDA_VISIBLE_DEVICES` is in each of several processes.

    Args:
        jobs: Number of processes.

    Returns:
        A value for each; None leaves the variable as it is.
    """
    gpus = _gpus() if jobs > 1 else []
    if len(gpus) < 2:
        return [None] * jobs
    return [
        ",".join(gpus[job::jobs]) or gpus[job % len(gpus)]
        for job in range(jobs)
    ]


def _gpus():
    """Names of the GPUs that this process may use."""
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        return [str(number) for number in range(len(found))]
    names = (name.strip() for name in visible.split(","))
    # As CUDA reads it: what follows an invalid name is hidden.
    return list(itertools.takewhile(lambda x: x not in ("", "-1"), names))


def _begin(gpus):
    """Prepares a process, before TensorFlow looks for devices."""
    if gpus is not None:
        os.environ[_VISIBLE] = gpus
    _end_with_parent()


def _end_with_parent():
    parent = multiprocessing.parent_process()

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
