"""A recurrent search cell against emoDARTS' PyTorch cell, step by step.

Both run 14 edges of 14 candidates, 128 channels, one sequence of 16 frames:
forward and backward, for all gradients and for those of the architecture
weights alone. The two alternate, so that a busy machine slows both alike.

    python benchmarks/recurrent_cell.py --peer-dir /tmp/peer/emoDARTS \
        --peer-python /tmp/peer-venv/bin/python

`peer_emodarts.py` says how to get the peer. Without it, ours alone is timed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

import numpy as np
import tensorflow as tf
from recording import add_record_argument
from recording import measurement
from recording import record

from ser_keras import SearchSpace
from ser_keras.layers import Cell

HERE = pathlib.Path(__file__).resolve().parent
CHANNELS = 128


class Peer:
    """`peer_emodarts.py` in a subprocess, which works when told to."""

    def __init__(self, arguments, setting, *options):
        threads = arguments.peer_threads
        command = [
            *(arguments.peer_python, HERE / "peer_emodarts.py"),
            *("--peer-dir", arguments.peer_dir, "--setting", setting),
            *options,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.facts = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("The peer ended; run peer_emodarts.py by hand.")
        return json.loads(line)

    def run(self, work):
        """Does one piece of work; returns seconds and peak bytes."""
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        """Ends the subprocess."""
        self.process.stdin.close()
        self.process.wait()


def add_peer_arguments(parser):
    """How every benchmark is told where the peer is."""
    parser.add_argument("--peer-dir", help="checkout of emoDARTS")
    parser.add_argument("--peer-python", help="a Python with PyTorch")
    parser.add_argument(
        "--peer-threads",
        type=int,
        default=os.cpu_count(),
        help="of PyTorch, which slows down several times where other\n"
        "processes take its cores; give 1 on a busy machine",
    )
    parser.add_argument("--runs", type=int, default=9, help="of each")
    add_record_argument(parser)


def alternate(ours, peer, work, runs):
    """Median seconds of each side, taken in turns, and their ratio."""
    times = {"ours": [], "peer": []}
    for turn in range(runs + 1):
        start = time.perf_counter()
        ours()
        seconds = time.perf_counter() - start
        theirs = peer.run(work)["seconds"] if peer else float("nan")
        if turn:  # The first of each warms up.
            times["ours"].append(seconds)
            times["peer"].append(theirs)
    medians = {side: statistics.median(t) for side, t in times.items()}
    ratios = [b / a for a, b in zip(times["ours"], times["peer"], strict=True)]
    return {
        "work": work,
        "ours_seconds": round(medians["ours"], 4),
        "peer_seconds": round(medians["peer"], 4),
        "ratio": round(medians["peer"] / medians["ours"], 2),
        "ratio_of_each_turn": [round(ratio, 2) for ratio in ratios],
    }


def measured(found):
    """Measurements of what `alternate` returned, for a record."""
    of = found["work"]
    yield measurement(of, "ours", found["ours_seconds"], "s")
    if found["peer_seconds"] == found["peer_seconds"]:  # NaN without a peer.
        ratios = found["ratio_of_each_turn"]
        spread = min(ratios), max(ratios)
        yield measurement(of, "peer", found["peer_seconds"], "s")
        yield measurement(of, "ratio", found["ratio"], "", spread)


def build(batch, frames, shared_stacks=False):
    """Our cell, and functions of its gradients."""
    space = SearchSpace.emodarts()
    edges = space.edges("recurrent")
    cell = Cell(
        "recurrent",
        edges,
        concat=[2, 3, 4, 5],
        filters=CHANNELS,
        shared_stacks=shared_stacks,
    )
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, batch, frames, CHANNELS)), "float32")
    cell.build(x[0].shape)
    alphas = tf.constant(
        1e-3 * rng.normal(size=(len(edges), len(edges[0][2]))), "float32"
    )
    # Variables, as in a search: constants would be folded.
    alphas, x = tf.Variable(alphas), tf.Variable(x)

    def gradients(targets):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(targets)
            weights = tf.nn.softmax(alphas)
            output = cell(x[0], x[1], weights=weights, training=True)
            loss = tf.reduce_sum(output**2)
        return tape.gradient(loss, targets)

    variables = [variable.value for variable in cell.trainable_variables]

    @tf.function
    def every():
        return gradients([*variables, alphas])

    @tf.function
    def of_alphas():
        return gradients([alphas])[0]

    return cell, {"all": every, "alphas": of_alphas}


def main():
    """Traces, alternates, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_peer_arguments(parser)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--shared-stacks", action="store_true")
    arguments = parser.parse_args()
    cell, works = build(
        arguments.batch, arguments.frames, arguments.shared_stacks
    )
    print(json.dumps({"ours_parameters": cell.count_params()}))
    rows = []
    for name, work in works.items():
        start = time.perf_counter()
        work.get_concrete_function()
        seconds = time.perf_counter() - start
        print(json.dumps({"work": name, "trace_seconds": round(seconds, 2)}))
        rows.append(measurement(name, "tracing", seconds, "s"))
    peer = Peer(arguments, "recurrent") if arguments.peer_dir else None
    if peer:
        print(json.dumps({"peer_parameters": peer.facts["parameters"]}))
    for name, work in works.items():
        found = alternate(lambda w=work: w(), peer, name, arguments.runs)
        print(json.dumps(found), flush=True)
        rows += measured(found)
    if peer:
        peer.close()
    record(arguments, rows)


if __name__ == "__main__":
    main()
