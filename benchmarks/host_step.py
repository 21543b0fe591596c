"""What a training step costs the host, which is what a GPU waits for.

Each system trains and searches as its runs do, with its own features,
augmentation, callbacks and batch size, but the step is empty: it takes its
batch and computes nothing. Columns, for 1 and 16 steps a call:

- *step*: from one step to the next, the median over epochs after the first;
- *Python*: the same on one batch over and over, without an input pipeline;
- *input*: the pipeline alone, as fast as it goes.

The target is 2 ms a step. `--profile` trains with the real step
instead, and reads in TensorFlow's profile how long steps waited for input.

    python benchmarks/host_step.py
    python benchmarks/host_step.py --profile --smoke --clips 256
"""

import argparse
import contextlib
import dataclasses
import io
import json
import pathlib
import statistics
import tempfile
import time
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from recording import add_record_argument
from recording import measurement
from recording import record

import ser_keras as ser
from ser_keras.corpora.manifest import Utterance
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import config_class
from ser_keras.experiments.registry import system_class
from ser_keras.models.network import Network
from ser_keras.training import RunFolder
from ser_keras.training import Runtime
from ser_keras.training import fit

LABELS = tuple(f"class {i}" for i in range(7))
SPEAKERS = 8
STEPS_PER_CALL = (1, 16)


def empty_step(model, data):
    """A step that takes its batch and computes nothing."""
    return {"loss": tf.zeros(())}


class StepTimes(keras.callbacks.Callback):
    """Seconds a step of each epoch, without its end, where it is saved."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._first = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self._first is None:
            self._first = now, batch
        self._last = now, batch

    def on_epoch_end(self, epoch, logs=None):
        seconds = self._last[0] - self._first[0]
        self.seconds.append(seconds / (self._last[1] - self._first[1]))


def random_features(experiment, clips):
    """Features as an experiment's preprocessor makes them, of 2 to 5 s."""
    parts = getattr(experiment.preprocessor(), "streams", None)
    if parts is None:
        return _feature_set(experiment.preprocessor(), clips)
    return ser.FeatureStreams(
        {name: _feature_set(part, clips) for name, part in parts.items()}
    )


def _feature_set(preprocessor, clips):
    rng = np.random.default_rng(0)
    seconds = rng.uniform(2, 5, clips)
    manifest = ser.Manifest(
        [
            Utterance(f"{i}", "x.wav", LABELS[i % 7], f"{i % SPEAKERS}")
            for i in range(clips)
        ],
        LABELS,
    )
    rate, width = preprocessor.frame_rate, preprocessor.num_features
    if rate is None:  # All clips have the same duration.
        seconds[:] = 1
        rate = preprocessor.duration_frames()
    arrays = [
        rng.normal(size=(max(int(rate * x), 1), width)).astype("float32")
        for x in seconds
    ]
    return ser.FeatureSet(manifest, arrays, frame_rate=preprocessor.frame_rate)


def systems():
    """Experiments by the name of their row: trainings, then searches."""
    for name, system in SYSTEMS.items():
        yield name, name, "train"
        if system.searches:
            yield f"{name}, search", name, "search"


def run(experiment, work, features, runtime, callback, folder):
    """Trains, or searches, as `run_experiment` does."""
    frames = experiment.preprocessor().duration_frames()
    found = RunFolder(folder, {})
    with runtime.scope():
        if work == "search":
            with mock.patch.object(
                # Systems give no callbacks of their own to a search.
                fit,
                "ArchitectureLogger",
                lambda path: callback,
            ):
                experiment.search(features, found, frames)
            return
        genotype = None
        if hasattr(experiment, "space"):
            genotype = experiment.space().sample(0)
        ser.train_network(
            experiment.build(features, genotype),
            features,
            run=found,
            duration_frames=frames,
            augment=experiment.augmentation(features),
            callbacks=[callback],
            **experiment.training(),
        )


def made(change=lambda dataset: dataset):
    """Context that yields a list of the data sets that a training makes.

    Args:
        change: What the training gets in place of a data set.
    """
    found = []

    def make(*arguments, **options):
        dataset = ser.make_dataset(*arguments, **options)
        found.append(dataset)
        changed = change(dataset)
        for name in ("steps_per_epoch", "first_epoch", "speakers"):
            setattr(changed, name, getattr(dataset, name))
        return changed

    @contextlib.contextmanager
    def patched():
        with mock.patch.object(fit, "make_dataset", make):
            yield found

    return patched()


def one_batch(dataset):
    """A data set's first batch, over and over."""
    return tf.data.Dataset.from_tensors(next(iter(dataset))).repeat()


def host_times(experiment, work, features, steps_per_call):
    """Milliseconds of an empty step, and of its two parts."""
    runtime = Runtime("none", steps_per_execution=steps_per_call)
    found = {}
    for column, change in (("step", lambda x: x), ("Python", one_batch)):
        times = StepTimes()
        with (
            mock.patch.object(Network, "train_step", empty_step),
            mock.patch.object(ser.SuperNet, "train_step", empty_step),
            made(change) as datasets,
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            run(experiment, work, features, runtime, times, folder)
        found[column] = [1000 * x for x in times.seconds[1:]]
    pipeline = datasets[0] if work == "train" else ser.bilevel(*datasets)
    steps, seconds = datasets[0].steps_per_epoch, []
    batches = iter(pipeline)
    for _ in times.seconds:
        start = time.perf_counter()
        for _ in range(steps):
            next(batches)
        seconds.append(1000 * (time.perf_counter() - start) / steps)
    found["input"] = seconds[1:]
    return found


class Profile(StepTimes):
    """Profiles the epochs after the first."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if epoch == 1:
            tf.profiler.experimental.start(self.folder)

    def on_train_end(self, logs=None):
        tf.profiler.experimental.stop()


def input_waits(folder):
    """Milliseconds for which each step of a profile waited for its batch."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if name == "IteratorGetNextOp::DoCompute":
                    yield event.duration_ps / 1e9


def profiled(experiment, work, features):
    """Waits for input and durations of real steps, in milliseconds."""
    with (
        tempfile.TemporaryDirectory() as profile,
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        times = Profile(profile)
        run(experiment, work, features, Runtime("none"), times, folder)
        waits = list(input_waits(profile))
    if not waits:
        raise SystemExit("The profile has no step that asked for a batch.")
    return waits, [1000 * x for x in times.seconds[1:]]


def row(of, quantity, values):
    """A measurement in milliseconds, with its spread."""
    value = statistics.median(values)
    spread = min(values), max(values)
    return measurement(of, quantity, value, "ms", spread)


def main():
    """Measures all systems, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--smoke", action="store_true", help="small networks")
    parser.add_argument("--only", help="a system, or `SYSTEM, search`")
    parser.add_argument("--profile", action="store_true", help="real steps")
    add_record_argument(parser)
    arguments = parser.parse_args()
    rows = []
    for of, name, work in systems():
        if arguments.only not in (None, of):
            continue
        config = config_class(name)(smoke=arguments.smoke).resolved()
        epochs = ("epochs", "train_epochs", "search_epochs")
        changes = {x: arguments.epochs for x in epochs if hasattr(config, x)}
        if hasattr(config, "search_warm_up_epochs"):
            changes["search_warm_up_epochs"] = 0
        config = dataclasses.replace(config, smoke=False, **changes)
        with contextlib.redirect_stdout(io.StringIO()):
            experiment = system_class(name)(config)
            features = random_features(experiment, arguments.clips)
        if arguments.profile:
            waits, steps = profiled(experiment, work, features)
            found = [
                row(of, "wait for input", waits),
                row(of, "step", steps),
                measurement(
                    of,
                    "part of the time",
                    statistics.fmean(waits) / statistics.fmean(steps),
                    "",
                ),
            ]
        else:
            found = [
                row(of, f"{column}, {calls} a call", values)
                for calls in STEPS_PER_CALL
                for column, values in host_times(
                    experiment, work, features, calls
                ).items()
            ]
        rows += found
        for one in found:
            print(json.dumps(one), flush=True)
        keras.backend.clear_session()
    record(arguments, rows)


if __name__ == "__main__":
    main()
