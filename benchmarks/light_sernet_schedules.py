"""Which settings train Light-SERNet best: on RAVDESS, so not on EMO-DB.

    python benchmarks/light_sernet_schedules.py --data-dir /corpora/ravdess
    python benchmarks/light_sernet_schedules.py --data-dir ... --only whole

Actors 1 to 10 train, 11 to 18 test; each variant takes about 4 minutes on two
idle cores. The README has what it gave. What is finished is not run again.
"""

import argparse
import pathlib

import ser_keras as ser
from ser_keras.data.splits import Fold

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
    "plain": {},
    "whole": {"clips": "whole"},
    "light": {"speed_range": 0.1, "time_masks": 1, "feature_masks": 1},
    "strong": STRONG,
    "strong-whole": WHOLE,
    "strong-whole-log-mel": {
        **WHOLE,
        "features": "log_mel",
        "normalization": "clip",
        "frequency_warp": 1.1,
    },
}


def main():
    """Trains the variants and prints their scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--output-dir", default="results/schedules")
    arguments = parser.parse_args()
    corpus = ser.load_corpus("ravdess", arguments.data_dir)
    actors = corpus.speakers
    fold = Fold(
        "11-18",
        corpus.select(speakers=actors[:10]),
        corpus.select(speakers=actors[10:18]),
    )
    for name in arguments.only:
        folder = pathlib.Path(arguments.output_dir) / name
        # The momentum that the table was made with.
        settings = {"norm_momentum": 0.99} | VARIANTS[name]
        config = ser.LightSERNetConfig(
            output_dir=str(folder),
            export_dir=str(folder / "saved_model"),
            fold=1,
            held_out_speakers=0,
            litert=False,
            epochs=arguments.epochs,
            **settings,
        )
        scores = ser.run_light_sernet(config, [fold])["scores"]
        print(f"{name}: UAR {scores['uar']:.3f}, WA {scores['wa']:.3f}")


if __name__ == "__main__":
    main()
