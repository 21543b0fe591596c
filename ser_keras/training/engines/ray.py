"""The engine `ray`: workers of a Ray cluster."""

import math
import os
from typing import Any

from ser_keras._errors import needs_extra
from ser_keras.training.engines.engine import Engine
from ser_keras.training.engines.engine import TaskLostError

# A cluster begun here tells nobody, and its workers get as much of a busy
# machine as other processes do: by default Ray gives them nice 15.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")

with needs_extra("The engine `ray`", "ray"):
    import ray


class RayEngine(Engine):
    """Engine of workers of a Ray cluster.

    The cluster is the one that this process is connected to, or that of the
    environment variable `RAY_ADDRESS`, or else a new one on this machine. Each
    call gets an equal share of its CPUs and GPUs. Ray's own repetition is off,
    as every engine begins lost calls again by the same rule.

    Args:
        jobs: Calls at the same time, at least 1.
        folder: Not used.
    """

    def __init__(self, jobs, folder):
        super().__init__(jobs, folder)
        self._connected = not ray.is_initialized()
        if self._connected:
            # Neither a web page nor the workers' output: that is in the logs.
            ray.init(
                include_dashboard=None if _address() else False,
                log_to_driver=False,
                logging_level="warning",
            )
        self._resources = {
            # Without a share of the GPUs, Ray hides them all.
            "num_gpus": _share("GPU", jobs),
            "num_cpus": _share("CPU", jobs),
        }
        self.threads = max(1, int(self._resources["num_cpus"]))

    def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Runs a call as a task of Ray."""
        task = ray.remote(max_retries=0, **self._resources)(_call)
        try:
            return ray.get(task.remote(function, options, *arguments))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            raise TaskLostError(f"Ray lost its worker: {first}") from error

    def dumps(self, value: Any) -> bytes:
        """As bytes; also of functions of the program itself."""
        return ray.cloudpickle.dumps(value)

    def share(self, value: Any) -> Any:
        """A reference; Ray gives its value to the function."""
        return ray.put(value)

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False
    ) -> None:
        """Leaves the cluster; one that was begun here ends."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._connected:
            ray.shutdown()


def _share(resource, jobs):
    """How much of a resource each call has."""
    amounts = [
        node["Resources"].get(resource, 0)
        for node in ray.nodes()
        if node["Alive"]
    ]
    share = min(sum(amounts) / jobs, max(amounts))
    if not 0 < share < 1:
        return int(share)
    return 1 / math.ceil(1 / share)  # Of which some make one.


def _address():
    return os.environ.get("RAY_ADDRESS")


def _call(function, options, *arguments):
    return function(*arguments, **options)
