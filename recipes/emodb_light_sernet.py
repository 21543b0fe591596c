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
class Config(ser.LightSERNetConfig):
    """Light-SERNet on EMO-DB, leave one speaker out."""

    output_dir: str = "results/emodb_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""


def main(config: Config):
    """Runs the recipe."""
    if config.data_dir:
        corpus = ser.load_corpus("emodb", config.data_dir)
    else:
        root = ser.built_in_corpus(smoke=config.smoke)
        corpus = ser.load_corpus("iemocap", root)
    print(corpus.describe())
    if config.protocol == "published":
        folds = ser.get_protocol(
            "random-folds", number=config.random_folds, seed=config.seed
        ).folds(corpus)
    else:
        folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    ser.run_light_sernet(config, folds)


if __name__ == "__main__":
    ser.cli.run(main, Config)
