"""Two streams on IEMOCAP: search, derive, train, score one session, export.

    python recipes/iemocap_emotionnas.py --deep-extractor yamnet.tflite \
        --data-dir /corpora/IEMOCAP_full_release \
        --deep-output tower0/network/layer28/reduce_mean

Without `--data-dir` it runs on the built-in synthetic corpus.
"""

import dataclasses
import typing

import ser_keras as ser


@dataclasses.dataclass(frozen=True)
class Config(ser.EmotionNASConfig):
    """Two streams on IEMOCAP, leave one session out."""

    output_dir: str = "results/iemocap_emotionnas"
    """Folder of this run. A run that was stopped goes on where it was."""
    search_epochs: int = 10
    """Epochs of the search."""
    train_epochs: int = 30
    """Epochs of the derived network's training."""
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
    folds = ser.get_protocol("leave-one-session-out").folds(corpus)
    ser.run_emotionnas(config, folds)


if __name__ == "__main__":
    ser.cli.run(main, Config)
