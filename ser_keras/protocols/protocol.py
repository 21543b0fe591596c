"""Evaluation protocols: named ways to divide a corpus into folds.

A protocol is a small frozen object that makes the folds of a manifest. It
states two facts, which every table of scores repeats: whether test speakers are
in training, and whether anything is selected on the test part. Its hash
identifies it with all of its settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any

from ser_keras.corpora.label_maps import map_labels
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.reading import Reading
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import leave_one_session_out
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.protocols.splits import partition_folds
from ser_keras.protocols.splits import random_folds_shared_speakers
from ser_keras.protocols.splits import speaker_groups

#: Name of the protocol of a list that does not say who speaks.
UNKNOWN = "SPEAKER-UNKNOWN"
_DIGEST = 6  # Bytes of a hash.
_ROWS = 4096  # Utterances that are hashed at a time.


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Base class of protocols; a subclass implements `divide`.

    Attributes:
        name: Its name in tables.
        leaks_speakers: Whether test speakers are in the training parts.
        selects_on_test: Whether the epoch is selected on the test part.
    """

    name = ""
    leaks_speakers = False
    selects_on_test = False

    def divide(self, manifest: Manifest) -> list[Fold]:
        """Divides a manifest into a list of `Fold`, without `protocol`."""
        raise NotImplementedError

    def folds(self, manifest: Manifest) -> list[Fold]:
        """Divides a manifest into a list of `Fold`, each with `protocol`.

        The `reading` of their training parts counts the utterances that are
        in no fold, such as those of partitions that are not used.
        """
        folds = self.divide(manifest)
        unused = {}
        if folds[0].train.reading == manifest.reading:
            # Otherwise the protocol has counted itself what it leaves out.
            unused = _unused(manifest, folds)
        return [
            dataclasses.replace(
                fold,
                train=_with_left_out(fold.train, unused),
                protocol=self.record,
                place=(number, len(folds)),
            )
            for number, fold in enumerate(folds, start=1)
        ]

    @property
    def record(self) -> dict[str, Any]:
        """Name, facts and hash, which are stored with every score."""
        return {
            "name": self.name,
            "leaks_speakers": self.leaks_speakers,
            "selects_on_test": self.selects_on_test,
            "hash": self.hash,
        }

    def to_dict(self) -> dict[str, Any]:
        """Name, facts and settings, as JSON types."""
        settings = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        described = {
            "name": self.name,
            "leaks_speakers": self.leaks_speakers,
            "selects_on_test": self.selects_on_test,
            **settings,
        }
        return json.loads(json.dumps(described))

    @property
    def hash(self) -> str:
        """Hash of `to_dict()`, twelve hexadecimal digits."""
        return _hash(self.to_dict())

    def describe(self) -> str:
        """One line for a table: name, facts and hash."""
        warnings = [
            text
            for applies, text in (
                (self.leaks_speakers, "SPEAKER-DEPENDENT"),
                (self.selects_on_test, "SELECTS ON TEST"),
            )
            if applies
        ]
        facts = ", ".join(warnings) or "new speakers, nothing chosen on them"
        return f"{self.name} ({facts}; {self.hash})"


@dataclasses.dataclass(frozen=True)
class LeaveOneSpeakerOut(Protocol):
    """Leave-one-speaker-out: each fold tests one speaker, trains on all others.

    >>> LeaveOneSpeakerOut().describe()
    'leave-one-speaker-out (new speakers, nothing chosen on them; ...)'
    """

    name = "leave-one-speaker-out"

    def divide(self, manifest: Manifest) -> list[Fold]:
        return leave_one_speaker_out(manifest)


@dataclasses.dataclass(frozen=True)
class LeaveOneSessionOut(Protocol):
    """Leave-one-session-out: each fold tests one session of a corpus."""

    name = "leave-one-session-out"

    def divide(self, manifest: Manifest) -> list[Fold]:
        return leave_one_session_out(manifest)


@dataclasses.dataclass(frozen=True)
class SpeakerGroups(Protocol):
    """K-fold over speakers: each fold tests one group of speakers.

    Args:
        groups: Their number, or the groups as a tuple of tuples of speakers;
            see `ser_keras.protocols.speaker_groups`.
        name: Name of the protocol; None means `speaker-groups-<number>`.
        selects_on_test: Whether the epoch is selected on the test part, as in
            some published code.
    """

    groups: int | tuple = 5
    name: str | None = None  # type: ignore[assignment]
    selects_on_test: bool = False

    def __post_init__(self):
        if self.name is None:
            groups = self.groups
            number = groups if isinstance(groups, int) else len(groups)
            object.__setattr__(self, "name", f"speaker-groups-{number}")

    def divide(self, manifest: Manifest) -> list[Fold]:
        folds = speaker_groups(manifest, self.groups)
        return [
            dataclasses.replace(fold, selects_on_test=self.selects_on_test)
            for fold in folds
        ]


@dataclasses.dataclass(frozen=True)
class RandomFolds(Protocol):
    """Speaker-dependent folds of shuffled utterances, as in some publications.

    Args:
        number: Number of folds.
        seed: Seed of the shuffling.
        selects_on_test: Whether the epoch is selected on the test part.
        name: Name of the protocol; `UNKNOWN` of a list that does not say who
            speaks, so that speakers may be in both parts.
    """

    number: int = 5
    seed: int = 0
    selects_on_test: bool = True
    name: str = "random-folds"
    leaks_speakers = True

    def divide(self, manifest: Manifest) -> list[Fold]:
        return random_folds_shared_speakers(
            manifest, self.number, self.seed, self.selects_on_test
        )


@dataclasses.dataclass(frozen=True)
class Partitions(Protocol):
    """The partitions of the original release, such as MSP-Podcast's.

    Args:
        train: Names of the partitions to train on.
        test: Names of the partitions to test on, one fold each.
    """

    train: tuple = ("train",)
    test: tuple = ("test1",)
    name = "partitions"

    def divide(self, manifest: Manifest) -> list[Fold]:
        return partition_folds(manifest, self.train, self.test)


@dataclasses.dataclass(frozen=True)
class CrossCorpus(Protocol):
    """Cross-corpus: trains on some corpora and tests on others.

    Its manifest has all of them: `combine_corpora([first, second])`.

    Args:
        train: Names of the corpora to train on.
        test: Names of the corpora to test on, one fold each.
        label_map: Name of one of `LABEL_MAPS`, the classes of all corpora;
            None takes the labels as they are.
    """

    train: tuple = ()
    test: tuple = ()
    label_map: str | None = "4"
    name = "cross-corpus"

    def divide(self, manifest: Manifest) -> list[Fold]:
        known = sorted({u.corpus for u in manifest} - {None})
        named = (*self.train, *self.test)
        missing = [name for name in named if name not in known]
        if missing or not self.train or not self.test:
            raise ValueError(
                "`train` and `test` must name corpora of the manifest, "
                f"{known}. Received: train={self.train}, test={self.test}"
            )
        both = sorted(set(self.train) & set(self.test))
        if both:
            raise ValueError(
                "A corpus must be in `train` or in `test`, not both. "
                f"Received: {both}"
            )

        def part(names):
            chosen = manifest.subset(u for u in manifest if u.corpus in names)
            if self.label_map is None:
                return chosen
            return map_labels(chosen, self.label_map)

        train = part(self.train)
        return [Fold(name, train, part((name,))) for name in self.test]


def _unused(manifest, folds):
    """What no fold has, by partition: dict for `Reading.add`."""
    used = {u.id for fold in folds for u in fold.test}
    # Mostly everything is tested once, and training parts are large.
    if len(used) < len(manifest):
        used |= {u.id for fold in folds for u in fold.train}
    left_out: dict[str, int] = {}
    for utterance in manifest:
        if utterance.id not in used:
            what = "in no fold"
            if utterance.partition is not None:
                what = f"partition {utterance.partition}, in no fold"
            left_out[what] = left_out.get(what, 0) + 1
    return left_out


def _with_left_out(manifest, left_out):
    if not left_out:
        return manifest
    reading = (manifest.reading or Reading()).add(left_out)
    return dataclasses.replace(manifest, reading=reading)


_IEMOCAP_PAIRS = tuple(
    (f"Ses{first:02d}M", f"Ses{first % 5 + 1:02d}F") for first in range(1, 6)
)
_EMODB_PAIRS = (
    ("03", "08"),
    ("09", "10"),
    ("11", "13"),
    ("12", "14"),
    ("15", "16"),
)
_RAVDESS_GROUPS = tuple(
    tuple(f"{actor:02d}" for actor in range(first, first + 4))
    for first in range(1, 25, 4)
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        LeaveOneSpeakerOut(),
        LeaveOneSessionOut(),
        SpeakerGroups(_EMODB_PAIRS, "emodb-pairs"),
        SpeakerGroups(_RAVDESS_GROUPS, "ravdess-groups"),
        # Speaker-independent, but each test speaker's partner in the dialogue
        # is in training; the published code selects the epoch on the test part.
        SpeakerGroups(_IEMOCAP_PAIRS, "emodarts-pairs"),
        SpeakerGroups(_IEMOCAP_PAIRS, "emodarts-pairs-published", True),
        RandomFolds(),
        Partitions(),
    )
}
"""Protocols that need no further settings, by name."""


def get_protocol(name: str, **settings: Any) -> Protocol:
    """A protocol by its name.

    Args:
        name: One of `PROTOCOLS`, or `speaker-groups-N` for N groups of
            consecutive speakers; or a `Protocol`, which is returned.
        **settings: Fields of the protocol to replace.

    Returns:
        `Protocol`.

    Raises:
        ValueError: There is no protocol of that name.

    >>> get_protocol("emodb-pairs").groups[0]
    ('03', '08')
    >>> get_protocol("speaker-groups-6").groups
    6
    >>> get_protocol("random-folds", number=10).number
    10
    """
    if isinstance(name, Protocol):
        protocol = name
    elif groups := re.fullmatch(r"speaker-groups-(\d+)", str(name)):
        protocol = SpeakerGroups(int(groups[1]))
    elif name in PROTOCOLS:
        protocol = PROTOCOLS[name]
    else:
        raise ValueError(
            f"`name` must be one of {tuple(PROTOCOLS)} or speaker-groups-N, "
            f"such as speaker-groups-5. Received: name={name!r}"
        )
    return dataclasses.replace(protocol, **settings) if settings else protocol


def folds_hash(folds):
    """Hash of the folds: which utterances and labels are in which part.

    Results with the same hash can be compared. It does not depend on the order
    of utterances, nor on the paths of files.

    Args:
        folds: List of `Fold`.

    Returns:
        Twelve hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for text in _folds_json(folds):
        digest.update(text.encode())
    return digest.hexdigest()


def _folds_json(folds):
    """JSON of the folds in pieces: of a million utterances, it is long."""
    for number, fold in enumerate(folds):
        facts = fold.name, fold.leaks_speakers, fold.selects_on_test
        yield ("[" if number == 0 else ", ") + json.dumps(
            [*facts, fold.test.labels]
        )[:-1]
        for part in (fold.train, fold.test):
            rows = sorted((u.id, u.speaker, u.label) for u in part)
            for first in range(0, len(rows), _ROWS):
                yield ", [" if first == 0 else ", "
                yield json.dumps(rows[first : first + _ROWS])[1:-1]
            yield "]"
        yield "]"
    yield "]" if folds else "[]"


def _hash(value):
    text = json.dumps(value, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST)
    return digest.hexdigest()


def overstated(leaks_speakers: bool, selects_on_test: bool) -> str:
    """The warning beside every score of a protocol with these facts.

    Args:
        leaks_speakers: Whether test speakers are in training.
        selects_on_test: Whether the epoch is selected on the test part.

    Returns:
        Text.
    """
    reasons = [
        reason
        for applies, reason in (
            (leaks_speakers, "test speakers are in training"),
            (selects_on_test, "the epoch is selected on the test part"),
        )
        if applies
    ]
    return (
        f"THIS SCORE OVERSTATES: {' and '.join(reasons)}. It is no estimate "
        "for new speakers; do not compare it with speaker-independent scores."
    )
