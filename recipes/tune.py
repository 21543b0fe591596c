"""Options of Light-SERNet, tuned on training speakers only.

    python recipes/tune.py --data-dir /corpora/emodb

tunes Light-SERNet on EMO-DB by the UAR of a training speaker who is held out,
then trains the best one and scores the test speaker of the fold, once.
`ser_keras tune SYSTEM` does the same of any system and corpus; its
`best_config.json` is a file for `ser_keras train SYSTEM --config`. Needs the
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
class Config(ser.experiments.tune_config_class("light_sernet")):
    """Tune Light-SERNet on the training speakers of a fold of EMO-DB."""

    output_dir: str = "results/emodb_tune"
    """Folder of this run. A run that was stopped goes on where it was."""


def main(config: Config):
    """Runs the recipe."""
    ser.experiments.run_tune(ser.experiments.on_corpus(config, "emodb"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
