"""Which corpus a run works on, and how it is divided."""

import dataclasses
import difflib
import pathlib
import typing
from collections.abc import Sequence
from typing import Any

from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus
from ser_keras.experiments.options import Options
from ser_keras.protocols.protocol import PROTOCOLS
from ser_keras.protocols.protocol import Protocol
from ser_keras.protocols.protocol import SpeakerGroups
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_classes

_USUAL = ("", "speaker-independent")
#: What `--protocol` takes beside the protocols that have a name of their own.
OF_OPTIONS = {
    "speaker-independent": "what is usual for the corpus, the default",
    "speaker-groups": "as many groups of consecutive speakers as --groups says",
    "speaker-groups-N": "N groups of consecutive speakers",
    "published": "as the paper of Light-SERNet: random folds, which OVERSTATE "
    "(`ser_keras train light_sernet`)",
}


@dataclasses.dataclass(frozen=True)
class CorpusOptions(Options):
    """Corpus and protocol."""

    corpus: str = ""
    """Name of the corpus in `--data-dir`, such as emodb; `ser_keras corpora
    list` has all. The built-in corpus needs none."""
    data_dir: str = ""
    """Folder of the corpus. Without it the built-in corpus is used: the four
    classes of EMO-DB, German acted speech, that IEMOCAP has as well."""
    protocol: str = ""
    """Name of the protocol; `ser_keras corpora list` has all. Default: what
    is usual for the corpus, with no speaker in training and test: the
    release's own partitions (MSP-Podcast), sessions, speakers where there are
    up to twelve, or six groups of speakers; five pairs of the built-in
    corpus' speakers. `speaker-groups` is as many
    groups of consecutive speakers as `--groups` says."""
    groups: int = 5
    """Groups of `--protocol speaker-groups`: 5 pairs of EMO-DB, 6 fours of
    RAVDESS."""
    fold: int = 1
    """Number of the fold to run; 0 runs all folds."""
    scripts: typing.Literal["all", "improvised", "scripted"] = "all"
    """Dialogues of IEMOCAP to use."""
    merge_excited: bool = True
    """Count IEMOCAP's excited as happy."""
    skip_bad_audio: bool = False
    """Leave out files that cannot be used, and count them, instead of
    stopping."""

    def __post_init__(self):
        super().__post_init__()
        if self.protocol.startswith("speaker-groups-"):
            get_protocol(self.protocol)  # Tells what is wrong with the number.
            return
        known = (*_USUAL, "speaker-groups", *PROTOCOLS)
        if hasattr(self, "random_folds"):
            known = (*known, "published")
        check_name("protocol", self.protocol, known)


def check_name(option: str, value: str, known: Sequence[str]) -> None:
    """Raises `ValueError` unless a name is one of those that are known."""
    if value in known:
        return
    likely = difflib.get_close_matches(value, filter(None, known), 1)
    raise ValueError(
        f"`{option}` must be one of {', '.join(filter(None, known))}. "
        f"Received: {option}={value!r}"
        + (f". Did you mean {likely[0]}?" if likely else "")
    )


def check_corpus(config: Any) -> None:
    """Raises an error if there is no such corpus or folder.

    Raises:
        ValueError: No corpus has the name that `config` gives.
        FileNotFoundError: There is no such folder.
    """
    check_name("corpus", config.corpus, ("", *corpus_names()))
    if config.data_dir and not pathlib.Path(config.data_dir).exists():
        raise FileNotFoundError(
            f"{config.data_dir}: no such folder. --data-dir is the folder of "
            "the corpus"
        )


def check_together(config: Any, *names: str) -> None:
    """Raises `ValueError` unless all or none of these fields are given."""
    given = {name: getattr(config, name) for name in names}
    if any(given.values()) and not all(given.values()):
        received = ", ".join(f"{k}={v!r}" for k, v in given.items())
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in names)} must be given "
            f"together. Received: {received}"
        )


def read_corpus(config: Any) -> Manifest:
    """Reads the corpus that `CorpusOptions` name, or the built-in one.

    Raises:
        CorpusError: The folder does not have the corpus' layout.
        ValueError: A corpus without its folder, or the other way round.
    """
    if bool(config.corpus) != bool(config.data_dir):
        raise ValueError(
            "--corpus and --data-dir must be given together, or neither for "
            "the built-in corpus. Received: "
            f"corpus={config.corpus!r}, data_dir={config.data_dir!r}"
        )
    name, root = config.corpus, config.data_dir
    if not name:
        name, root = "emodb", built_in_corpus(smoke=config.smoke)
        print(
            "NO --data-dir: the built-in corpus is used, four classes of "
            "EMO-DB. That is German speech, acted by ten people, and not "
            "IEMOCAP."
        )
    options = {}
    if name == "iemocap":
        options = {
            "scripts": config.scripts,
            "merge_excited": config.merge_excited,
        }
    corpus = load_corpus(name, root, **options)
    print(corpus.describe(), flush=True)
    return corpus


def on_corpus(config: Any, name: str) -> Any:
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


def protocol_for(config: Any, corpus: Any) -> Protocol:
    """The protocol that `--protocol` names, or the usual one of a corpus.

    Raises:
        ValueError: There is no protocol of that name.
    """
    # As the paper's code of Light-SERNet.
    if config.protocol == "published" and hasattr(config, "random_folds"):
        return get_protocol(
            "random-folds", number=config.random_folds, seed=config.seed
        )
    if config.protocol == "speaker-groups":
        return SpeakerGroups(config.groups)
    if config.protocol not in _USUAL:
        return get_protocol(config.protocol)
    if not config.data_dir:  # The built-in corpus: pairs of its ten speakers.
        return SpeakerGroups(config.groups)
    if {"train", "test1"} <= {u.partition for u in corpus}:
        return get_protocol("partitions")
    if len(corpus.sessions) > 1:
        return get_protocol("leave-one-session-out")
    if len(corpus.speakers) <= 12:
        return get_protocol("leave-one-speaker-out")
    return get_protocol("speaker-groups-6")


def make_folds(config: Any, corpus: Manifest) -> list[Fold]:
    """All folds that `--protocol` asks for."""
    return protocol_for(config, corpus).folds(corpus)


def chosen_folds(folds: list[Fold], number: int) -> list[Fold]:
    """The fold of a number, from 1 on, as a list; all folds for 0.

    Raises:
        ValueError: There is no such fold, or one lacks a class in training.
    """
    if not 0 <= number <= len(folds):
        names = ", ".join(
            f"{i} ({fold.name})" for i, fold in enumerate(folds, start=1)
        )
        raise ValueError(
            f"`fold` must be one of {names}, or 0 for all. Received: "
            f"fold={number}"
        )
    folds = folds if number == 0 else [folds[number - 1]]
    for fold in folds:
        check_classes(fold)
    return folds


def all_utterances(folds: Sequence[Fold]) -> Manifest:
    """All utterances of the folds, each once."""
    utterances = {
        utterance.id: utterance
        for fold in folds
        for part in (fold.train, fold.test)
        for utterance in part
    }
    return Manifest(list(utterances.values()), folds[0].train.labels)
