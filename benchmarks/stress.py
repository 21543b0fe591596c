"""Stress reports of several runs beside each other.

UAR and ECE of each run's folds on their own test speakers, whose recordings
are altered: one condition at a time, as `ser_keras evaluate --stress`.

    python benchmarks/stress.py results/encoder results/encoder_unaltered
"""

import argparse
import pathlib

from recording import add_record_argument
from recording import measurement
from recording import record

from ser_keras.evaluation.stress import answers_of_run
from ser_keras.evaluation.stress import stress_conditions


def main():
    """Scores, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="folders of finished runs")
    parser.add_argument("--cache-dir", default=".cache/features")
    add_record_argument(parser)
    options = parser.parse_args()
    found = []
    for run in options.runs:
        name = pathlib.Path(run).name
        for row in stress_conditions(answers_of_run(run, options.cache_dir)):
            of = " ".join(filter(None, (row["altered"], row["condition"])))
            print(f"{name}: {of}: UAR {row['uar']:.3f}, ECE {row['ece']:.3f}")
            found.append(measurement(of, f"{name}: UAR", row["uar"], ""))
            found.append(measurement(of, f"{name}: ECE", row["ece"], ""))
    record(options, found)


if __name__ == "__main__":
    main()
