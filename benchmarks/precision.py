"""UAR of the same training in float32, bfloat16 and float16, over seeds.

Light-SERNet on one fold of EMO-DB: every precision with the same seeds. Runs
are kept in a folder, and a second start goes on there. The record has each
precision's mean UAR with the lowest and the highest of its seeds, and the
difference of its mean from float32's with a 95 % interval (Welch's t).

    python benchmarks/precision.py --data-dir ../shared/corpora/emodb
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from recording import ROOT
from recording import add_record_argument
from recording import measurement
from recording import record
from scipy import stats

PRECISIONS = "float32", "bfloat16", "float16"


def scores(precision, options):
    """UAR of the test speakers by each seed."""
    folder = pathlib.Path(options.output_dir, precision)
    command = [
        *(sys.executable, "-m", "ser_keras", "train", "light_sernet"),
        *("--corpus", "emodb", "--data-dir", options.data_dir),
        *("--protocol", "speaker-groups-5", "--fold", str(options.fold)),
        *("--seeds", *map(str, options.seeds), "--precision", precision),
        *("--strategy", "none", "--no-litert", "--no-final"),
        *("--output-dir", folder, "--export-dir", folder / "saved_models"),
    ]
    subprocess.run([*map(str, command)], cwd=ROOT, check=True)
    rows = json.loads((folder / "seeds.json").read_text())["seeds"]
    return [row["uar"] for row in rows]


def main():
    """Trains, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output-dir", default="results/precision")
    add_record_argument(parser)
    options = parser.parse_args()
    options.output_dir = pathlib.Path(options.output_dir)
    found = {name: scores(name, options) for name in PRECISIONS}
    rows = []
    for name, values in found.items():
        mean, spread = statistics.mean(values), (min(values), max(values))
        rows.append(
            measurement(
                name, f"UAR, mean of {len(values)} seeds", mean, "", spread
            )
        )
        print(f"{name}: {mean:.3f} ({spread[0]:.3f} to {spread[1]:.3f})")
        if name == "float32":
            continue
        test = stats.ttest_ind(values, found["float32"], equal_var=False)
        interval = tuple(map(float, test.confidence_interval(0.95)))
        difference = mean - statistics.mean(found["float32"])
        rows.append(
            measurement(
                name,
                "UAR, difference from float32 (95 % interval)",
                difference,
                "",
                interval,
            )
        )
        print(f"  {difference:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})")
    record(options, rows)


if __name__ == "__main__":
    main()
