"""Manifest: the utterances of a corpus, as plain data."""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import json
import math
import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from ser_keras._errors import counted
from ser_keras._files import replace_file
from ser_keras.corpora.reading import Reading

SEXES = ("female", "male")
#: Speaker of all utterances of a list that does not say who speaks.
UNKNOWN_SPEAKER = "SPEAKER-UNKNOWN"
# Values that many utterances have, each of which is kept once.
_SHARED = ("label", "speaker", "session", "sex", "corpus", "partition")
_NAMES = ("id", "label", "speaker", "session", "corpus", "partition")


# With slots, a million take a third less memory.
@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled segment of speech of one speaker.

    Args:
        id: Unique name in its manifest.
        path: Audio file.
        label: Name of the emotion.
        speaker: Name of the speaker. Speaker-independent folds never divide
            the utterances of a speaker.
        session: Name of the recording session, if the corpus has sessions.
        sex: `"female"`, `"male"`, or None if it is unknown.
        start: Start in the file, seconds. None means that of the file.
        end: End in the file, seconds. None means that of the file.
        text: Transcription, or the name of the sentence.
        corpus: Name of the corpus.
        partition: Partition of the original release, such as `"train"` or
            `"test1"`, if it has any.

    Raises:
        ValueError: A required value is missing, or one is invalid. A name with
            blanks at an end is refused: `"SJB "` would be another speaker than
            `"SJB"`.

    >>> Utterance("03a01Wa", "wav/03a01Wa.wav", "anger", "03", sex="male").label
    'anger'
    """

    id: str
    path: str
    label: str
    speaker: str
    session: str | None = None
    sex: str | None = None
    start: float | None = None
    end: float | None = None
    text: str | None = None
    corpus: str | None = None
    partition: str | None = None

    def __post_init__(self):
        for name in ("id", "path", "label", "speaker"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ValueError(
                    f"`{name}` of an utterance must be a non-empty string. "
                    f"Received: {self}"
                )
        for name in _NAMES:
            value = getattr(self, name)
            if value is not None and value != value.strip():
                raise ValueError(
                    f"`{name}` of an utterance must have no blanks at an end. "
                    f"Received: {name}={value!r} ({self.path})"
                )
        if self.sex is not None and self.sex not in SEXES:
            raise ValueError(
                f"`sex` must be one of {SEXES} or None. Received: {self}"
            )
        start = self.start or 0.0
        end = start + 1 if self.end is None else self.end
        # This way round, NaN is refused as well.
        if not 0 <= start < end < math.inf:
            raise ValueError(
                "An utterance must end after it starts, and start at 0 "
                f"seconds or later. Received: {self}"
            )


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Utterances and labels, both in a fixed order.

    The position of a label in `labels` is its class number, in a network's
    output and in every table too.

    Args:
        utterances: Sequence of `Utterance` with unique ids.
        labels: Sequence of label names, which has the labels of all utterances;
            a label may have no utterance. None means the labels of the
            utterances, sorted.
        reading: What was found in the corpus beside the utterances, if it was
            read from a folder or a table; parts of a manifest keep it. It is
            neither compared nor saved.

    Raises:
        ValueError: There is no utterance, an id occurs twice, or an utterance
            has a label that is not in `labels`.

    >>> manifest = Manifest(
    ...     [Utterance("a", "a.wav", "sadness", "03"),
    ...      Utterance("b", "b.wav", "anger", "08")])
    >>> manifest.labels, manifest.label_ids.tolist(), manifest.speakers
    (('anger', 'sadness'), [1, 0], ('03', '08'))
    """

    utterances: Sequence[Utterance]
    labels: Sequence[str] = None  # type: ignore[assignment]
    reading: Reading | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self):
        utterances = tuple(self.utterances)
        if not utterances:
            raise ValueError("A manifest must have at least one utterance.")
        labels = self.labels
        if labels is None:
            labels = sorted({utterance.label for utterance in utterances})
        labels = tuple(labels)
        if len(set(labels)) < len(labels):
            raise ValueError(
                f"`labels` must not repeat a name. Received: labels={labels}"
            )
        check_rows(utterances, labels)
        object.__setattr__(self, "utterances", utterances)
        object.__setattr__(self, "labels", labels)

    def __len__(self):
        return len(self.utterances)

    def __iter__(self):
        return iter(self.utterances)

    def __getitem__(self, index):
        """The utterance at `index`, or a manifest for a slice."""
        if isinstance(index, slice):
            return self.subset(self.utterances[index])
        return self.utterances[index]

    def __repr__(self):
        return (
            f"<Manifest: {len(self)} utterances, {len(self.speakers)} "
            f"speakers, labels {self.labels}>"
        )

    @functools.cached_property
    def label_ids(self) -> np.ndarray:
        """Class number of each utterance, int32 array `(utterances,)`."""
        number = {label: i for i, label in enumerate(self.labels)}
        return np.array([number[u.label] for u in self], np.int32)

    @functools.cached_property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, a sorted tuple."""
        return tuple(sorted({u.speaker for u in self}))

    @functools.cached_property
    def sessions(self) -> tuple[str, ...]:
        """Names of the sessions, a sorted tuple, without None."""
        return tuple(sorted({u.session for u in self} - {None}))

    def counts(self) -> dict[str, int]:
        """Number of utterances of each label, in the order of `labels`."""
        count = collections.Counter(u.label for u in self)
        return {label: count[label] for label in self.labels}

    def select(
        self,
        labels: Sequence[str] | None = None,
        speakers: Iterable[str] | None = None,
        sessions: Iterable[str] | None = None,
    ) -> Manifest:
        """Selects utterances by label, speaker and session.

        Args:
            labels: Labels to keep, in the order of the new manifest.
            speakers: Speakers to keep.
            sessions: Sessions to keep.

        Returns:
            `Manifest` with the utterances in the same order.

        Raises:
            ValueError: A value does not occur in this manifest, or no utterance
                is left.
        """
        chosen = self.utterances
        for name, wanted, known in (
            ("label", labels, self.labels),
            ("speaker", speakers, self.speakers),
            ("session", sessions, self.sessions),
        ):
            if wanted is None:
                continue
            wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
            names = frozenset(known)
            unknown = [value for value in wanted if value not in names]
            if unknown:
                raise ValueError(
                    f"`{name}s` must be among {known}. Received unknown "
                    f"{name}s: {unknown}"
                )
            members = frozenset(wanted)
            chosen = [u for u in chosen if getattr(u, name) in members]
        if labels is not None:
            labels = (labels,) if isinstance(labels, str) else tuple(labels)
        return Manifest(
            chosen, self.labels if labels is None else labels, self.reading
        )

    def subset(self, utterances: Iterable[Utterance]) -> Manifest:
        """The manifest of some of its utterances, with the same labels.

        Args:
            utterances: The utterances, in the new order.
        """
        return Manifest(tuple(utterances), self.labels, self.reading)

    def relabel(
        self, mapping: Mapping[str, str], labels: Sequence[str] | None = None
    ) -> Manifest:
        """Renames labels; labels with the same new name are merged.

        Args:
            mapping: Dict from old to new names. Other labels keep their name.
            labels: All labels of the result, in order. None keeps the order
                of the old ones.

        Returns:
            `Manifest`.

        Raises:
            ValueError: `mapping` has an unknown label, or `labels` lacks one.
        """
        unknown = [label for label in mapping if label not in self.labels]
        if unknown:
            raise ValueError(
                f"`mapping` must rename labels among {self.labels}. "
                f"Received unknown labels: {unknown}"
            )
        if labels is None:
            # A dict, not a set: it keeps the order.
            labels = dict.fromkeys(mapping.get(x, x) for x in self.labels)
        return Manifest(
            [
                dataclasses.replace(u, label=mapping.get(u.label, u.label))
                for u in self
            ],
            tuple(labels),
            self.reading,
        )

    def describe(self) -> str:
        """Text for a log: numbers of utterances, speakers and sessions."""
        sex = {u.speaker: u.sex or "sex unknown" for u in self}
        by_sex = collections.Counter(sex.values())
        count = ", ".join(f"{k} {v}" for k, v in self.counts().items())
        sexes = ", ".join(f"{n} {name}" for name, n in sorted(by_sex.items()))
        lines = [
            f"{counted(len(self), 'utterance')}: {count}",
            f"{counted(len(self.speakers), 'speaker')} ({sexes}): "
            + ", ".join(self.speakers),
        ]
        if self.sessions:
            lines.append(
                f"{counted(len(self.sessions), 'session')}: "
                + ", ".join(self.sessions)
            )
        if self.reading is not None and self.reading.describe():
            lines.append(self.reading.describe())
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON lines: the labels, then one line for each utterance."""
        names = [field.name for field in dataclasses.fields(Utterance)]

        def write(temporary):
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                file.write(json.dumps({"labels": self.labels}) + "\n")
                for utterance in self:
                    row = {
                        name: value
                        for name in names
                        if (value := getattr(utterance, name)) is not None
                    }
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")

        replace_file(path, write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Manifest:
        """Reads a file of `save`.

        Raises:
            ValueError: The file is malformed; the message names the line.
        """
        utterances, labels, places = [], None, array.array("q")
        shared: dict[str, str] = {}
        # Lines of bytes, as lines of text would end at U+2028 in
        # transcriptions, too; and one at a time, as there may be a million.
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8"))
                    if number == 1 and "labels" in row:
                        labels = label_order(row["labels"])
                        continue
                    for name in _SHARED:
                        value = row.get(name)
                        if isinstance(value, str):
                            if name != "label":
                                # Runs of older versions have padded speakers.
                                value = value.strip()
                            row[name] = shared.setdefault(value, value)
                    utterances.append(Utterance(**row))
                    places.append(number)
                except (AttributeError, TypeError, ValueError) as error:
                    raise ValueError(
                        f"{path}, line {number}: {error}"
                    ) from error
        try:
            check_rows(utterances, labels, places)
            return cls(utterances, labels)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def label_order(names):
    """The labels of a saved manifest's first line, as a tuple of strings."""
    if not isinstance(names, list) or not all(
        isinstance(name, str) for name in names
    ):
        raise ValueError(
            f"`labels` must be a list of names. Received: {names!r}"
        )
    return tuple(names)


def check_rows(utterances, labels, lines=None, shown=5):
    """Raises `ValueError` if an id occurs twice or a label is unknown.

    Args:
        utterances: Sequence of `Utterance`.
        labels: Known labels, or None for any.
        lines: Line of each utterance in its file, for the message. None counts
            utterances from 0.
        shown: Largest number of them in the message.
    """
    ids = {utterance.id for utterance in utterances}
    if len(ids) == len(utterances) and (
        labels is None or {u.label for u in utterances} <= set(labels)
    ):
        return
    what, note = ("line", "") if lines else ("row", " (rows count from 0)")
    row_of, repeated, unknown = {}, [], []
    for row, utterance in zip(
        lines or range(len(utterances)), utterances, strict=True
    ):
        first = row_of.setdefault(utterance.id, row)
        if first != row:
            repeated.append(f"{utterance.id!r} in {what}s {first} and {row}")
        if labels is not None and utterance.label not in labels:
            unknown.append(
                f"{utterance.label!r} in {what} {row} ({utterance.id})"
            )
    for problem, found in (
        ("Utterance ids must be unique.", repeated),
        (f"Labels must be among the known {list(labels or ())}.", unknown),
    ):
        if found:
            more = (
                "" if len(found) <= shown else f" and {len(found) - shown} more"
            )
            raise ValueError(
                f"{problem} Received: {'; '.join(found[:shown])}{more}{note}."
            )
