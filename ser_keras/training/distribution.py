"""Which `tf.distribute` strategy to train under."""

import functools
import os

import tensorflow as tf

NAMES = ("auto", "none", "mirrored", "multi_worker", "tpu")


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Makes a strategy by name; build and compile models in its scope.

    Args:
        name: `"none"`: one device, TensorFlow's default. `"mirrored"`: all
            GPUs of this machine, or without one all its logical CPUs (the
            same object every time: two of them disturb each other).
            `"multi_worker"`: the machines that the `TF_CONFIG` environment
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
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise RuntimeError(
                'strategy("multi_worker") needs the TF_CONFIG environment '
                "variable, which lists the machines and says which this is."
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    return _tpu()


def _detected():
    if "TPU_NAME" in os.environ or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if "TF_CONFIG" in os.environ:
        return "multi_worker"
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


def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        raise RuntimeError(
            'strategy("tpu") found no TPU. On a TPU VM install '
            "`tensorflow-tpu`; for a remote one set TPU_NAME. "
            f"TensorFlow said: {error}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
