"""emoDARTS on EMO-DB: search, derive, train, score unseen speakers, export.

    python recipes/emodb_emodarts.py --data-dir /corpora/emodb

searches on the training speakers of one fold and scores its test speakers.

    python recipes/emodb_emodarts.py --data-dir /corpora/emodb \
        --search-dir /corpora/ravdess --protocol leave-one-speaker-out --fold 0

searches once, on RAVDESS, whose speakers are in no fold of EMO-DB, and scores
every speaker.
"""

import dataclasses
import typing

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.EmoDARTSConfig):
    """emoDARTS on EMO-DB."""

    output_dir: str = "results/emodb_emodarts"
    """Folder of this run. A run that was stopped goes on where it was."""
    protocol: typing.Literal["speaker-groups", "leave-one-speaker-out"] = (
        "speaker-groups"
    )
    """Folds: five groups of two speakers, or ten speakers."""
    search_dir: str = ""
    """Folder of RAVDESS, to search on it instead of on each fold's training
    speakers."""


def main(config: Config):
    """Runs the recipe."""
    if config.data_dir:
        corpus = ser.load_corpus("emodb", config.data_dir)
    else:
        root = ser.built_in_corpus(smoke=config.smoke)
        corpus = ser.load_corpus("iemocap", root)
    print(corpus.describe())
    if config.protocol == "speaker-groups":
        folds = ser.get_protocol("speaker-groups-5").folds(corpus)
    else:
        folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    search_corpus = None
    if config.search_dir:
        search_corpus = ser.load_corpus("ravdess", config.search_dir)
    ser.run_emodarts(config, folds, search_corpus)


if __name__ == "__main__":
    ser.cli.run(main, Config)
