"""Light-SERNet on IEMOCAP: train, score every session, export.

    python recipes/iemocap_light_sernet.py --data-dir /corpora/IEMOCAP

scores each of the five sessions with a network that never heard its speakers;
`--protocol leave-one-speaker-out` each of the ten speakers.
Published are clips of 3 and of 7 s (`--duration 7`), of all dialogues and of
the improvised ones (`--scripts improvised --no-merge-excited`).

Without `--data-dir` it runs on the built-in corpus: German acted speech, the
four emotions of EMO-DB that IEMOCAP has as well. Its scores are not IEMOCAP's.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.LightSERNetConfig):
    """Light-SERNet on IEMOCAP, leave one session or one speaker out."""

    output_dir: str = "results/iemocap_light_sernet"
    """Folder of this run. A run that was stopped goes on where it was."""


def main(config: Config):
    """Runs the recipe."""
    ser.run_experiment(ser.experiments.on_corpus(config, "iemocap"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
