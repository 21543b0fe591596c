"""Two streams: how busy extraction keeps the cores, how fast epochs are read.

Deep features of a LiteRT file are extracted into an empty store, read back from
it, and put beside log-mel frames; epochs of both are then read through
`make_dataset`, cropped to 3 s and shuffled. CPU use is the process' CPU time
over wall time times cores; a machine that does other work gives it less.

    python benchmarks/feature_extraction.py --model yamnet.tflite \
        --corpus emodb ../shared/corpora/emodb \
        --output tower0/network/layer28/reduce_mean
"""

import argparse
import os
import pathlib
import platform
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

import ser_keras as ser  # noqa: E402

SECONDS, BATCH = 3, 64


def measured(function):
    """What it returns, wall seconds, CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def processor():
    """Name of the processor, where the system tells it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(": ")[1] for x in lines if "model name" in x)
    except (OSError, StopIteration):
        return platform.processor()


def epochs_per_second(streams, epochs):
    """Utterances a second, read through `make_dataset`."""
    dataset = ser.make_dataset(
        streams,
        BATCH,
        duration_frames=round(SECONDS * streams["handcrafted"].frame_rate),
        shuffle=True,
        drop_remainder=True,
    )
    steps = dataset.steps_per_epoch

    def read():
        for _ in dataset.take(steps * epochs):
            pass

    read()
    _, wall, cpu = measured(read)
    return steps * epochs * BATCH / wall, wall, cpu


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--corpus", nargs=2, required=True)
    parser.add_argument("--output")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--clips", type=int, help="the first ones only")
    parser.add_argument("--epochs", type=int, default=20)
    add_record_argument(parser)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{processor()}, {cores} cores, load average before: {load}")
    manifest = ser.load_corpus(*arguments.corpus)[: arguments.clips]
    extractor = ser.features.LiteRTExtractor(
        arguments.model, output=arguments.output
    )
    extract = (
        ser.features.extract_features
    )  # Imports TensorFlow, which takes seconds.
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("extracted", "read from the store"):
            deep, wall, cpu = measured(
                lambda: extract(
                    manifest, extractor, folder, arguments.jobs, verbose=False
                )
            )
            print(
                f"{len(deep)} utterances, {deep.lengths.sum()} frames {name}: "
                f"{wall:.1f} s, {len(deep) / wall:.0f} utterances/s, "
                f"{cpu:.1f} s of CPU, {100 * cpu / wall / cores:.0f} % of "
                f"{cores} cores"
            )
            share = 100 * cpu / wall / cores
            rows += [
                measurement(name, "all clips", wall, "s"),
                measurement(name, "use of all cores", share, "%"),
            ]
    mel = ser.Preprocessor(ser.LogMelSpectrogram()).compute(manifest)
    streams = {"handcrafted": mel, "deep": deep}
    for name, some in (
        ("log-mel", {"handcrafted": mel}),
        ("log-mel and deep", streams),
    ):
        pace, wall, cpu = epochs_per_second(some, arguments.epochs)
        print(
            f"cached epochs, {name}: {pace:.0f} utterances/s, "
            f"{100 * cpu / wall / cores:.0f} % of {cores} cores, "
            f"{pace * wall / cpu:.0f} a second of CPU"
        )
        of = f"cached epochs, {name}"
        rows.append(measurement(of, "utterances read", pace, "1/s"))
    record(arguments, rows)


if __name__ == "__main__":
    main()
