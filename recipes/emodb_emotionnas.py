"""Two streams on EMO-DB: search, derive, train, score unseen speakers, export.

    python recipes/emodb_emotionnas.py --data-dir /corpora/emodb \
        --deep-extractor yamnet.tflite \
        --deep-output tower0/network/layer28/reduce_mean --fold 0 --ablate

runs each stream alone, both with concatenation and both with the supplement on
five groups of two speakers, and writes one table.
"""

import dataclasses
import typing

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.EmotionNASConfig):
    """Two streams on EMO-DB, in the manner of EmotionNAS."""

    output_dir: str = "results/emodb_emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    protocol: typing.Literal["two-speaker-groups", "leave-one-speaker-out"] = (
        "two-speaker-groups"
    )
    """Folds: the five groups {03 08} {09 10} {11 13} {12 14} {15 16}, or ten
    speakers."""


def main(config: Config):
    """Runs the recipe."""
    if config.data_dir:
        corpus = ser.load_corpus("emodb", config.data_dir)
    else:
        root = ser.built_in_corpus(smoke=config.smoke)
        corpus = ser.load_corpus("iemocap", root)
    print(corpus.describe())
    if config.protocol == "two-speaker-groups":
        folds = ser.get_protocol("speaker-groups-5").folds(corpus)
    else:
        folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    ser.run_emotionnas(config, folds)


if __name__ == "__main__":
    ser.cli.run(main, Config)
