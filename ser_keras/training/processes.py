"""Running calls in parallel processes."""

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any


def run_in_processes(
    function: Callable[..., Any],
    calls: Mapping[str, Sequence[Any]],
    jobs: int,
    logs: Mapping[str, str | os.PathLike[str]],
) -> None:
    """Runs `function(*arguments)` for each name, `jobs` at a time.

    It prints when each call is finished and the remaining time. The processes
    share the cores evenly. They end with the process that started them, also
    after a kill, so that they never write to a run that is started again.

    Args:
        function: Picklable function, with picklable arguments. What it returns
            is discarded.
        calls: Dict from a name to the arguments of its call.
        jobs: Number of parallel processes, at least 1.
        logs: Dict from a name to the file to which the call prints.

    Raises:
        ValueError: `jobs` is not a positive integer.
        RuntimeError: A call failed; its log has the traceback. Calls that are
            running are finished, the others are not started.

    Example: see `cross_validate`.
    """
    if jobs < 1:
        raise ValueError(
            f"`jobs` must be a positive integer. Received: jobs={jobs}"
        )
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    seconds = []
    # Not forked: a fork has no TensorFlow threads.
    with concurrent.futures.ProcessPoolExecutor(
        min(jobs, len(calls) or 1),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(threads,),
    ) as pool:
        names = {}
        for name, arguments in calls.items():
            print(f"{name}: see {logs[name]}", flush=True)
            future = pool.submit(_call, logs[name], function, arguments)
            names[future] = name
        try:
            done = concurrent.futures.as_completed(names)
            for count, future in enumerate(done, start=1):
                name = names[future]
                try:
                    seconds.append(future.result())
                except Exception as error:
                    raise RuntimeError(
                        f"{name} failed: {error!r}. See {logs[name]}"
                    ) from error
                line = f"{name}: finished, {count} of {len(calls)}"
                if left := len(calls) - count:
                    left *= sum(seconds) / count / min(jobs, left)
                    line += f", about {math.ceil(left / 60)} min left"
                print(line, flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _start(threads):
    # TensorFlow, which need not be imported here, reads it at its first use.
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    parent = multiprocessing.parent_process()

    def end_with_parent():
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _call(log, function, arguments):
    """Runs the call and returns its duration in seconds."""
    start = time.perf_counter()
    with log.open("a", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file):
            try:
                function(*arguments)
            except BaseException:
                traceback.print_exc(file=file)
                raise
    return time.perf_counter() - start
