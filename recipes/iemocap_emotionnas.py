"""Two streams on IEMOCAP: search, derive, train, score one session, export.

    python recipes/iemocap_emotionnas.py --deep-extractor yamnet.tflite \
        --data-dir /corpora/IEMOCAP_full_release \
        --deep-output tower0/network/layer28/reduce_mean

Without `--data-dir` it runs on the built-in corpus: German acted speech, the
four emotions of EMO-DB that IEMOCAP has as well. Its scores are not IEMOCAP's.
"""

import dataclasses

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.EmotionNASConfig):
    """Two streams on IEMOCAP, leave one session out."""

    output_dir: str = "results/iemocap_emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    search_epochs: int = 10
    """Epochs of the search."""
    train_epochs: int = 30
    """Epochs of the derived network's training."""


def main(config: Config):
    """Runs the recipe."""
    ser.run_experiment(ser.experiments.on_corpus(config, "iemocap"))


if __name__ == "__main__":
    ser.cli.run(main, Config)
