"""A search step of two streams against the steps of each stream alone.

A step is an alpha step and a weight step on batches of 16, at the sizes that
`recipes/emodb_emotionnas.py` searches with, on random features of 3 s. The
target is a ratio of at most 1.15 to the sum of both single streams' steps. All
three take turns, so that a busy machine slows them alike.

    python benchmarks/two_stream_step.py
"""

import argparse
import json
import statistics
import time

import numpy as np
import tensorflow as tf
from recording import add_record_argument
from recording import measurement
from recording import record

import ser_keras as ser
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.streams import FeatureStreams

FRAMES = {"handcrafted": (184, 64), "deep": (7, 1024)}
CLASSES = 7


def features(config):
    """Feature sets of which only the sizes count."""
    clips = [
        Utterance(f"{i}", f"{i}.wav", str(i), "03") for i in range(CLASSES)
    ]
    sets = {
        name: FeatureSet(Manifest(clips), [np.ones(shape)] * CLASSES)
        for name, shape in FRAMES.items()
    }
    if config.streams == "both":
        return FeatureStreams(sets)
    return sets[config.streams]


def build(streams, fusion, order):
    """A supernet and a function that does one step."""
    config = ser.experiments.EmotionNASConfig(streams=streams, fusion=fusion)
    experiment = ser.experiments.EmotionNASExperiment(config)
    supernet = ser.SuperNet(
        experiment.space(),
        **experiment._sizes(
            features(config), config.search_filters, shared_stacks=True
        ),
    )
    supernet.compile(order=order)
    rng = np.random.default_rng(0)
    batch = config.search_batch_size
    x = {
        name: rng.normal(size=(batch, *shape, 1)).astype("float32")
        for name, shape in FRAMES.items()
    }
    x = x if streams == "both" else x[streams]
    y = rng.integers(CLASSES, size=batch)
    half = tf.data.Dataset.from_tensor_slices((x, y))
    half = half.batch(batch, drop_remainder=True)
    data = ser.bilevel(half, half)
    supernet.fit(data, verbose=0)
    batches = iter(data.repeat())
    return supernet, lambda: supernet.train_function(batches)


def main():
    """Builds, alternates, prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--order", type=int, choices=(1, 2), default=1)
    parser.add_argument("--fusion", default="supplement")
    parser.add_argument("--runs", type=int, default=15)
    add_record_argument(parser)
    arguments = parser.parse_args()
    names = ("handcrafted", "deep", "both")
    built = {
        name: build(name, arguments.fusion, arguments.order) for name in names
    }
    seconds = {name: [] for name in names}
    for run in range(arguments.runs + 2):
        for name, (_, step) in built.items():
            start = time.perf_counter()
            step()
            if run >= 2:
                seconds[name].append(time.perf_counter() - start)
    ratios = [
        both / (first + second)
        for first, second, both in zip(*seconds.values(), strict=True)
    ]
    rows = []
    for name in names:
        median = statistics.median(seconds[name])
        spread = min(seconds[name]), max(seconds[name])
        rows.append(measurement(name, "step", median, "s", spread))
        facts = {
            "streams": name,
            "parameters": built[name][0].count_params(),
            "median_seconds": round(statistics.median(seconds[name]), 4),
            "least_seconds": round(min(seconds[name]), 4),
        }
        print(json.dumps(facts))
    least = min(seconds["both"]) / (
        min(seconds["handcrafted"]) + min(seconds["deep"])
    )
    print(
        json.dumps(
            {
                "fusion": arguments.fusion,
                "order": arguments.order,
                "median_ratio_to_the_sum": round(statistics.median(ratios), 3),
                "ratio_of_least_times": round(least, 3),
            }
        )
    )
    ratio, spread = statistics.median(ratios), (min(ratios), max(ratios))
    rows.append(measurement("both", "ratio to the sum", ratio, "", spread))
    record(arguments, rows)


if __name__ == "__main__":
    main()
