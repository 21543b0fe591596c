"""Hyper-parameters and size of a network, tuned on training speakers only.

    python recipes/tune.py --corpus emodb --data-dir /corpora/emodb

tunes Light-SERNet by the UAR of a training speaker who is held out, then
trains the best one and scores the test speaker of the fold, once. Needs the
extra `ser_keras[tuner]`. Several processes share the trials:

    export KERASTUNER_ORACLE_IP=127.0.0.1 KERASTUNER_ORACLE_PORT=8000
    KERASTUNER_TUNER_ID=chief python recipes/tune.py ... &
    KERASTUNER_TUNER_ID=worker1 python recipes/tune.py ... &
    KERASTUNER_TUNER_ID=worker2 python recipes/tune.py ...

with the same arguments; the chief deals them out and then goes on.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.TuneConfig):
    """Tune a network on the training speakers of a fold."""

    corpus: str = "emodb"
    """Name of the corpus in `data_dir`; `ser_keras corpora list` has all."""


def main(config: Config):
    """Runs the recipe."""
    name, root = config.corpus, config.data_dir
    if not root:
        name, root = "iemocap", ser.corpora.built_in_corpus(smoke=config.smoke)
    corpus = ser.load_corpus(name, root)
    print(corpus.describe())
    folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    ser.experiments.run_tune(config, folds)


if __name__ == "__main__":
    ser.cli.run(main, Config)
