r"""Which settings train a network best: on RAVDESS, so not on EMO-DB.

    python benchmarks/training_settings.py light_sernet --data-dir RAVDESS
    python benchmarks/training_settings.py emodarts --data-dir RAVDESS \
        --only default

Actors 1 to 10 train, 11 to 18 test; each variant takes 4 to 7 minutes on two
idle cores. `docs/results.md` has what it gave. What is finished is not run
again.
"""

import argparse
import pathlib

from recording import add_record_argument
from recording import measurement
from recording import record

import ser_keras as ser
from ser_keras.protocols.splits import Fold

STRONG = {
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.02,
    "l2": 0.0,
    "norm_momentum": 0.9,
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "ema_momentum": 0.98,
    "speed_range": 0.1,
    "noise": 0.1,
    "time_masks": 2,
    "feature_masks": 2,
}
WHOLE = {**STRONG, "clips": "whole", "time_stretch": 1.25}
VARIANTS = {
    "light_sernet": {
        "plain": {},
        "whole": {"clips": "whole"},
        "light": {"speed_range": 0.1, "time_masks": 1, "feature_masks": 1},
        "half": {"width": 0.5, "norm_momentum": 0.95},
        "half-speeds": {
            "width": 0.5,
            "norm_momentum": 0.95,
            "speed_range": 0.1,
        },
        "strong": STRONG,
        "strong-whole": WHOLE,
        "strong-whole-log-mel": {
            **WHOLE,
            "features": "log_mel",
            "normalization": "clip",
            "frequency_warp": 1.1,
        },
    },
    "emodarts": {
        "default": {},
        "one-speed": {"speed_range": 0.0},
        "recurrent-32": {"recurrent_filters": 32},
        "recurrent-16": {"recurrent_filters": 16},
        "log-mel": {"features": "log_mel", "num_features": 64},
        "whole": {"clips": "whole"},
    },
}
GENOTYPE = pathlib.Path(__file__).parents[1] / "recipes/genotypes/ravdess.json"


def run(model, settings, fold, folder, epochs):
    """What `result.json` of a run with these settings holds."""
    common = {
        "output_dir": str(folder),
        "export_dir": str(folder / "saved_model"),
        "fold": 1,
        "held_out_speakers": 0,
    }
    if model == "light_sernet":
        # The momentum that the table was made with.
        settings = {"norm_momentum": 0.99} | settings
        config = ser.experiments.LightSERNetConfig(
            litert=False, epochs=epochs, **common, **settings
        )
        return ser.experiments.run_experiment(config, [fold])
    # A copy without the record of the audio that its search was exposed to,
    # which is of these very speakers: that matters little where only trainings
    # are compared.
    genotype = folder.parent / "genotype.json"
    genotype.parent.mkdir(parents=True, exist_ok=True)
    genotype.write_text(GENOTYPE.read_text())
    settings = {"genotype": str(genotype)} | settings
    config = ser.experiments.EmoDARTSConfig(
        train_epochs=epochs, **common, **settings
    )
    return ser.experiments.run_experiment(config, [fold])


def main():
    """Trains the variants and prints their scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=VARIANTS)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--only", nargs="+", help="variants by name")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--output-dir", default="results/training_settings")
    add_record_argument(parser)
    arguments = parser.parse_args()
    variants = VARIANTS[arguments.model]
    names = arguments.only or list(variants)
    if not set(names) <= set(variants):
        parser.error(f"--only must be some of {', '.join(variants)}")
    corpus = ser.load_corpus("ravdess", arguments.data_dir)
    actors = corpus.speakers
    fold = Fold(
        "11-18",
        corpus.select(speakers=actors[:10]),
        corpus.select(speakers=actors[10:18]),
    )
    rows = []
    for name in names:
        folder = pathlib.Path(arguments.output_dir) / arguments.model / name
        result = run(
            arguments.model, variants[name], fold, folder, arguments.epochs
        )
        scores = result["scores"]
        print(f"{name}: UAR {scores['uar']:.3f}, WA {scores['wa']:.3f}")
        rows += [
            measurement(name, "UAR", scores["uar"], ""),
            measurement(name, "WA", scores["wa"], ""),
        ]
    record(arguments, rows)


if __name__ == "__main__":
    main()
