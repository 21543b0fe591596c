r"""What Light-SERNet loses when it gets smaller: a curve to choose from.

    python benchmarks/light_sernet_sizes.py --data-dir EMODB --jobs 2

trains every size on five groups of two EMO-DB speakers (our schedule, the last
epoch kept, so that nothing is chosen on anybody), writes its LiteRT files, and
prints UAR with its interval over speakers beside parameters,
multiply-accumulates of a 3-s clip, bytes of the files (waveform in), and
milliseconds of a clip on one thread, features in and waveform in. The latencies
of all sizes are taken in turns. Writes `sizes.md` and `sizes.png`. What is
finished is not trained again.
"""

import argparse
import json
import pathlib

import litert_files
import numpy as np
from matplotlib.figure import Figure
from recording import add_record_argument
from recording import measurement
from recording import record

import ser_keras as ser
from ser_keras.export.litert.export import export_litert
from ser_keras.models.complexity import count_macs
from ser_keras.reports.figures import tidy
from ser_keras.training.run_folder import fold_paths

# Width, and whether the blocks' convolutions are depthwise-separable.
SIZES = {
    "1": (1.0, False),
    "0.75": (0.75, False),
    "0.5": (0.5, False),
    "0.25": (0.25, False),
    "1, separable": (1.0, True),
    "0.5, separable": (0.5, True),
}
PRECISIONS = ("float32", "int8")


def train(name, arguments):
    """`result.json` of a size, and the folder of its run."""
    width, separable = SIZES[name]
    folder = pathlib.Path(arguments.output_dir) / name.replace(", ", "_")
    config = ser.experiments.LightSERNetConfig(
        output_dir=str(folder),
        export_dir=str(folder / "saved_model"),
        cache_dir=arguments.cache_dir,
        fold=0,
        held_out_speakers=0,
        width=width,
        separable=separable,
        epochs=arguments.epochs,
        speed_range=arguments.speed_range,
        seed=arguments.seed,
        jobs=arguments.jobs,
        final=False,
    )
    corpus = ser.load_corpus("emodb", arguments.data_dir)
    folds = ser.get_protocol("emodb-pairs").folds(corpus)
    result = ser.experiments.run_experiment(config, folds)
    return result, fold_paths(folder, result["folds"])[folds[0].name]


def contenders(folder):
    """Runs of a clip through a size's files, by form and precision."""
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 0.1, (1, 3 * litert_files.RATE)).astype("float32")
    network = ser.load_model(folder / "network.keras", compile=False)
    preprocessor = ser.features.load_preprocessor(folder.parents[1])
    features = preprocessor(wave).numpy()
    labels = [f"class {i}" for i in range(network.num_classes)]
    found = {}
    for precision in PRECISIONS:
        file = folder / f"features_{precision}.tflite"
        if not file.exists():
            export_litert(
                network,
                file,
                labels,
                preprocessor,
                inputs="features",
                precision=precision,
                representative=wave,
                duration=3.0,
            )
        found["features", precision] = litert_files.runner(
            file.read_bytes(), features
        )
        found["waveform", precision] = litert_files.runner(
            (folder / f"{precision}.tflite").read_bytes(), wave
        )
    return count_macs(network, (184, 40, 1)), found


def table(rows):
    """Markdown, one line for each size."""
    lines = [
        "| width | UAR (95 % interval) | of its int8 file | parameters | "
        "million MACs | kB float32, int8 | ms float32: features, waveform in | "
        "ms int8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        low, high = row["interval"]
        ms = row["milliseconds"]
        lines.append(
            f"| {name} | {row['uar']:.3f} ({low:.3f} to {high:.3f}) | "
            f"{row['uar_int8']:.3f} | {row['parameters']} | "
            f"{row['macs'] / 1e6:.1f} | "
            f"{row['bytes']['float32'] / 1e3:.0f}, "
            f"{row['bytes']['int8'] / 1e3:.0f} | "
            f"{ms['features float32']:.1f}, {ms['waveform float32']:.1f} | "
            f"{ms['features int8']:.1f}, {ms['waveform int8']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def measured(name, row):
    """Measurements of one size, for a record."""
    of = f"width {name}"
    yield measurement(of, "UAR", row["uar"], "", row["interval"])
    yield measurement(of, "UAR of the int8 file", row["uar_int8"], "")
    yield measurement(of, "parameters", row["parameters"], "")
    million = row["macs"] / 1e6
    yield measurement(of, "multiply-accumulates", million, "million")
    for precision, size in row["bytes"].items():
        yield measurement(of, f"{precision} file", size, "bytes")
    for form, value in row["milliseconds"].items():
        yield measurement(of, f"{form}, least", value, "ms")


def plot(rows, path):
    """UAR over parameters and over latency."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, value, label in (
        (axes[0], lambda r: r["parameters"], "parameters"),
        (
            axes[1],
            lambda r: r["milliseconds"]["waveform float32"],
            "ms a clip of 3 s, float32, waveform in",
        ),
    ):
        for name, row in rows.items():
            low, high = row["interval"]
            colour = "#D55E00" if "separable" in name else "#0072B2"
            axis.errorbar(
                value(row),
                row["uar"],
                [[row["uar"] - low], [high - row["uar"]]],
                fmt="o",
                color=colour,
                capsize=3,
            )
            axis.annotate(
                name,
                (value(row), row["uar"]),
                (5, 4),
                textcoords="offset points",
                fontsize=9,
                color=colour,
            )
        tidy(axis, label, "UAR" if axis is axes[0] else "")
        axis.margins(x=0.15)
    axes[0].set_xscale("log")
    axes[0].set_xticks([3e4, 1e5, 3e5], ["30 k", "100 k", "300 k"])
    axes[0].minorticks_off()
    figure.savefig(path, dpi=150)


def main():
    """Trains, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="EMO-DB")
    parser.add_argument("--only", nargs="+", choices=SIZES)
    parser.add_argument("--epochs", type=int, help="default: the schedule's")
    parser.add_argument("--speed-range", type=float, help="likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--output-dir", default="results/light_sernet_sizes")
    parser.add_argument("--cache-dir", default=".cache/features")
    add_record_argument(parser)
    arguments = parser.parse_args()
    rows, runs = {}, {}
    for name in arguments.only or SIZES:
        result, folder = train(name, arguments)
        macs, found = contenders(folder)
        runs |= {(name, *key): run for key, run in found.items()}
        files = result["litert"]
        rows[name] = {
            "uar": result["scores"]["uar"],
            "interval": result["uar_interval_95"],
            "uar_int8": files["int8"]["uar"],
            "parameters": result["parameters"],
            "macs": macs,
            "bytes": {p: files[p]["bytes"] for p in PRECISIONS},
        }
    times = litert_files.alternate(runs, arguments.rounds)
    for name, row in rows.items():
        row["milliseconds"] = {
            f"{form} {precision}": times[name, form, precision][1]
            for form in ("features", "waveform")
            for precision in PRECISIONS
        }
    output = pathlib.Path(arguments.output_dir)
    (output / "sizes.json").write_text(json.dumps(rows, indent=1))
    (output / "sizes.md").write_text(table(rows))
    plot(rows, output / "sizes.png")
    print(table(rows))
    record(arguments, [m for name in rows for m in measured(name, rows[name])])


if __name__ == "__main__":
    main()
