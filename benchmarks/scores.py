"""Intervals and comparisons of large test sets.

By default 10 000 resamples of 100 000 utterances of 1000 speakers and 8
classes, about what MSP-Podcast's largest test part has ten times over.

    python benchmarks/scores.py --utterances 100000 --speakers 1000
"""

import argparse
import json
import time

import numpy as np
from recording import add_record_argument
from recording import measurement
from recording import record

from ser_keras.evaluation.calibration import coverage_curve
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.comparison import compare_predictions
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import METRICS
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.evaluation.scores import score


def make(arguments, seed):
    """Predictions at random, right a little more often than by chance."""
    n, classes = arguments.utterances, arguments.classes
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(classes, size=n)
    probabilities = random.dirichlet(np.ones(classes), n)
    probabilities[np.arange(n), labels] += 0.3
    return Predictions(
        ids=[f"u{i}" for i in range(n)],
        speakers=[f"s{i % arguments.speakers}" for i in range(n)],
        sexes=[("female", "male")[i % 2] for i in range(n)],
        labels=labels,
        probabilities=probabilities / probabilities.sum(1, keepdims=True),
        label_names=[f"c{i}" for i in range(classes)],
    )


def main():
    """Times each call once and prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--speakers", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=10_000)
    add_record_argument(parser)
    arguments = parser.parse_args()
    first, second = make(arguments, 1), make(arguments, 2)
    calls = {
        "all scores": lambda: score(first),
        **{
            f"interval of {name}": lambda name=name: confidence_interval(
                first, name, arguments.resamples
            )
            for name in METRICS
        },
        "comparison": lambda: compare_predictions(
            first, second, resamples=arguments.resamples
        ),
        "calibration": lambda: measure_calibration(first),
        "coverage": lambda: coverage_curve(first),
    }
    rows = []
    for name, call in calls.items():
        start, used = time.perf_counter(), time.process_time()
        call()
        seconds = time.perf_counter() - start
        used = time.process_time() - used
        print(
            json.dumps(
                {
                    "call": name,
                    "seconds": round(seconds, 2),
                    "processor_seconds": round(used, 2),
                }
            ),
            flush=True,
        )
        rows += [
            measurement(name, "clock", seconds, "s"),
            measurement(name, "processor", used, "s"),
        ]
    record(arguments, rows)


if __name__ == "__main__":
    main()
