"""Light-SERNet on EMO-DB: train, score every speaker, export.

    python recipes/emodb_light_sernet.py --data-dir /corpora/emodb

scores each of the ten speakers with a network that never heard them.

    python recipes/emodb_light_sernet.py --data-dir /corpora/emodb \
        --protocol published --output-dir results/emodb_light_sernet_published

repeats the published protocol, whose scores are far too high.
"""

import dataclasses

import ser_keras as ser
from ser_keras.cli.corpus_options import on_corpus
from ser_keras.cli.light_sernet import TrainLightSERNetConfig
from ser_keras.cli.light_sernet import train_light_sernet


@dataclasses.dataclass(frozen=True)
class Config(TrainLightSERNetConfig):
    """Light-SERNet on EMO-DB, leave one speaker out."""

    output_dir: str = "results/emodb_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""


def main(config: Config):
    """Runs the recipe."""
    train_light_sernet(on_corpus(config, "emodb"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
