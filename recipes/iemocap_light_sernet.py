"""Light-SERNet on IEMOCAP: train, score every session, export.

    python recipes/iemocap_light_sernet.py --data-dir /corpora/IEMOCAP

scores each of the five sessions with a network that never heard its speakers;
`--protocol leave-one-speaker-out` each of the ten speakers.
Published are clips of 3 and of 7 s (`--duration 7`), of all dialogues and of
the improvised ones (`--scripts improvised --no-merge-excited`).

Without `--data-dir` it runs on the built-in synthetic corpus.
"""

import dataclasses

import ser_keras as ser
from ser_keras.cli.corpus_options import on_corpus
from ser_keras.cli.light_sernet import TrainLightSERNetConfig
from ser_keras.cli.light_sernet import train_light_sernet


@dataclasses.dataclass(frozen=True)
class Config(TrainLightSERNetConfig):
    """Light-SERNet on IEMOCAP, leave one session or one speaker out."""

    output_dir: str = "results/iemocap_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""


def main(config: Config):
    """Runs the recipe."""
    train_light_sernet(on_corpus(config, "iemocap"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
