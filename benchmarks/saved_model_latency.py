"""The SavedModel's call beside LiteRT: a 3-s waveform in, one thread each.

Both have the same Light-SERNet (random weights and batch-norm statistics, as
fast as a trained one) with its front end. They take turns in one process, so
that what else the machine does meets both; the median of the rounds and the
least are shown, by the clock and in processor time. On a busy machine the
latter is the one to compare: with one thread it is the clock of an idle one.

    python benchmarks/saved_model_latency.py [--rounds 60]
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As ser_keras does.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

import ser_keras  # noqa: E402

RATE, SECONDS, CLASSES = 16000, 3, 7


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    add_record_argument(parser)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = ser_keras.LightSERNet((None, 40, 1), num_classes=CLASSES)
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "norm" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    model = ser_keras.models.with_frontend(
        network,
        ser_keras.MFCC.light_sernet(),
        ser_keras.UtteranceNormalization(),
    )
    labels = [f"class {i}" for i in range(CLASSES)]
    folder = pathlib.Path(tempfile.mkdtemp())
    lite = ser_keras.load_litert(
        ser_keras.export_litert(
            model, folder / "m.tflite", labels, duration=float(SECONDS)
        )
    )
    served = ser_keras.load_saved_model(
        ser_keras.export_saved_model(model, folder / "m", labels)
    )
    function = served.signatures["serving_default"]
    traced = tf.function(lambda x: model(x, training=False), autograph=False)
    clip = rng.normal(0, 0.1, RATE * SECONDS).astype("float32")
    batch = tf.constant(clip[None])
    contenders = {
        "LiteRT float32": lambda: lite([clip])["probabilities"],
        "SavedModel": lambda: function(waveform=batch)["probabilities"],
        "tf.function of Keras": lambda: traced(batch)["probabilities"],
    }
    times = {name: [] for name in contenders}
    for number in range(rounds + 5):
        for name, run in contenders.items():
            clock, processor = time.perf_counter(), time.process_time()
            np.asarray(run())
            row = (
                1e3 * (time.perf_counter() - clock),
                1e3 * (time.process_time() - processor),
            )
            if number >= 5:  # The first ones warm up.
                times[name].append(row)
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"{'':22s}{'clock ms':>18s}{'processor ms':>18s}{'ratio':>8s}")
    print(f"{'':22s}{'median    least':>18s}{'median    least':>18s}")
    reference, measured = None, []
    for name, rows in times.items():
        clock, processor = zip(*rows, strict=True)
        reference = reference or min(processor)
        print(
            f"{name:22s}{statistics.median(clock):9.2f}{min(clock):9.2f}"
            f"{statistics.median(processor):9.2f}{min(processor):9.2f}"
            f"{min(processor) / reference:8.2f}"
        )
        median, spread = statistics.median(clock), (min(clock), max(clock))
        measured += [
            measurement(name, "clip of 3 s", median, "ms", spread),
            measurement(name, "processor, least", min(processor), "ms"),
            measurement(name, "ratio", min(processor) / reference, ""),
        ]
    difference = np.abs(
        contenders["SavedModel"]() - contenders["tf.function of Keras"]()
    ).max()
    print(f"SavedModel from Keras: {difference:.1e}")
    print("ratio: least processor time, to LiteRT's")
    record(arguments, measured)


if __name__ == "__main__":
    main()
