"""Runtime: on which devices, in which precision and how a run computes."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_keras._errors import DeviceError
from ser_keras._registry import package_versions

NAMES = ("auto", "none", "mirrored", "multi-worker", "tpu")
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
_XLA: dict[str, dict] = {
    "auto": {},
    "on": {"jit_compile": True},
    "off": {"jit_compile": False},
}


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How models are computed: devices, precision, XLA, steps a call.

    Models that are built, trained and searched in `scope` are computed so. A
    runtime never changes what is computed: on several devices batches are
    divided and gradients summed, so that they train as one does, and weights,
    losses, the softmax of alphas and the statistics of batch norms are float32
    in every precision. With the same batches, float32 results differ by
    rounding only.

    Args:
        strategy: Name of a strategy, see `strategy`. With `"multi-worker"`
            each process runs the same program.
        devices: Logical CPUs to make of the CPU, to try a strategy without
            GPUs; 0 leaves it as it is.
        precision: `"float32"`; `"bfloat16"`, as TPUs and new GPUs compute
            fast; or `"float16"` with loss scaling, not for searches.
        xla: `"on"` or `"off"`: whether steps are compiled by XLA; `"auto"`
            leaves it to Keras. Not on several GPUs.
        steps_per_execution: Steps between two returns to Python.

    Raises:
        ValueError: An argument has no such value.

    Example:
    >>> runtime = Runtime("none", precision="bfloat16")
    >>> with runtime.scope():
    ...     layer = keras.layers.Dense(2)
    >>> layer.compute_dtype, layer.variable_dtype
    ('bfloat16', 'float32')
    """

    strategy: str = "auto"
    devices: int = 0
    precision: str = "float32"
    xla: str = "auto"
    steps_per_execution: int = 1

    def __post_init__(self):
        name = self.strategy.replace("_", "-")
        object.__setattr__(self, "strategy", name)
        for field, known in (
            ("strategy", NAMES),
            ("precision", PRECISIONS),
            ("xla", _XLA),
        ):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"`{field}` must be one of {', '.join(known)}. Received: "
                    f"{field}={getattr(self, field)!r}"
                )

    @classmethod
    def of(cls, config: Any) -> Runtime:
        """The runtime that a configuration asks for.

        Trainings that run at the same time, by `jobs`, have one device each.

        Args:
            config: With the fields of `RuntimeOptions` and `FanOutOptions`,
                or some of them.

        Raises:
            ValueError: `jobs` and a strategy of several devices are asked for.
        """
        values = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(cls)
            if hasattr(config, field.name)
        }
        jobs = getattr(config, "jobs", 1)
        if jobs > 1:
            name = values.get("strategy", "auto")
            if name not in ("auto", "none"):
                raise ValueError(
                    "Trainings at the same time have one device each: use "
                    "--jobs 1, or --strategy none. Received: "
                    f"jobs={jobs}, strategy={name}"
                )
            values["strategy"] = "none"
        return cls(**values)

    def start(self) -> None:
        """Prepares this process; before TensorFlow computes anything.

        Raises:
            RuntimeError: There is no such device or cluster, or TensorFlow has
                begun to compute with other devices.
            ValueError: `TF_CONFIG` is not that of a cluster and its task.
        """
        if self.devices:
            _make_logical_cpus(self.devices)
        found = strategy(self.strategy)
        gpus = tf.config.list_logical_devices("GPU")
        alone = found.num_replicas_in_sync == 1 and not gpus
        if self.name == "mirrored" and alone:
            raise DeviceError(
                "--strategy mirrored found no GPU, and the CPU is one device. "
                "Use --strategy none, or --devices 2 to try it on two logical "
                "CPUs"
            )

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Context in which models are built, compiled and trained."""
        policy = keras.config.dtype_policy()
        token = _current.set(self)
        try:
            if self.precision != "float32":
                keras.config.set_dtype_policy(PRECISIONS[self.precision])
            chosen = strategy(self.strategy)
            if chosen is tf.distribute.get_strategy():
                yield
            else:
                with chosen.scope():
                    yield
        finally:
            keras.config.set_dtype_policy(policy)
            _current.reset(token)

    def compile_arguments(self) -> dict:
        """Arguments of `keras.Model.compile`."""
        return {
            **_XLA[self.xla],
            "steps_per_execution": self.steps_per_execution,
        }

    @property
    def replicas(self) -> int:
        """Number of devices that train a model together."""
        return strategy(self.strategy).num_replicas_in_sync

    def check(self, searches: bool = False, **batch_sizes: int) -> None:
        """Raises `ValueError` for what would fail, or be unequal, later.

        Args:
            searches: Whether there is an architecture search.
            **batch_sizes: Batch sizes, by the names of their options.
        """
        if searches and self.precision == "float16":
            raise ValueError(
                "A search in float16 would need two loss scales. Use "
                "--precision bfloat16 or float32. Received: precision=float16"
            )
        replicas = self.replicas
        if replicas > 1 and self.xla == "on" and self.name != "tpu":
            raise ValueError(
                "TensorFlow does not sum gradients over replicas within a step "
                "that XLA compiles. Use --xla off, or --strategy none. "
                f"Received: xla=on, {replicas} replicas"
            )
        for name, size in batch_sizes.items():
            if size % replicas:
                option = "--" + name.replace("_", "-")
                raise ValueError(
                    f"`{name}` must be a multiple of the {replicas} replicas "
                    f"that divide a batch, such as {option} "
                    f"{-(-size // replicas) * replicas}. Received: "
                    f"{name}={size}"
                )

    @property
    def name(self) -> str:
        """Name of the strategy that is used; never `"auto"`."""
        return _detected() if self.strategy == "auto" else self.strategy

    @property
    def is_plain(self) -> bool:
        """Whether models are Keras' ordinary ones, of one device in float32."""
        ordinary = strategy(self.strategy) is tf.distribute.get_strategy()
        return ordinary and self.precision == "float32"

    def describe(self) -> dict:
        """What a run ran on, as JSON types."""
        found = strategy(self.strategy)
        return {
            "strategy": self.name,
            "devices": [_device_name(device) for device in _devices(found)],
            "replicas": found.num_replicas_in_sync,
            "workers": len(_workers()) if self.name == "multi-worker" else 1,
            "precision": self.precision,
            "xla": self.xla,
            "steps_per_execution": self.steps_per_execution,
        }

    def for_this_worker(self, config: Any) -> Any:
        """The configuration with which this process runs.

        All workers compute all of a run, and the chief alone writes into its
        folder: another worker starts from a copy of it, in a temporary folder
        of its own, so that all go on from the same epoch.

        Args:
            config: Of the run, with an `output_dir` that all workers can read.

        Raises:
            RuntimeError: The workers' versions, configurations or folders
                differ.
        """
        folder = pathlib.Path(config.output_dir).absolute()
        if self.name != "multi-worker" or any(
            known in (folder, *folder.parents) for known in _folders
        ):
            return config  # A run within a run is where that is.
        settings = dataclasses.asdict(config)
        for name in ("output_dir", "export_dir", "cache_dir", "data_dir"):
            settings.pop(name, None)
        if not _is_chief():
            scratch = pathlib.Path(tempfile.mkdtemp(prefix="ser_keras_worker_"))
            atexit.register(shutil.rmtree, scratch, ignore_errors=True)
            if folder.exists():
                shutil.copytree(folder, scratch / folder.name)
            folder = scratch / folder.name
            changes = {"output_dir": str(folder)}
            if hasattr(config, "export_dir"):
                changes["export_dir"] = str(scratch / "saved_models")
            config = dataclasses.replace(config, **changes)
        _folders.append(folder)
        files = sorted(
            (str(x.relative_to(folder)), x.stat().st_size)
            for x in folder.rglob("*")
            if x.is_file()
        )
        self.agree(
            {
                "versions of packages": package_versions(),
                "configurations": settings,
                f"states of {config.output_dir}, which must be on storage that "
                "all share": files,
            }
        )
        return config

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Waits for all workers, and compares what must be the same for all.

        Args:
            facts: Values that JSON can represent, by what they are.

        Raises:
            RuntimeError: Two workers have different ones.
        """
        if self.name != "multi-worker":
            return
        hashes = np.array([_hash(value) for value in facts.values()], "i4")
        found = strategy(self.strategy)

        @tf.function(autograph=False)
        def gather():
            def own():
                context = tf.distribute.get_replica_context()
                return context.all_gather(tf.constant(hashes[None]), axis=0)

            return found.experimental_local_results(found.run(own))[0]

        rows = np.asarray(gather())
        for number, what in enumerate(facts):
            if len(np.unique(rows[:, number])) > 1:
                raise DeviceError(
                    f"The workers have different {what}. All must run the same "
                    "command with the same installation and the same files"
                )


#: Folders of runs that this process computes with other workers.
_folders: list[pathlib.Path] = []
_current: contextvars.ContextVar = contextvars.ContextVar("runtime")


def current_runtime() -> Runtime:
    """The runtime in whose scope this is called; one device without any."""
    return _current.get(None) or Runtime("none")


def in_float32(network: keras.Model) -> keras.Model:
    """A copy of a network on one device, in float32, as runs keep theirs.

    Args:
        network: Of any strategy and precision; not in a `scope`.
    """
    copy = type(network).from_config(_in_float32(network.get_config()))
    if not copy.built:
        copy.build(network.input_shape)
    copy.set_weights(network.get_weights())
    return copy


def _in_float32(config):
    """A configuration with float32 as the policy of all layers in it."""
    if isinstance(config, (list, tuple)):
        return [_in_float32(value) for value in config]
    if not isinstance(config, dict):
        return config
    policies = PRECISIONS.values()
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {"name": "float32"}}
    return {
        name: "float32"
        if name == "dtype" and value in [*policies]
        else _in_float32(value)
        for name, value in config.items()
    }


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Makes a strategy by name; build and compile models in its scope.

    Args:
        name: `"none"`: one device, TensorFlow's default. `"mirrored"`: all
            GPUs of this machine, or without one all its logical CPUs (the
            same object every time: two of them disturb each other).
            `"multi-worker"`: the machines that the `TF_CONFIG` environment
            variable lists. `"tpu"`: the TPU of this machine, or the one that
            `TPU_NAME` names. `"auto"`: the first of TPU, multi-worker and
            mirrored which there is more than one device for, or `"none"`.
            TPUs are supported by design (static shapes, no Python in the
            step), but this library's tests do not run on one.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: `name` is not one of these.
        RuntimeError: There is no such device or cluster.

    Example:
    >>> strategy("none").num_replicas_in_sync
    1
    """
    name = name.replace("_", "-")
    if name not in NAMES:
        raise ValueError(
            f"`name` must be one of {', '.join(NAMES)}. Received: name={name!r}"
        )
    if name == "auto":
        name = _detected()
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return _mirrored()
    if name == "multi-worker":
        return _multi_worker()
    return _tpu()


def _detected():
    if "TPU_NAME" in os.environ or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if "TF_CONFIG" in os.environ:
        return "multi-worker"
    # Logical CPUs exist only where someone split the CPU, as tests do.
    gpus = tf.config.list_logical_devices("GPU")
    return "mirrored" if len(gpus) > 1 else "none"


@functools.cache
def _mirrored():
    # One object a process: every MirroredStrategy numbers its collectives from
    # the same start, and TensorFlow remembers the shape of each number, so a
    # second object on the same devices fails with "Shape mismatch in the
    # collective instance".
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([d.name for d in devices])


@functools.cache
def _multi_worker():
    _workers()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise DeviceError(
            "The workers must be connected before TensorFlow computes "
            'anything: call strategy("multi-worker"), or Runtime.start(), '
            f"first. TensorFlow said: {error}"
        ) from error


def _workers():
    """Addresses of the cluster's workers, the chief first."""
    cluster, task = _tf_config()
    workers = [*cluster.get("chief", ()), *cluster.get("worker", ())]
    kind, index = task.get("type"), task.get("index")
    if not workers:
        raise ValueError(
            "TF_CONFIG must list the machines that train: `cluster` needs a "
            f"`worker` list, whose first is the chief. Received: {cluster}"
        )
    known = cluster.get(kind, ()) if kind in ("chief", "worker") else ()
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise ValueError(
            "`task` of TF_CONFIG must be one of its cluster's workers, such as "
            '{"type": "worker", "index": 0}. Received: '
            f"{task}, cluster {cluster}"
        )
    return workers


def _is_chief():
    cluster, task = _tf_config()
    return task["index"] == 0 and (
        task["type"] == "chief" or "chief" not in cluster
    )


def _tf_config():
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        raise DeviceError(
            "--strategy multi-worker needs the environment variable "
            "TF_CONFIG, which lists the machines and says which this is: "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, '
            '"task": {"type": "worker", "index": 0}}'
        )
    try:
        value = json.loads(text)
        return dict(value["cluster"]), dict(value["task"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "TF_CONFIG must be JSON with `cluster` and `task`. Received: "
            f"{text}"
        ) from error


def _make_logical_cpus(count):
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        found = len(tf.config.list_logical_devices("CPU"))
        if found != count:
            raise DeviceError(
                f"`devices` must be set before TensorFlow computes anything. "
                f"There are {found} logical CPUs now. Received: "
                f"devices={count}"
            ) from error


def _devices(found):
    """Names of the devices of a strategy in this process."""
    if found is not tf.distribute.get_strategy():
        return found.extended.worker_devices
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return [devices[0].name]


def _device_name(device):
    spec = tf.DeviceSpec.from_string(device)
    name = f"{spec.device_type}:{spec.device_index}"
    gpus = tf.config.list_physical_devices("GPU")
    if spec.device_type == "GPU" and (spec.device_index or 0) < len(gpus):
        details = tf.config.experimental.get_device_details(
            gpus[spec.device_index or 0]
        )
        name += f" ({details.get('device_name', 'unknown')})"
    return name


def _hash(value):
    text = json.dumps(value, sort_keys=True, default=str).encode()
    digest = hashlib.blake2b(text, digest_size=4).digest()
    return int.from_bytes(digest, "little", signed=True)


@functools.cache
def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        raise DeviceError(
            'strategy("tpu") found no TPU. On a TPU VM install '
            "`tensorflow-tpu`; for a remote one set TPU_NAME. "
            f"TensorFlow said: {str(error).splitlines()[0]}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
