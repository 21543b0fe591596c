"""Audit of a corpus: bad and duplicate audio, and what protocols make of it."""

from __future__ import annotations

import collections
import dataclasses
import functools
from typing import TYPE_CHECKING
from typing import Any

from ser_keras._errors import counted
from ser_keras.corpora.audio_content import audio_contents
from ser_keras.protocols.splits import check_classes
from ser_keras.protocols.splits import leave_one_session_out
from ser_keras.protocols.splits import leave_one_speaker_out
from ser_keras.protocols.splits import partition_folds
from ser_keras.protocols.splits import random_folds_shared_speakers
from ser_keras.protocols.splits import speaker_groups

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest

_SHORT = 0.5  # Seconds; less than two syllables.
_SHOWN = 5
_MOST_FOLDS = 100  # Protocols with more folds are left out.


@dataclasses.dataclass(frozen=True)
class ProtocolAudit:
    """What a protocol makes of a corpus.

    Args:
        protocol: Name of the protocol.
        folds: Number of folds; 0 if the corpus cannot be divided so.
        smallest: Utterances in the smallest test part.
        largest: Utterances in the largest test part.
        shared_speakers: Largest number of speakers in both parts of a fold.
        duplicates: Test utterances, of all folds, whose audio is in the
            training part under another id.
        lacking: Names of folds whose test part lacks a class.
        problem: Why the protocol cannot or must not be used, or None.
    """

    protocol: str
    folds: int = 0
    smallest: int = 0
    largest: int = 0
    shared_speakers: int = 0
    duplicates: int = 0
    lacking: tuple[str, ...] = ()
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class CorpusAudit:
    """Results of `audit_corpus`.

    Args:
        utterances: Number of utterances.
        hours: Duration of all audio that can be decoded.
        classes: Dict from label to number of utterances.
        speakers: Dict from speaker to a dict of `sex`, `utterances`,
            `minutes` and `lacks`, the labels without an utterance of the
            speaker.
        sessions: Names of the sessions.
        partitions: Dict from each partition of the release to its number of
            utterances.
        divided: Dict from each speaker who is in several partitions to their
            names.
        duplicates: Groups of ids with the same audio.
        conflicting: Those of the groups whose labels differ.
        unusable: Dict from id to the problem of the file.
        silent: Ids of silent utterances.
        clipped: Dict from id to the number of clipped samples.
        short: Dict from id to seconds, of clips shorter than half a second.
        protocols: `ProtocolAudit` of each protocol.
    """

    utterances: int
    hours: float
    classes: dict
    speakers: dict
    sessions: tuple[str, ...]
    partitions: dict
    divided: dict
    duplicates: tuple[tuple[str, ...], ...]
    conflicting: tuple[tuple[str, ...], ...]
    unusable: dict
    silent: tuple[str, ...]
    clipped: dict
    short: dict
    protocols: tuple[ProtocolAudit, ...]

    @property
    def usable(self) -> bool:
        """Whether no file is bad or silent, which would stop a training."""
        return not self.unusable and not self.silent

    @property
    def sound(self) -> bool:
        """Whether the corpus is usable and has no duplicate audio."""
        return self.usable and not self.duplicates

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return dataclasses.asdict(self)

    def describe(self) -> str:
        """Text for a terminal."""
        sexes = collections.Counter(
            row["sex"] or "sex unknown" for row in self.speakers.values()
        )
        count = ", ".join(f"{k} {v}" for k, v in self.classes.items())
        by_sex = ", ".join(f"{n} {sex}" for sex, n in sorted(sexes.items()))
        lines = [
            f"{counted(self.utterances, 'utterance')}, {self.hours:.3f} hours",
            f"classes: {count}",
            f"{counted(len(self.speakers), 'speaker')} ({by_sex})",
        ]
        if self.sessions:
            lines.append(f"sessions: {', '.join(self.sessions)}")
        if self.partitions:
            parts = [f"{k} {v}" for k, v in self.partitions.items()]
            lines.append(f"partitions: {', '.join(parts)}")
            lines.append(_line("speakers in several partitions", self.divided))
        lacking = {
            name: row["lacks"]
            for name, row in self.speakers.items()
            if row["lacks"]
        }
        for what, found in (
            ("speakers without a class", lacking),
            ("groups of identical audio", self.duplicates),
            ("of them with different labels", self.conflicting),
            ("unusable files", self.unusable),
            ("silent files", self.silent),
            ("clipped files (samples)", self.clipped),
            (f"files shorter than {_SHORT} s", self.short),
        ):
            lines.append(_line(what, found))
        lines.append("folds:")
        lines += [f"  {_describe(protocol)}" for protocol in self.protocols]
        return "\n".join(lines)


def audit_corpus(manifest: Manifest, jobs: int | None = None) -> CorpusAudit:
    """Decodes all audio of a corpus and reports its content and problems.

    Args:
        manifest: `Manifest`.
        jobs: Threads that decode; None means one for each processor.

    Returns:
        `CorpusAudit`.

    Example:
    >>> import tempfile, soundfile
    >>> from ser_keras.corpora.manifest import Manifest, Utterance
    >>> folder = tempfile.mkdtemp()
    >>> noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    >>> for name in "ab":
    ...     soundfile.write(f"{folder}/{name}.wav", noise, 16000)
    >>> audit = audit_corpus(Manifest(
    ...     [Utterance(x, f"{folder}/{x}.wav", "anger", x) for x in "ab"]))
    >>> audit.duplicates, audit.protocols[0].duplicates
    ((('a', 'b'),), 2)
    """
    contents = audio_contents(manifest, jobs)
    by_hash = collections.defaultdict(list)
    for utterance in manifest:
        by_hash[contents[utterance.id].hash].append(utterance)
    by_hash.pop(None, None)
    # Digital silence is reported as such, not as duplicates.
    identical = [
        group
        for group in by_hash.values()
        if len(group) > 1 and not contents[group[0].id].silent
    ]
    parts = [u.partition for u in manifest if u.partition is not None]
    parts_of = collections.defaultdict(set)
    for utterance in manifest:
        parts_of[utterance.speaker].add(utterance.partition)
    good = {k: x for k, x in contents.items() if x.problem is None}
    return CorpusAudit(
        utterances=len(manifest),
        hours=sum(x.duration for x in good.values()) / 3600,
        classes=manifest.counts(),
        speakers=_speakers(manifest, contents),
        sessions=manifest.sessions,
        partitions=dict(sorted(collections.Counter(parts).items())),
        divided={
            speaker: sorted(names - {None})
            for speaker, names in sorted(parts_of.items())
            if len(names - {None}) > 1
        },
        duplicates=tuple(tuple(u.id for u in group) for group in identical),
        conflicting=tuple(
            tuple(u.id for u in group)
            for group in identical
            if len({u.label for u in group}) > 1
        ),
        unusable={k: x.problem for k, x in contents.items() if x.problem},
        silent=tuple(k for k, x in good.items() if x.silent),
        clipped={k: x.clipped for k, x in good.items() if x.clipped},
        short={
            k: round(x.duration, 3)
            for k, x in good.items()
            if x.duration < _SHORT
        },
        protocols=tuple(_protocols(manifest, identical)),
    )


def _speakers(manifest, contents):
    parts = collections.defaultdict(list)
    for utterance in manifest:
        parts[utterance.speaker].append(utterance)
    found = {}
    for speaker in manifest.speakers:
        part = parts[speaker]
        seconds = sum(contents[u.id].duration for u in part)
        labels = {u.label for u in part}
        found[speaker] = {
            "sex": part[0].sex,
            "utterances": len(part),
            "minutes": round(seconds / 60, 2),
            "lacks": [x for x in manifest.labels if x not in labels],
        }
    return found


def _protocols(manifest, identical):
    protocols = {}
    if any(u.partition is not None for u in manifest):
        protocols["partitions"] = partition_folds
    if len(manifest.speakers) <= _MOST_FOLDS:
        protocols["leave-one-speaker-out"] = leave_one_speaker_out
    if 0 < len(manifest.sessions) <= _MOST_FOLDS:
        protocols["leave-one-session-out"] = leave_one_session_out
    for number in (5, 6):
        if len(manifest.speakers) > number:
            protocols[f"speaker-groups-{number}"] = functools.partial(
                speaker_groups, groups=number
            )
    if len(manifest) >= 5:
        protocols["random-folds"] = random_folds_shared_speakers
    for name, divide in protocols.items():
        try:
            yield _protocol(name, divide(manifest), identical)
        except ValueError as error:
            yield ProtocolAudit(name, problem=str(error))


def _protocol(name, folds, identical):
    group_of = {u.id: row for row, group in enumerate(identical) for u in group}
    shared = duplicates = 0
    lacking, problem = [], None
    for fold in folds:
        both = set(fold.train.speakers) & set(fold.test.speakers)
        shared = max(shared, len(both))
        trained = {group_of.get(u.id) for u in fold.train} - {None}
        duplicates += sum(group_of.get(u.id) in trained for u in fold.test)
        if not all(fold.test.counts().values()):
            lacking.append(fold.name)
        try:
            check_classes(fold)
        except ValueError as error:
            problem = problem or str(error)
    sizes = [len(fold.test) for fold in folds]
    return ProtocolAudit(
        name,
        len(folds),
        min(sizes),
        max(sizes),
        shared,
        duplicates,
        tuple(lacking),
        problem,
    )


def _line(what, found):
    if not found:
        return f"{what}: none"
    shown = list(found.items() if isinstance(found, dict) else found)[:_SHOWN]
    texts = [_text(entry, isinstance(found, dict)) for entry in shown]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{what}: {len(found)}: {'; '.join(texts)}{more}"


def _text(entry, is_pair):
    if is_pair:
        name, value = entry
        value = ", ".join(value) if isinstance(value, list) else value
        return f"{name} ({value})"
    return entry if isinstance(entry, str) else " = ".join(entry)


def _describe(audit):
    if not audit.folds:
        return f"{audit.protocol}: not possible: {audit.problem}"
    text = (
        f"{audit.protocol}: {audit.folds} folds of {audit.smallest} to "
        f"{audit.largest} utterances"
    )
    if audit.shared_speakers:
        text += f"; SPEAKER-DEPENDENT, {audit.shared_speakers} shared speakers"
    if audit.duplicates:
        text += (
            f"; {audit.duplicates} test utterances are in training under "
            "another name"
        )
    if audit.lacking:
        text += f"; test lacks a class in {', '.join(audit.lacking)}"
    if audit.problem:
        text += f"; PROBLEM: {audit.problem}"
    return text
