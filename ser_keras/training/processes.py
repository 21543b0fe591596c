"""Long calls, several at a time, each in a process of its own."""

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import threading
import time
import traceback


def run_in_processes(function, calls, jobs, logs):
    """Runs `function(*arguments)` for each name, `jobs` at a time.

    Says when each is finished and how long the rest may take. The processes
    share the cores evenly. They end with the one that started them, however
    that ends, so that nothing writes to a run that is started again.

    Args:
        function: Picklable, like its arguments. What it returns is lost.
        calls: Dict from a name to the arguments of its call.
        jobs: Processes at the same time, at least 1.
        logs: Dict from a name to the file that gets what the call prints.

    Raises:
        ValueError: `jobs` is not a positive integer.
        RuntimeError: A call failed; its log has the traceback. Calls that run
            by then are waited for, the others are not begun.

    Example: see `cross_validate`.
    """
    if jobs < 1:
        raise ValueError(
            f"`jobs` must be a positive integer. Received: jobs={jobs}"
        )
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    seconds = []
    # Not forked: TensorFlow's threads would be missing in the copy.
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
    # TensorFlow reads it when it begins to compute; no need to import it here.
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    parent = multiprocessing.parent_process()

    def end_with_parent():
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _call(log, function, arguments):
    """The seconds that it took."""
    start = time.perf_counter()
    with log.open("a", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file):
            try:
                function(*arguments)
            except BaseException:
                traceback.print_exc(file=file)
                raise
    return time.perf_counter() - start
