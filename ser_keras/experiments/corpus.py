"""Which corpus a run works on, and how it is divided."""

import collections
import dataclasses
import difflib
import pathlib
import typing
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.label_maps import LABEL_MAPS
from ser_keras.corpora.label_maps import combine_corpora
from ser_keras.corpora.label_maps import map_labels
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import CorpusWarning
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.reading import Reading
from ser_keras.corpora.spelling import emotion_of
from ser_keras.experiments.options import Options
from ser_keras.protocols.protocol import PROTOCOLS
from ser_keras.protocols.protocol import UNKNOWN
from ser_keras.protocols.protocol import CrossCorpus
from ser_keras.protocols.protocol import Protocol
from ser_keras.protocols.protocol import RandomFolds
from ser_keras.protocols.protocol import SpeakerGroups
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import check_classes

_USUAL = ("", "speaker-independent")
# Corpora that leave out some labels unless they are asked for.
_WITH_MORE_LABELS = ("iemocap", "msp_improv", "msp_podcast")
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
    columns: tuple[str, ...] = ()
    """Of a list (`--corpus manifest`): FIELD=COLUMN for columns of other names,
    such as path=recording label=mood."""
    label_map: tuple[str, ...] = ()
    """OLD=NEW for each label to rename, such as joy=happiness; or the name of
    a label map: 4, 6, 7, 8 or 8-contempt, which leaves out what it does not
    name."""
    labels: tuple[str, ...] = ()
    """Labels to use, in this order, after `--label-map`."""
    speakers: tuple[str, ...] = ()
    """Speakers to use, for a quick try. `unknown`, of a list that does not say
    who speaks: random folds, whose scores are no estimate for new speakers."""
    limit_per_class: int = 0
    """Most utterances of each class to use, for a quick try, as many of each
    speaker as can be; 0 uses all."""
    test_corpus: str = ""
    """Name of another corpus in `--test-data-dir`: train on all of `--corpus`,
    and test on this one, on the classes that both have."""
    test_data_dir: str = ""
    """Folder of that corpus."""

    def __post_init__(self):
        super().__post_init__()
        check_together(self, "test_corpus", "test_data_dir")
        if self.test_corpus and not self.corpus:
            raise ValueError(
                "--test-corpus needs another --corpus to train on. Received: "
                f"test_corpus={self.test_corpus!r}"
            )
        if self.columns and self.corpus != "manifest":
            raise ValueError(
                "--columns is for a list: --corpus manifest. Received: "
                f"corpus={self.corpus!r}"
            )
        pairs_of("columns", self.columns)
        check_label_map(self.label_map)
        if self.limit_per_class < 0:
            raise ValueError(
                "`limit_per_class` must be 0 or more. Received: "
                f"limit_per_class={self.limit_per_class}"
            )
        if self.protocol.startswith("speaker-groups-"):
            get_protocol(self.protocol)  # Tells what is wrong with the number.
            return
        known = (*_USUAL, "speaker-groups", *PROTOCOLS)
        if hasattr(self, "random_folds"):
            known = (*known, "published")
        check_name("protocol", self.protocol, known)

    @property
    def speakers_unknown(self) -> bool:
        """Whether the corpus is a list that does not say who speaks."""
        return self.corpus == "manifest" and self.speakers == ("unknown",)


def pairs_of(option: str, values: Sequence[str]) -> dict[str, str]:
    """Dict of values such as `("joy=happiness",)`.

    Args:
        option: Its name, for the message.
        values: What was given.

    Raises:
        ValueError: A value has another form.

    >>> pairs_of("label_map", ("joy=happiness",))
    {'joy': 'happiness'}
    """
    pairs = {}
    for value in values:
        name, equals, other = (part.strip() for part in value.partition("="))
        if not (name and equals and other):
            known = ""
            if option == "label_map":
                known = f", or one of {', '.join(LABEL_MAPS)}"
            raise ValueError(
                f"`{option}` must be NAME=NAME{known}. Received: {value!r}"
            )
        pairs[name] = other
    return pairs


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
    corpus = _load(config, name, root)
    if config.test_corpus:
        test = _load(config, config.test_corpus, config.test_data_dir)
        corpus = shared_classes(corpus, test, config.labels)
    elif config.labels:
        corpus = corpus.select(labels=config.labels)
    if config.speakers and not config.speakers_unknown:
        corpus = corpus.select(speakers=config.speakers)
    if config.limit_per_class:
        corpus = limited(corpus, config.limit_per_class, config.seed)
    print(corpus.describe(), flush=True)
    if len(corpus.labels) < 2:
        raise ValueError(
            f"There must be at least two classes. Received: {corpus.counts()}. "
            "Give other --labels, or another --label-map."
        )
    return corpus


def _load(config, name, root):
    """A corpus with the labels of `--label-map`."""
    options = {}
    if name == "iemocap":
        options = {
            "scripts": config.scripts,
            "merge_excited": config.merge_excited,
        }
    if name == "manifest":
        options["columns"] = pairs_of("columns", config.columns)
        if config.speakers_unknown:
            options["speakers"] = "unknown"
    elif name in _WITH_MORE_LABELS and (config.label_map or config.labels):
        options["labels"] = "all"
    with warnings.catch_warnings():
        # What is missing, `describe` says.
        warnings.simplefilter("ignore", CorpusWarning)
        corpus = load_corpus(name, root, **options)
    return with_label_map(corpus, config.label_map)


def check_label_map(label_map: Sequence[str]) -> None:
    """Raises `ValueError` unless `with_label_map` takes it."""
    if not (len(label_map) == 1 and label_map[0] in LABEL_MAPS):
        pairs_of("label_map", label_map)


def with_label_map(corpus: Manifest, label_map: Sequence[str]) -> Manifest:
    """A corpus with the labels that `--label-map` says.

    Args:
        corpus: `Manifest`.
        label_map: Name of a label map, pairs OLD=NEW, or nothing.
    """
    if not label_map:
        return corpus
    if label_map[0] in LABEL_MAPS:
        return map_labels(corpus, label_map[0])
    return corpus.relabel(pairs_of("label_map", label_map))


def shared_classes(
    train: Manifest, test: Manifest, labels: Sequence[str] = ()
) -> Manifest:
    """Two corpora as one, with the classes that both have.

    Args:
        train: `Manifest` to train on.
        test: `Manifest` to test on. Another word for a label of `train` is
            taken for it.
        labels: Those to use; by default all that both have.

    Returns:
        `Manifest`, whose `reading` counts what is left out.

    Raises:
        ValueError: They have fewer than two classes in common, or lack one of
            `labels`.
    """
    first, second = train[0].corpus, test[0].corpus
    if None in (first, second) or first == second:
        train, test = _named(train, "train"), _named(test, "test")
    test = test.relabel(
        {
            other: label
            for other in test.labels
            for label in train.labels
            if other not in train.labels
            and emotion_of(other) == emotion_of(label)
        }
    )
    shared = [
        label
        for label, number in train.counts().items()
        if number and test.counts().get(label)
    ]
    wanted = tuple(labels or shared)
    if len(wanted) < 2 or not set(wanted) <= set(shared):
        raise ValueError(
            "The two corpora must have at least two classes in common. "
            f"Received: {train.counts()} and {test.counts()}. Rename labels "
            "with --label-map OLD=NEW."
        )
    both = combine_corpora([train, test])
    left_out = {
        f"label {label}, not used of both corpora": number
        for label, number in both.counts().items()
        if label not in wanted
    }
    reading = (both.reading or Reading()).add(left_out)
    return dataclasses.replace(both.select(labels=wanted), reading=reading)


def _named(corpus, name):
    return corpus.subset(dataclasses.replace(u, corpus=name) for u in corpus)


def limited(corpus: Manifest, limit: int, seed: int = 0) -> Manifest:
    """At most so many utterances of each class, evenly of all speakers.

    Args:
        corpus: `Manifest`.
        limit: Most utterances of a class.
        seed: Seed of their choice.
    """
    order = np.random.default_rng(seed).permutation(len(corpus)).tolist()
    turn: collections.Counter = collections.Counter()
    turns = collections.defaultdict(list)
    for row in order:
        utterance = corpus[row]
        who = utterance.label, utterance.corpus, utterance.speaker
        turns[utterance.corpus, utterance.label].append((turn[who], row))
        turn[who] += 1
    # Of each speaker the first one, then of each the second, and so on.
    kept = {row for rows in turns.values() for _, row in sorted(rows)[:limit]}
    reading = (corpus.reading or Reading()).add(
        {"utterances beyond --limit-per-class": len(corpus) - len(kept)}
    )
    part = corpus.subset(u for row, u in enumerate(corpus) if row in kept)
    return dataclasses.replace(part, reading=reading)


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
    if config.test_corpus:
        train, test = dict.fromkeys(u.corpus for u in corpus)
        return CrossCorpus((train,), (test,), None)
    if config.speakers_unknown:
        return RandomFolds(config.groups, config.seed, False, UNKNOWN)
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
    """All folds that `--protocol` asks for; prints what none of them has."""
    folds = protocol_for(config, corpus).folds(corpus)
    known = (corpus.reading or Reading()).left_out
    found = (folds[0].train.reading or Reading()).left_out
    unused = {k: v for k, v in found.items() if k not in known}
    if unused:
        print(Reading(unused).describe(), flush=True)
    return folds


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
    counts = folds[0].train.counts()
    if len(counts) < 2:
        raise ValueError(
            f"There must be at least two classes. Received: {counts}"
        )
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
    return folds[0].train.subset(utterances.values())
