"""emoDARTS on IEMOCAP: search, derive, train, score one session, export.

    python recipes/iemocap_emodarts.py --data-dir /corpora/IEMOCAP_full_release

Without `--data-dir` it runs on the built-in synthetic corpus.
"""

import dataclasses

import ser_keras as ser
from ser_keras.cli.corpus_options import on_corpus
from ser_keras.cli.experiments import TrainEmoDARTSConfig
from ser_keras.cli.experiments import train_emodarts


@dataclasses.dataclass(frozen=True)
class Config(TrainEmoDARTSConfig):
    """emoDARTS on IEMOCAP, leave one session out."""

    output_dir: str = "results/iemocap_emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    search_epochs: int = 10
    """Epochs of the search."""
    search_warm_up_epochs: int = 2
    """Epochs of the search in which the architecture stands still."""
    train_epochs: int = 30
    """Epochs of the derived network's training."""


def main(config: Config):
    """Runs the recipe."""
    train_emodarts(on_corpus(config, "iemocap"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
