"""Light-SERNet on RAVDESS: train, score every actor, export.

    python recipes/ravdess_light_sernet.py --data-dir /corpora/ravdess

scores six groups of four actors, as is common, each with a network that never
heard them; `--protocol leave-one-speaker-out` each actor.
Light-SERNet's paper has no figure for RAVDESS.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.LightSERNetConfig):
    """Light-SERNet on RAVDESS, leave four actors or one actor out."""

    output_dir: str = "results/ravdess_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""
    held_out_speakers: int = 2
    """Training speakers of each fold who choose its epoch; 0 trains on all
    and keeps the last epoch. Not of `--protocol published`."""


def main(config: Config):
    """Runs the recipe."""
    ser.run_experiment(ser.experiments.on_corpus(config, "ravdess"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
