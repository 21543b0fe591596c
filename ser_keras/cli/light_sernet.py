"""`ser_keras train light_sernet`; apart, as LiteRT takes long to import."""

import dataclasses

from ser_keras.cli.command import Command
from ser_keras.cli.corpus_options import CorpusOptions
from ser_keras.cli.corpus_options import check_together
from ser_keras.cli.corpus_options import make_folds
from ser_keras.cli.corpus_options import read_corpus
from ser_keras.cli.experiments import show_training
from ser_keras.cli.experiments import with_folder
from ser_keras.corpora.parsers import load_corpus
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.light_sernet import run_light_sernet


@dataclasses.dataclass(frozen=True)
class TrainLightSERNetConfig(CorpusOptions, LightSERNetConfig):
    """Train and score Light-SERNet, and export it.

    A field whose default is null has one value in each schedule.
    """

    protocol: str = "speaker-independent"
    """Name of the protocol; `ser_keras corpora list` has all.
    `speaker-independent` is what is usual for the corpus: sessions, speakers
    where there are up to twelve, or six groups. `published` is random folds
    with the epoch picked on the test part, which OVERSTATES by far."""
    pretrain_corpus: str = ""
    """Name of another corpus, whose classes the network learns first; each
    fold then starts from there."""
    pretrain_dir: str = ""
    """Folder of `--pretrain-corpus`."""

    def __post_init__(self):
        super().__post_init__()
        check_together(self, "pretrain_corpus", "pretrain_dir")


def train_light_sernet(config):
    """Runs the experiment; what `result.json` holds."""
    folds = make_folds(config, read_corpus(config))
    others = None
    if config.pretrain_corpus:
        others = load_corpus(config.pretrain_corpus, config.pretrain_dir)
    return with_folder(config, run_light_sernet(config, folds, others))


TRAIN_LIGHT_SERNET = Command(
    TrainLightSERNetConfig, train_light_sernet, show_training
)
