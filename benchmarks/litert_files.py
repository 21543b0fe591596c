"""LiteRT files of a network of Light-SERNet's size: milliseconds and bytes.

Latency of one 3-s clip on one thread, for each precision and both forms; what
the front end costs with an FFT and with two matrix products; and the share of
one core that a stream takes at a 1-s hop. All take turns in one process, so
that what else the machine does meets all of them; the median of the rounds is
shown, and the least.

    python benchmarks/litert_files.py [--model network.keras] [--rounds 50]

Without `--model` the network is a plain Keras build of Light-SERNet with
random weights: as large and as fast as a trained one.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

from ser_keras import load_model  # noqa: E402
from ser_keras.audio.mfcc import MFCC  # noqa: E402
from ser_keras.export.litert.export import export_litert  # noqa: E402
from ser_keras.export.litert.model import load_litert  # noqa: E402
from ser_keras.models.waveform_model import with_frontend  # noqa: E402
from ser_keras.serving.streaming import StreamingRecognizer  # noqa: E402

RATE, SECONDS, CLASSES = 16000, 3, 7
PRECISIONS = ("float32", "float16", "int8")


def plain_network():
    """Light-SERNet of Keras' own layers; papers.md, section 3.2."""
    layers = keras.layers

    def block(x, filters, kernel, pool, bias=False):
        x = layers.Conv2D(filters, kernel, padding="same", use_bias=bias)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        if pool is None:
            return x
        return layers.AveragePooling2D(pool, padding="same")(x)

    inputs = keras.Input((184, 40, 1))
    paths = [
        block(inputs, 32, kernel, (2, 2), bias=True)
        for kernel in ((11, 1), (1, 9), (3, 3))
    ]
    x = layers.Concatenate()(paths)
    for filters, kernel, pool in (
        (64, 3, (2, 2)),
        (96, 3, (2, 2)),
        (128, 3, (2, 1)),
        (160, 3, (2, 1)),
        (320, 1, None),
    ):
        x = block(x, filters, kernel, pool)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def runner(content, x):
    """A function that runs a LiteRT file once, on one thread."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    first = interpreter.get_input_details()[0]["index"]
    last = interpreter.get_output_details()[0]["index"]

    def run():
        interpreter.set_tensor(first, x)
        interpreter.invoke()
        return interpreter.get_tensor(last)

    return run


def convert(layer, shape):
    """Bytes of the LiteRT file of a Keras layer."""
    concrete = tf.function(layer, autograph=False).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete], tf.Module()
    )
    return converter.convert()


def alternate(contenders, rounds):
    """Median and least milliseconds of each; all run once in every round."""
    times = {name: [] for name in contenders}
    for round_ in range(rounds + 3):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if round_ >= 3:  # The first ones warm up.
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: (statistics.median(t), min(t)) for name, t in times.items()}


def stream_share(path, seconds):
    """CPU seconds that a second of a stream takes."""
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype("float32")
    recognizer = StreamingRecognizer(load_litert(path), hop=1.0)
    list(recognizer.stream([noise] * 5))
    start = time.process_time()
    updates = list(recognizer.stream(noise for _ in range(seconds)))
    share = (time.process_time() - start) / seconds
    assert len(updates) == seconds - SECONDS + 1
    return share


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--stream-seconds", type=int, default=120)
    add_record_argument(parser)
    arguments = parser.parse_args()
    network = plain_network()
    if arguments.model is not None:
        network = load_model(arguments.model, compile=False)
    frontend = MFCC.light_sernet()
    model = with_frontend(network, frontend)
    rng = np.random.default_rng(0)
    clips = rng.normal(0, 0.1, (8, SECONDS * RATE)).astype("float32")
    features = model.preprocessor(clips[:1]).numpy()
    classes = network(features[..., None]).shape[-1]
    labels = [f"class {i}" for i in range(classes)]
    wave = clips[:1]
    folder = pathlib.Path(tempfile.mkdtemp())
    sizes, contenders, errors = {}, {}, {}
    for inputs, x in (("features", features), ("waveform", wave)):
        for precision in PRECISIONS:
            path = export_litert(
                model,
                folder / f"{inputs}_{precision}.tflite",
                labels,
                inputs=inputs,
                precision=precision,
                representative=clips,
            )
            key = inputs, precision
            contenders[key] = runner(path.read_bytes(), x)
            sizes[key] = path.stat().st_size
            expected = model(wave)["probabilities"].numpy()
            errors[key] = np.abs(contenders[key]() - expected).max()
    for name, layer in (
        ("front end, FFT", frontend),
        ("front end, matrix products", frontend.without_fft()),
    ):
        content = convert(layer, wave.shape)
        contenders[name] = runner(content, wave)
        sizes[name] = len(content)
        expected = frontend(wave).numpy()
        errors[name] = np.abs(contenders[name]() - expected).max()
    times = alternate(contenders, arguments.rounds)
    print(f"{'':28s}{'median ms':>10s}{'least ms':>10s}{'bytes':>11s}", end="")
    print(f"{'from Keras':>12s}")
    rows = []
    for key, (median, least) in times.items():
        name = key if isinstance(key, str) else ", ".join(key)
        rows += [
            measurement(name, "clip of 3 s, median", median, "ms"),
            measurement(name, "clip of 3 s, least", least, "ms"),
            measurement(name, "file", sizes[key], "bytes"),
        ]
        print(f"{name:28s}{median:10.2f}{least:10.2f}", end="")
        print(f"{sizes[key]:11d}{errors[key]:12.1e}")
    for precision in PRECISIONS:
        path = folder / f"waveform_{precision}.tflite"
        share = stream_share(path, arguments.stream_seconds)
        print(
            f"stream at a 1-s hop, {precision}: {100 * share:.2f} % of a core"
        )
        name, quantity = f"waveform, {precision}", "stream, hop of 1 s"
        rows.append(measurement(name, quantity, 100 * share, "% of a core"))
    record(arguments, rows)


if __name__ == "__main__":
    main()
