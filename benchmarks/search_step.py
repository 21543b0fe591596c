"""A step of the search against emoDARTS' PyTorch code, step by step.

A step is an alpha step and a weight step on batches of 16, with 8 channels in
the first of 4 CNN cells. `cnn` has no recurrent cells; `full` has 4 of them
with all candidates and 128 channels. The peer's recurrence runs over the 16
clips of a batch, ours over the frames of each of the 16 clips (4 frames at
size 16), so that setting compares what one has to wait and the memory it
takes, not equal work. The two alternate, so that a busy machine slows both.

    python benchmarks/search_step.py --peer-dir /tmp/peer/emoDARTS \
        --peer-python /tmp/peer-venv/bin/python --setting cnn --order 2

`peer_emodarts.py` says how to get the peer. Without it, ours alone is timed.
"""

import argparse
import json
import resource
import time

import numpy as np
import tensorflow as tf
from recording import measurement
from recording import record
from recurrent_cell import Peer
from recurrent_cell import add_peer_arguments
from recurrent_cell import alternate
from recurrent_cell import measured

from ser_keras import SearchSpace
from ser_keras import SuperNet
from ser_keras import bilevel
from ser_keras.memory import keep_memory

BATCH = 16
WORKS = {1: "first_order", 2: "second_order"}


def build(setting, size, order, shared_stacks=False, recurrent_cells=4):
    """A supernet and a function that does one step."""
    recurrent = {"recurrent": ()} if setting == "cnn" else {}
    supernet = SuperNet(
        SearchSpace(**recurrent),
        (size, size, 1),
        num_classes=4,
        filters=8,
        num_cells=4,
        num_recurrent_cells=0 if setting == "cnn" else recurrent_cells,
        recurrent_filters=128,
        frequency_pooling="mean",
        pooling="mean",
        cell_dropout=0.3,
        shared_stacks=shared_stacks,
        masking=False,
    )
    supernet.compile(order=order)
    rng = np.random.default_rng(0)
    halves = [
        tf.data.Dataset.from_tensor_slices(
            (
                rng.normal(size=(BATCH, size, size, 1)).astype("float32"),
                rng.integers(4, size=BATCH),
            )
        ).batch(BATCH, drop_remainder=True)
        for _ in range(2)
    ]
    data = bilevel(*halves)
    start = time.perf_counter()
    supernet.fit(data, verbose=0)
    seconds = time.perf_counter() - start
    batches = iter(data.repeat())
    return supernet, lambda: supernet.train_function(batches), seconds


def main():
    """Builds, alternates, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_peer_arguments(parser)
    parser.add_argument("--setting", choices=("cnn", "full"), default="cnn")
    parser.add_argument("--size", type=int, help="default 32, or 16 for full")
    parser.add_argument("--order", type=int, choices=(1, 2), default=2)
    parser.add_argument("--shared-stacks", action="store_true")
    parser.add_argument(
        "--recurrent-cells", type=int, default=4, help="of ours; the peer has 4"
    )
    arguments = parser.parse_args()
    keep_memory()  # As recipes and the command line do.
    size = arguments.size or {"cnn": 32, "full": 16}[arguments.setting]
    supernet, step, seconds = build(
        arguments.setting,
        size,
        arguments.order,
        arguments.shared_stacks,
        arguments.recurrent_cells,
    )
    facts = {
        "ours_parameters": supernet.count_params(),
        "first_step_seconds": round(seconds, 1),
    }
    peer = None
    if arguments.peer_dir:
        options = ("--size", str(size))
        peer = Peer(arguments, arguments.setting, *options)
        facts["peer_parameters"] = peer.facts["parameters"]
    print(json.dumps(facts), flush=True)
    work = WORKS[arguments.order]
    found = alternate(step, peer, work, arguments.runs)
    print(json.dumps(found))
    rows = [
        *measured(found),
        measurement(work, "first step, with tracing", seconds, "s"),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = {"ours_peak_gigabytes": round(peak / 1e9, 2)}
    rows.append(measurement(work, "our peak memory", peak / 1e9, "GB"))
    if peer:
        peak = peer.run(work)["peak_bytes"]
        memory["peer_peak_gigabytes"] = round(peak / 1e9, 2)
        rows.append(measurement(work, "peer's peak memory", peak / 1e9, "GB"))
        peer.close()
    print(json.dumps(memory))
    record(arguments, rows)


if __name__ == "__main__":
    main()
