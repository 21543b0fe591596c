"""Light-SERNet on RAVDESS: train, score every actor, export.

    python recipes/ravdess_light_sernet.py --data-dir /corpora/ravdess

scores six groups of four actors, each with a network that never heard them.
Light-SERNet's paper has no figure for RAVDESS.
"""

import dataclasses
import typing

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.LightSERNetConfig):
    """Light-SERNet on RAVDESS, leave four actors or one actor out."""

    output_dir: str = "results/ravdess_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""
    hold_out: typing.Literal["group", "speaker"] = "group"
    """What a fold of `--protocol speaker-independent` tests: four consecutive
    actors, as is common, or one."""
    held_out_speakers: int = 2
    """Training speakers of each fold who choose its epoch; 0 trains on all
    and keeps the last epoch. Not of `--protocol published`."""


def main(config: Config):
    """Runs the recipe."""
    if config.data_dir:
        corpus = ser.load_corpus("ravdess", config.data_dir)
    else:
        root = ser.built_in_corpus(smoke=config.smoke)
        corpus = ser.load_corpus("iemocap", root)
    print(corpus.describe())
    if config.protocol == "published":
        folds = ser.get_protocol(
            "random-folds", number=config.random_folds, seed=config.seed
        ).folds(corpus)
    elif config.hold_out == "group":
        groups = min(6, len(corpus.speakers) // 2)
        folds = ser.get_protocol(f"speaker-groups-{groups}").folds(corpus)
    else:
        folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    ser.run_light_sernet(config, folds)


if __name__ == "__main__":
    ser.cli.run(main, Config)
