"""Light-SERNet on EMO-DB: train, score every speaker, export.

    python recipes/emodb_light_sernet.py --data-dir /corpora/emodb

scores each of the ten speakers with a network that never heard them.

    python recipes/emodb_light_sernet.py --data-dir /corpora/emodb \
        --protocol published --output-dir results/emodb_light_sernet_published

repeats the published protocol, whose scores are far too high.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.LightSERNetConfig):
    """Light-SERNet on EMO-DB, leave one speaker out."""

    output_dir: str = "results/emodb_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""


def main(config: Config):
    """Runs the recipe."""
    ser.run_experiment(ser.experiments.on_corpus(config, "emodb"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
