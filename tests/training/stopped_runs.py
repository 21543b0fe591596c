"""Stops a run after every file that it writes: see test_stopped_runs.

A run of a tiny network writes its files once. After each of them its folder is
copied, which is what `kill -9` at that moment leaves behind. Then the same run
is resumed in each of the copies, until the next of its results is written. The
folder must then have the same content as in the first run, bit by bit.
"""

import collections
import dataclasses
import gc
import json
import os
import pathlib
import re
import shutil
import sys
import traceback
import zipfile

import h5py
import keras
import numpy as np
import tensorflow as tf

import ser_keras as ser
from ser_keras import _files
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.synthetic import write_synthetic_corpus
from ser_keras.experiments import light_sernet as light_sernet_module
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.experiment import Experiment
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.reports import cell_drawing
from ser_keras.reports import figures
from ser_keras.reports import stream_figure

COMMON = {
    # All in the working directory, of which copies are made.
    "output_dir": "run",
    "export_dir": "served",
    "cache_dir": "cache",
    "fold": 0,
    "num_features": 8,
    "duration": 0.5,
    "batch_size": 6,
    "held_out_speakers": 1,
}
# Results of a fold, of the run, of a LiteRT file, of the pre-training and of
# the final network. What follows depends on the content of the folder only.
RESULTS = (
    "/predictions.csv",
    "/float32.csv",
    "/pretrained.keras",
    "/final/network.keras",
)
# Not compared: times, logs and figures, the cache, and the SavedModel, of which
# a run that was stopped before `result.json` writes another version; and locks,
# which have the time of the last sign of life.
IGNORED = re.compile(
    r"/config\.json$|/\.lock$|/tensorboard/|\.png$|^cache/|^served/"
)
# Files after which a run is resumed. For emoDARTS those of its search, and the
# checkpoint of its training, which is that of Light-SERNet; at its first
# checkpoint it has all files of the states before. For Light-SERNet not the
# features, which another test stops, and not those between the SavedModel and
# `result.json`, which are not read.
RESUMED = {
    "emodarts": re.compile("genotype|/checkpoints/"),
    "light_sernet": re.compile(r"^run/(?!.*_curves\.png)|^served/\d+$"),
}


def tiny_network(input_shape, num_classes, **unused):
    """In place of Light-SERNet: the same kinds of state, and faster.

    Weights, moving statistics, and the seed of a dropout.
    """
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Conv2D(2, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.3, seed=1),
            keras.layers.Dense(num_classes),
        ]
    )


class Stopped(BaseException):
    """A result has been written."""


def emodarts(corpus, others):
    run_experiment(
        EmoDARTSConfig(
            sequence="rnn",
            search_epochs=1,
            search_warm_up_epochs=0,
            search_batch_size=4,
            search_filters=1,
            filters=1,
            num_nodes=1,
            num_cells=3,
            recurrent_filters=1,
            train_epochs=1,
            speed_range=0.0,
            final=False,
            **COMMON,
        ),
        ser.protocols.leave_one_session_out(corpus)[:1],
    )


def light_sernet(corpus, others):
    run_experiment(
        LightSERNetConfig(
            width=0.1, epochs=2, pretrain_epochs=1, ema_momentum=0.9, **COMMON
        ),
        ser.protocols.leave_one_session_out(corpus)[:2],
        others,
    )


def record(run, folder, names, end):
    """Runs once, and copies the working directory after each file.

    Args:
        run: `run()`.
        folder: Folder for the copies.
        names: Pattern of the files after which it is copied.
        end: Name of the last result; None for the end of the run.

    Returns:
        Copies by the file that was just written, and contents of the directory
        by the result that was just written.
    """
    copies, results, times = {}, {}, collections.Counter()

    def copy(key):
        copies[key] = folder / str(len(copies))
        return shutil.copytree(".", copies[key])

    def keep(path):
        name = os.path.relpath(path)
        times[name] += 1
        # A second fold writes the same files as the first.
        key = f"{re.sub('folds/[^/]+', 'folds/*', name)} {times[name]}"
        if key not in copies and names.search(name):
            if "/checkpoints/" in name:
                # TensorFlow writes the file that names the last one next.
                before = list(copies.values())[-1:]
                last = os.path.dirname(name) + "/checkpoint"
                unnamed = copy(f"{key}, before it is named")
                (unnamed / last).unlink()
                if before and (before[0] / last).exists():
                    shutil.copy(before[0] / last, unnamed / last)
            copy(key)
        if name.endswith(RESULTS) and name not in results:
            results[name] = contents(".")
        if name == end:
            raise Stopped

    _files.after_write.append(keep)
    try:
        run()
        results["the end"] = contents(".")
    except Stopped:
        pass
    _files.after_write.remove(keep)
    return copies, results


def resume(run, before):
    """Resumes a run until the next result is written, and returns its name."""

    def stop(path):
        name = os.path.relpath(path)
        if "/.export-" in name:  # Of a folder that is not there yet.
            return
        if name.endswith(RESULTS) and not (before / name).exists():
            raise Stopped(name)

    _files.after_write.append(stop)
    try:
        run()
        return "the end"
    except Stopped as stopped:
        return str(stopped)
    finally:
        _files.after_write.remove(stop)


def contents(folder):
    """Contents of a folder by the names of files.

    Without names of layers, which Keras numbers, and times.
    """
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or IGNORED.search(name):
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".h5":
            found[name] = weights(path)
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as file:
                found[name] = weights(file.open("model.weights.h5"))
        elif path.suffix == ".index":
            reader = tf.train.load_checkpoint(str(path.with_suffix("")))
            found[name] = {
                key: reader.get_tensor(key).tobytes()
                for key in reader.get_variable_to_dtype_map()
                if key.endswith("VARIABLE_VALUE")
            }
        elif "ckpt-" in path.name:  # The data of an index.
            found[name] = None
        elif path.name == "checkpoint":
            found[name] = tf.train.latest_checkpoint(path.parent)[-1]
        elif name.endswith("_metrics.jsonl"):
            rows = [json.loads(x) for x in path.read_text().splitlines()]
            found[name] = [{**row, "seconds": None} for row in rows]
        elif path.name == "result.json":
            found[name] = json.loads(path.read_text()) | {"saved_model": None}
    return found


def weights(file):
    """Dict from the path of each array in an HDF5 file to its bytes."""
    found = {}

    def read(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.array(item).tobytes()

    with h5py.File(file) as tree:
        tree.visititems(read)
    return found


def save_empty(figure, path):
    """In place of `save_figure`: figures are not compared."""
    _files.replace_file(path, lambda file: pathlib.Path(file).touch())


def main(name, folder):
    ser.be_deterministic()
    for module in (cell_drawing, figures, stream_figure):
        module.save_figure = save_empty
    # Tracing a graph takes longer than these few steps.
    tf.config.run_functions_eagerly(True)
    light_sernet_module.LightSERNet = tiny_network
    Experiment.litert_precisions = ("float32",)  # One instead of all.
    folder = pathlib.Path(folder).resolve()
    corpus = load_corpus("iemocap", write_synthetic_corpus(folder / "c", 3, 1))
    others = load_corpus(
        "iemocap", write_synthetic_corpus(folder / "others", 1, 1, seed=1)
    )
    others = Manifest(
        [dataclasses.replace(u, speaker=f"other {u.speaker}") for u in others],
        others.labels,
    )

    def run():
        keras.utils.clear_session()
        globals()[name](corpus, others)

    whole, work = folder / "whole", folder / "work"
    whole.mkdir()
    os.chdir(whole)
    # Each run collects garbage, and need not look through TensorFlow.
    gc.freeze()
    end = "run/predictions.csv" if name == "emodarts" else None
    copies, results = record(run, folder / "copies", RESUMED[name], end)
    failed = False
    for after, copy in copies.items():
        os.chdir(folder)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(copy, work)
        os.chdir(work)
        try:
            result = resume(run, copy)
            now, then = contents(work), results[result]
            print(f"after {after}: until {result}")
            wrong = [x for x in {*now, *then} if now.get(x) != then.get(x)]
        except Exception:
            wrong = [traceback.format_exc()]
        if wrong:
            failed = True
            print(f"WRONG after {after}:", *sorted(wrong), sep="\n  ")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
