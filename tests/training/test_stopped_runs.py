"""Runs that are killed between two files are resumed with the same results."""

import os
import pathlib

import pytest

from tests.forks import Program

SCRIPT = pathlib.Path(__file__).with_name("stopped_runs.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Exit code, output and errors of each run; both run at the same time."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    started = {}
    for name in ("emodarts", "light_sernet"):
        folder = tmp_path_factory.mktemp(name)
        # What TensorFlow says would be in the middle of other lines.
        out, err = folder / "out.txt", folder / "err.txt"
        with open(out, "w") as stdout, open(err, "w") as stderr:
            arguments = [SCRIPT, name, folder]
            program = Program(arguments, stdout, stderr, environment)
        started[name] = program, out, err
    ended = {}
    try:
        for name, (program, out, err) in started.items():
            code = program.wait(timeout=1800)
            ended[name] = code, out.read_text(), err.read_text()
    finally:
        for program, *_ in started.values():
            program.kill()
    return ended


def resumed(printed):
    """Files after which the run was resumed, and how often each was written."""
    lines = printed.splitlines()
    found = [x.partition("after ")[2] for x in lines if x.startswith("after ")]
    return [x.partition(": until ")[0] for x in found]


def test_a_search_in_a_fold(runs):
    code, printed, errors = runs["emodarts"]
    assert code == 0, printed + errors[-4000:]
    fold = "run/folds/*/"
    assert resumed(printed) == [
        f"{fold}checkpoints/search/ckpt-1 1, before it is named",
        f"{fold}checkpoints/search/ckpt-1 1",
        f"{fold}genotype.json 1",
        f"{fold}checkpoints/train/ckpt-1 1, before it is named",
        f"{fold}checkpoints/train/ckpt-1 1",
    ]


def test_every_file_of_a_training(runs):
    code, printed, errors = runs["light_sernet"]
    assert code == 0, printed + errors[-4000:]
    states = resumed(printed)
    fold = "run/folds/*/"
    # Not all files, of which there may be more in future.
    assert states[:3] == [
        "run/config.json 1",
        "run/skipped.json 1",
        "run/preprocessor.json 1",
    ]
    assert states[-1] == "run/result.json 1"
    last = states.index(f"{fold}checkpoints/train/ckpt-2 1")
    assert states[last - 4 : last + 5] == [
        f"{fold}checkpoints/train/ckpt-1 1",
        f"{fold}train_metrics.jsonl 2",
        f"{fold}train.json 1",
        f"{fold}checkpoints/train/ckpt-2 1, before it is named",
        f"{fold}checkpoints/train/ckpt-2 1",
        f"{fold}network.keras 1",
        f"{fold}chosen.json 1",
        f"{fold}held_out_predictions.csv 1",
        f"{fold}predictions.csv 1",
    ]
    assert {
        "run/pretrained.keras 1",
        f"{fold}train_best_1.weights.h5 1",
        f"{fold}features_float32.tflite 1",
        f"{fold}float32.csv 1",
        "run/predictions.csv 1",
        "run/final/checkpoints/train/ckpt-1 1",
        "run/final/network.keras 1",
        "served/1 1",
    } <= {*states}
