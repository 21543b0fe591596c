"""LiteRT files of a run: bytes, latency and scores, also of altered speech.

Each fold's network is exported with weights of 8 bits (or `--precision`) for
clips of each length, and scored on its own test speakers: as recorded, at 8
kHz, after MP3, and in white noise at -50 dB of full scale. Latency is that of
one thread, waveform in, of the network that was trained on all speakers, or of
the last fold's.

    python benchmarks/device_model.py results/encoder --seconds 3 6
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np
from recording import add_record_argument
from recording import measurement
from recording import record

from ser_keras import load_litert
from ser_keras.audio import load_audio
from ser_keras.audio.alterations import BandLimit
from ser_keras.audio.alterations import Codec
from ser_keras.audio.alterations import Noise
from ser_keras.corpora import Manifest
from ser_keras.evaluation import Predictions
from ser_keras.evaluation import score
from ser_keras.export import export_litert
from ser_keras.export.run import load_network
from ser_keras.training.run_folder import fold_paths

CONDITIONS = {
    "as recorded": None,
    "8 kHz": BandLimit(8000),
    "MP3": Codec("mp3"),
    "noise at -50 dBFS": Noise(level=-50),
}
REPETITIONS = 100


def export(run, fold, seconds, precision, file):
    """Writes a network of a run, and reads the file."""
    trained = load_network(run, fold)
    export_litert(
        trained.network,
        file,
        trained.labels,
        trained.preprocessor,
        precision=precision,
        duration=seconds,
        temperature=trained.temperature,
    )
    return load_litert(file)


def latency(model):
    """Milliseconds of each repetition."""
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 0.05, model.samples).astype("float32")
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        model(clip)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main():
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--seconds", type=float, nargs="+", default=[3.0])
    parser.add_argument("--precision", default="int8_weights")
    add_record_argument(parser)
    options = parser.parse_args()
    run = pathlib.Path(options.run)
    utterances = {u.id: u for u in Manifest.load(run / "utterances.jsonl")}
    folds = json.loads((run / "result.json").read_text())["folds"]
    rows = []

    def found(of, quantity, value, unit, spread=None):
        rows.append(measurement(of, quantity, value, unit, spread))
        print(f"{of}: {quantity}: {value:.4g} {unit}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "model.tflite")
        for seconds in options.seconds:
            of = f"{seconds:g} s of each clip"
            model = export(run, "", seconds, options.precision, file)
            found(of, "file", file.stat().st_size / 1e6, "MB")
            times = latency(model)
            middle = statistics.median(times)
            found(of, "latency", middle, "ms", (min(times), max(times)))
            parts = {name: [] for name in CONDITIONS}
            for name, fold in fold_paths(run, folds).items():
                model = export(run, name, seconds, options.precision, file)
                ids = Predictions.load_csv(fold / "predictions.csv").ids
                test = Manifest([utterances[i] for i in ids], model.labels)
                clips = [load_audio(u.path, model.sample_rate) for u in test]
                for name, alteration in CONDITIONS.items():
                    altered = clips
                    if alteration is not None:
                        altered = [
                            alteration.of_clip(x, model.sample_rate, u.id)
                            for x, u in zip(clips, test, strict=True)
                        ]
                    answers = model(altered)["probabilities"]
                    parts[name].append(Predictions.of(test, answers))
            for name, some in parts.items():
                uar = score(Predictions.concatenate(some)).uar
                found(of, f"UAR, {name}", uar, "")
    record(options, rows)


if __name__ == "__main__":
    main()
