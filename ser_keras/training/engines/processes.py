"""The engine `local`: processes of this machine."""

import concurrent.futures
import multiprocessing
import os
import threading
from typing import Any

from ser_keras.training.engines.engine import Engine
from ser_keras.training.engines.engine import TaskLostError


class LocalEngine(Engine):
    """Engine of processes on this machine, which share its cores evenly.

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

    def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Runs a call in the process of this thread."""
        # Of one process each: if it is killed, the others go on.
        pool = getattr(self._own, "pool", None)
        if pool is None:
            # Not forked: a fork has no TensorFlow threads.
            pool = self._own.pool = concurrent.futures.ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), _end_with_parent
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


def _end_with_parent():
    parent = multiprocessing.parent_process()

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
