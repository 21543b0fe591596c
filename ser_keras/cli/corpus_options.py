"""Which corpus a command works on, and how it is divided."""

import dataclasses
import typing

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.synthetic import built_in_corpus
from ser_keras.protocols.protocol import Protocol
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import Fold

_USUAL = ("", "speaker-independent")


@dataclasses.dataclass(frozen=True)
class CorpusOptions:
    """The corpus of a run, and its protocol."""

    corpus: str = ""
    """Name of the corpus in `--data-dir`, such as emodb; `ser_keras corpora
    list` has all. The built-in corpus needs none."""
    protocol: str = ""
    """Name of the protocol; `ser_keras corpora list` has all. Default: what
    is usual for the corpus, with no speaker in training and test: the
    release's own partitions (MSP-Podcast), sessions, speakers where there are
    up to twelve, or six groups of speakers."""
    scripts: typing.Literal["all", "improvised", "scripted"] = "all"
    """Dialogues of IEMOCAP to use."""
    merge_excited: bool = True
    """Count IEMOCAP's excited as happy."""


def check_together(config, *names) -> None:
    """Raises `ValueError` unless all or none of these fields are given."""
    given = {name: getattr(config, name) for name in names}
    if any(given.values()) and not all(given.values()):
        received = ", ".join(f"{k}={v!r}" for k, v in given.items())
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in names)} must be given "
            f"together. Received: {received}"
        )


def read_corpus(config) -> Manifest:
    """The corpus that `CorpusOptions` name, or the built-in one."""
    if bool(config.corpus) != bool(config.data_dir):
        raise ValueError(
            "--corpus and --data-dir must be given together, or neither for "
            "the built-in corpus. Received: "
            f"corpus={config.corpus!r}, data_dir={config.data_dir!r}"
        )
    name = config.corpus or "iemocap"
    root = config.data_dir or built_in_corpus(smoke=config.smoke)
    options = {}
    if name == "iemocap":
        options = {
            "scripts": config.scripts,
            "merge_excited": config.merge_excited,
        }
    corpus = load_corpus(name, root, **options)
    print(corpus.describe(), flush=True)
    return corpus


def on_corpus(config, name):
    """A recipe's configuration, on its corpus or the built-in one.

    A recipe is a command with a corpus: each reads what the other has written.

    Args:
        config: With `CorpusOptions`.
        name: Name of the corpus, if there is a folder of it.

    Raises:
        ValueError: `config` names another one.
    """
    if config.corpus not in ("", name):
        raise ValueError(
            f"This recipe is for --corpus {name}; `ser_keras train` takes any. "
            f"Received: corpus={config.corpus!r}"
        )
    return dataclasses.replace(config, corpus=name if config.data_dir else "")


def make_folds(config, corpus) -> list[Fold]:
    """The folds that `--protocol` asks for."""
    return _protocol(config, corpus).folds(corpus)


def _protocol(config, corpus) -> Protocol:
    # As the paper's code of Light-SERNet.
    if config.protocol == "published" and hasattr(config, "random_folds"):
        return get_protocol(
            "random-folds", number=config.random_folds, seed=config.seed
        )
    if config.protocol not in _USUAL:
        return get_protocol(config.protocol)
    if {"train", "test1"} <= {u.partition for u in corpus}:
        return get_protocol("partitions")
    if len(corpus.sessions) > 1:
        return get_protocol("leave-one-session-out")
    if len(corpus.speakers) <= 12:
        return get_protocol("leave-one-speaker-out")
    return get_protocol("speaker-groups-6")
