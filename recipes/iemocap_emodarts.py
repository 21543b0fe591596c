"""emoDARTS on IEMOCAP: search, derive, train, score one session, export.

    python recipes/iemocap_emodarts.py --data-dir /corpora/IEMOCAP_full_release

Without `--data-dir` it runs on the built-in corpus: German acted speech, the
four emotions of EMO-DB that IEMOCAP has as well. Its scores are not IEMOCAP's.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.EmoDARTSConfig):
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
    ser.run_experiment(ser.experiments.on_corpus(config, "iemocap"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
