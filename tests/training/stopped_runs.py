"""A run stopped after every file that it writes: see test_stopped_runs.

A run of a tiny network writes its files once. After each of them its folder is
copied, which is what `kill -9` at that moment leaves behind. Then the same run
goes on in each of the copies, until the next of its results is there. By then
the folder must hold what it held in the first run, bit by bit.
"""

import collections
import dataclasses
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
from ser_keras.experiments import litert_files
from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.emodarts import run_emodarts
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.light_sernet import run_light_sernet

COMMON = {
    # All in the working directory, of which a state is a copy.
    "output_dir": "run",
    "export_dir": "served",
    "cache_dir": "cache",
    "fold": 0,
    "num_features": 8,
    "duration": 0.5,
    "batch_size": 6,
    "held_out_speakers": 1,
}
# Of a fold or of the run, of a LiteRT file, and what all folds start from. What
# follows them depends on the folder and on nothing else that was done before.
RESULTS = ("/predictions.csv", "/float32.csv", "/pretrained.keras")
# Not compared: times, logs and pictures of what is compared, the cache, and the
# SavedModel: a run stopped before `result.json` writes another version of it.
OTHERS = re.compile(r"/config\.json$|/tensorboard/|\.png$|^cache/|^served/")
# A run goes on after the files of these names. Of emoDARTS after those of its
# search and one of its training, which is Light-SERNet's; before its first
# checkpoint it has all files of the states before it. Of Light-SERNet not after
# the features', which another test stops, and not after those between the
# SavedModel and `result.json` of which nothing is read.
GO_ON = {
    "emodarts": re.compile("genotype|/checkpoints/"),
    "light_sernet": re.compile(r"^run/(?!.*_curves\.png)|^served/\d+$"),
}


class Stopped(BaseException):
    """The result is there."""


def emodarts(corpus, others):
    run_emodarts(
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
            **COMMON,
        ),
        ser.protocols.leave_one_session_out(corpus)[:1],
    )


def light_sernet(corpus, others):
    run_light_sernet(
        LightSERNetConfig(
            width=0.1, epochs=2, pretrain_epochs=1, ema_momentum=0.9, **COMMON
        ),
        ser.protocols.leave_one_session_out(corpus)[:2],
        others,
    )


def record(run, folder, names, end):
    """Runs once, and copies the working directory on the way.

    Args:
        run: `run()`.
        folder: Where the copies go.
        names: Pattern of the files after which it is copied.
        end: Name of the last result; None for the end of the run.

    Returns:
        Copies to go on in, by the file that was just written, and what the
        directory held when each result was there.
    """
    copies, results, times = {}, {}, collections.Counter()

    def copy(key):
        copies[key] = folder / str(len(copies))
        return shutil.copytree(".", copies[key])

    def keep(path):
        name = os.path.relpath(path)
        times[name] += 1
        # A second fold writes what the first did.
        key = f"{re.sub('folds/[^/]+', 'folds/*', name)} {times[name]}"
        if key not in copies and names.search(name):
            if "/checkpoints/" in name:
                # TensorFlow has a file that names the last one: written next.
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


def go_on(run, before):
    """Goes on until there is a result that was not there before; its name."""

    def stop(path):
        name = os.path.relpath(path)
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
    """What a folder holds, by the names of files.

    Without names of layers, which are counted in a process, and times.
    """
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or OTHERS.search(name):
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
        elif "ckpt-" in path.name:  # What the index is of.
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


def main(name, folder):
    ser.be_deterministic()
    # A graph takes longer to make than these few steps.
    tf.config.run_functions_eagerly(True)
    litert_files.PRECISIONS = ("float32",)  # Stands for all of them.
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
    end = "run/predictions.csv" if name == "emodarts" else None
    copies, results = record(run, folder / "copies", GO_ON[name], end)
    failed = False
    for after, copy in copies.items():
        os.chdir(folder)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(copy, work)
        os.chdir(work)
        try:
            result = go_on(run, copy)
            now, then = contents(work), results[result]
            print(f"after {after}: on to {result}")
            wrong = [x for x in {*now, *then} if now.get(x) != then.get(x)]
        except Exception:
            wrong = [traceback.format_exc()]
        if wrong:
            failed = True
            print(f"WRONG after {after}:", *sorted(wrong), sep="\n  ")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
