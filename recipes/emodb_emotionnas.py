"""Two streams on EMO-DB: search, derive, train, score unseen speakers, export.

    python recipes/emodb_emotionnas.py --data-dir /corpora/emodb \
        --deep-extractor yamnet.tflite \
        --deep-output tower0/network/layer28/reduce_mean --fold 0 --ablate

runs each stream alone, both with concatenation and both with the supplement on
five groups of two speakers, and writes one table.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.EmotionNASConfig):
    """Two streams on EMO-DB, in the manner of EmotionNAS."""

    output_dir: str = "results/emodb_emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    protocol: str = "speaker-groups-5"
    """Name of the protocol: the groups {03 08} {09 10} {11 13} {12 14} {15 16},
    or ten speakers with `leave-one-speaker-out`; `ser_keras corpora list` has
    all."""


def main(config: Config):
    """Runs the recipe."""
    ser.run_experiment(ser.experiments.on_corpus(config, "emodb"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
