"""Seconds of the leak guard over a corpus, without and with what it remembers.

"off" decodes everything, as every run once did; "cold" decodes into an empty
cache; "moved" knows the bytes but not the files, as after a copy of the corpus;
"warm" knows both. One after the other in each round, so that other work on the
machine meets all of them; medians, and the quickest and slowest round.

    python benchmarks/leak_guard.py --corpus emodb ../shared/corpora/emodb
"""

import argparse
import os
import pathlib
import sqlite3
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

from ser_keras.corpora.audio_content_cache import cache_file  # noqa: E402
from ser_keras.corpora.parsers import load_corpus  # noqa: E402
from ser_keras.protocols.leak_guard import ExposedAudio  # noqa: E402
from ser_keras.protocols.leak_guard import guard_folds  # noqa: E402
from ser_keras.protocols.splits import leave_one_speaker_out  # noqa: E402


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", nargs=2, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    add_record_argument(parser)
    options = parser.parse_args()
    manifest = load_corpus(*options.corpus)
    folds = leave_one_speaker_out(manifest)

    def seconds():
        start = time.perf_counter()
        guard_folds(folds, manifest, ExposedAudio(), skip_bad_audio=True)
        return time.perf_counter() - start

    os.environ["SER_KERAS_CACHE"] = "off"
    seconds()  # The system reads the files once.
    times = {"off": [], "cold": [], "moved": [], "warm": []}
    for _ in range(options.rounds):
        os.environ["SER_KERAS_CACHE"] = "off"
        times["off"].append(seconds())
        with tempfile.TemporaryDirectory() as folder:
            os.environ["SER_KERAS_CACHE"] = folder
            times["cold"].append(seconds())
            with sqlite3.connect(cache_file()) as connection:
                connection.execute("DELETE FROM files")
            connection.close()
            times["moved"].append(seconds())
            times["warm"].append(seconds())
    print(f"{len(manifest)} files, {len(folds)} folds")
    rows = []
    for name, row in times.items():
        median = statistics.median(row)
        spread = min(row), max(row)
        rows.append(measurement(name, "all files", median, "s", spread))
        print(f"{name:>6} {median:.3f} s ({min(row):.3f} to {max(row):.3f})")
    record(options, rows)


if __name__ == "__main__":
    main()
