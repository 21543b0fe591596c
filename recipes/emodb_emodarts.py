"""emoDARTS on EMO-DB: search, derive, train, score unseen speakers, export.

    python recipes/emodb_emodarts.py --data-dir /corpora/emodb

searches on the training speakers of one fold and scores its test speakers.

    python recipes/emodb_emodarts.py --data-dir /corpora/emodb \
        --search-dir /corpora/ravdess --protocol leave-one-speaker-out --fold 0

searches once, on RAVDESS, whose speakers are in no fold of EMO-DB, and scores
every speaker.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.EmoDARTSConfig):
    """emoDARTS on EMO-DB."""

    output_dir: str = "results/emodb_emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    protocol: str = "speaker-groups-5"
    """Name of the protocol: five groups of two speakers, or ten speakers with
    `leave-one-speaker-out`; `ser_keras corpora list` has all."""
    search_dir: str = ""
    """Folder of `--search-corpus`, by default of RAVDESS, to search on it
    instead of on each fold's training speakers."""

    def __post_init__(self):
        if self.search_dir and not self.search_corpus:
            object.__setattr__(self, "search_corpus", "ravdess")
        super().__post_init__()


def main(config: Config):
    """Runs the recipe."""
    ser.run_experiment(ser.experiments.on_corpus(config, "emodb"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
