"""Release: how much a corpus has as it is published."""

import collections
import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Release:
    """How much a corpus has as it is published.

    Args:
        labels: Dict from label to number of utterances. A label that is not
            named, such as one whose number is not published, is not counted.
        speakers: Number of speakers.
        sessions: Number of sessions, of a corpus that has them.
    """

    labels: Mapping[str, int]
    speakers: int
    sessions: int | None = None

    def merged(self, mapping: Mapping[str, str]) -> "Release":
        """The same after labels were renamed and merged, as in a manifest."""
        labels: collections.Counter[str] = collections.Counter()
        for label, number in self.labels.items():
            labels[mapping.get(label, label)] += number
        return dataclasses.replace(self, labels=dict(labels))

    def lacks(
        self, utterances: Iterable[Any], labels: Sequence[str]
    ) -> tuple[str, ...]:
        """What utterances lack of the release, a sentence each.

        Args:
            utterances: All that a folder has, whatever their label.
            labels: Those that are selected.

        >>> Release({"anger": 3, "fear": 2}, speakers=2).lacks((), ["anger"])
        ('0 of 2 speakers', '0 of 3 utterances (anger 0 of 3)')
        """
        utterances = list(utterances)
        sentences = []
        for what, expected, found in (
            ("sessions", self.sessions, {u.session for u in utterances}),
            ("speakers", self.speakers, {u.speaker for u in utterances}),
        ):
            if expected is not None and len(found) < expected:
                few = ", ".join(sorted(found)) if 0 < len(found) <= 12 else ""
                names = f" ({few})" if few else ""
                sentences.append(f"{len(found)} of {expected} {what}{names}")
        count = collections.Counter(u.label for u in utterances)
        known = [label for label in labels if label in self.labels]
        short = [x for x in known if count[x] < self.labels[x]]
        if short:
            by_label = ", ".join(
                f"{x} {count[x]} of {self.labels[x]}" for x in short
            )
            sentences.append(
                f"{sum(count[x] for x in known)} of "
                f"{sum(self.labels[x] for x in known)} utterances ({by_label})"
            )
        return tuple(sentences)
