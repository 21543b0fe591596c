"""Light-SERNet on IEMOCAP: train, score every session, export.

    python recipes/iemocap_light_sernet.py --data-dir /corpora/IEMOCAP

scores each of the five sessions with a network that never heard its speakers.
Published are clips of 3 and of 7 s (`--duration 7`), of all dialogues and of
the improvised ones (`--scripts improvised --no-merge-excited`).

Without `--data-dir` it runs on the built-in synthetic corpus.
"""

import dataclasses
import typing

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.LightSERNetConfig):
    """Light-SERNet on IEMOCAP, leave one session or one speaker out."""

    output_dir: str = "results/iemocap_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""
    hold_out: typing.Literal["session", "speaker"] = "session"
    """What a fold of `--protocol speaker-independent` tests."""
    scripts: typing.Literal["all", "improvised", "scripted"] = "all"
    """Which dialogues to use."""
    merge_excited: bool = True
    """Count excited as happy: 5 531 utterances of all dialogues."""


def main(config: Config):
    """Runs the recipe."""
    corpus = ser.load_corpus(
        "iemocap",
        config.data_dir or ser.built_in_corpus(smoke=config.smoke),
        scripts=config.scripts,
        merge_excited=config.merge_excited,
    )
    print(corpus.describe())
    if config.protocol == "published":
        folds = ser.get_protocol(
            "random-folds", number=config.random_folds, seed=config.seed
        ).folds(corpus)
    elif config.hold_out == "session":
        folds = ser.get_protocol("leave-one-session-out").folds(corpus)
    else:
        folds = ser.get_protocol("leave-one-speaker-out").folds(corpus)
    ser.run_light_sernet(config, folds)


if __name__ == "__main__":
    ser.cli.run(main, Config)
