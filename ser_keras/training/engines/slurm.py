"""The engine `slurm`: jobs of a SLURM cluster, by submitit."""

import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import threading
import time
from typing import Any

from ser_keras._errors import needs_extra
from ser_keras.training.engines.engine import Engine
from ser_keras.training.engines.engine import TaskLostError

with needs_extra("The engine `slurm`", "slurm"):
    import cloudpickle
    import submitit
    from submitit.core.utils import FailedJobError
    from submitit.core.utils import UncompletedJobError

#: Environment variable: what is asked of SLURM, as KEY=VALUE of submitit's
#: names, such as `slurm_partition=gpu timeout_min=600 gpus_per_node=1`.
OPTIONS = "SER_KERAS_SLURM"


class SlurmEngine(Engine):
    """Engine of SLURM jobs, one for each call.

    What SLURM is asked for is said by the environment variable
    `SER_KERAS_SLURM`: words KEY=VALUE with the names of submitit's
    `AutoExecutor.update_parameters`. `cluster=local` runs the jobs as processes
    of this machine, and `cluster=debug` one after the other in this process. A
    job that reaches its time limit or is preempted is queued again, and goes
    on where it was.

    Args:
        jobs: Jobs in the queue at the same time, at least 1.
        folder: Gets the jobs' scripts, pickles and output, in `slurm`.

    Raises:
        ValueError: An option is unknown, or there is no SLURM here.
    """

    def __init__(self, jobs, folder):
        options = _options(os.environ.get(OPTIONS, ""))
        cluster = options.pop("cluster", "slurm")
        if cluster not in ("slurm", "local", "debug"):
            raise ValueError(
                f"`cluster` in {OPTIONS} must be slurm, local or debug. "
                f"Received: {cluster}"
            )
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise ValueError(
                "The engine `slurm` needs SLURM's `sbatch` on this machine, "
                f"and there is none. {OPTIONS}=cluster=local tries the engine "
                "without SLURM; --engine local runs processes of this machine."
            )
        # A call in this process redirects its output, so one at a time.
        super().__init__(1 if cluster == "debug" else jobs, folder)
        self._executor = submitit.AutoExecutor(
            self.folder / "slurm" / "%j", cluster=cluster
        )
        # Otherwise submitit's five minutes; a training resumes after its limit.
        defaults = {"timeout_min": 24 * 60, "name": "ser_keras"}
        try:
            self._executor.update_parameters(**{**defaults, **options})
        except (NameError, AssertionError, ValueError) as error:
            raise ValueError(f"{OPTIONS}: {error}") from error
        if cluster == "slurm":
            self.threads = options.get("cpus_per_task", 1)
        self._submitting = threading.Lock()  # Not several at the same time.
        self._shared: list[pathlib.Path] = []

    def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Runs a call as a job."""
        with self._submitting:
            job = self._executor.submit(
                Resumable(function), *arguments, **options
            )
        # More often than submitit would; it asks SLURM itself once a minute.
        while not job.done():
            time.sleep(0.2)
        try:
            return job.result()
        except FailedJobError:
            raise
        except UncompletedJobError as error:
            raise TaskLostError(
                f"its job {job.job_id} ended without an answer; see "
                f"{job.paths.stderr}"
            ) from error

    def dumps(self, value: Any) -> bytes:
        """As bytes; also of functions of the program itself."""
        return cloudpickle.dumps(value)

    def share(self, value: Any) -> Any:
        """The file that a value is written to."""
        folder = self.folder / "slurm"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{os.getpid()}_{len(self._shared)}.pkl"
        file.write_bytes(self.dumps(value))
        self._shared.append(file)
        return Shared(file)

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False
    ) -> None:
        """Waits for the jobs that are in the queue."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        for file in self._shared:
            file.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Shared:
    """A value that is in a file, for many jobs.

    Args:
        file: Pickle of it.
    """

    file: pathlib.Path


class Resumable(submitit.helpers.Checkpointable):
    """A call that SLURM may stop and queue again.

    Args:
        function: The function; arguments may be `Shared`.
    """

    def __init__(self, function: Any):
        self.function = function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        read = [
            cloudpickle.loads(x.file.read_bytes())
            if isinstance(x, Shared)
            else x
            for x in arguments
        ]
        return self.function(*read, **options)


def _options(text):
    """Dict of KEY=VALUE words; values are JSON, or else text."""
    options = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(
                f"{OPTIONS} must be words KEY=VALUE, such as "
                f"slurm_partition=gpu. Received: {word}"
            )
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
