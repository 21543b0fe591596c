"""Reading: what was found in a corpus beside the utterances of its manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


class CorpusWarning(UserWarning):
    """A corpus was read that lacks something."""


@dataclasses.dataclass(frozen=True)
class Reading:
    r"""What reading a corpus has found beside its utterances.

    Args:
        left_out: Dict from what is not used, such as `"songs"`, to the number
            of its utterances, files or rows.
        missing: What should be there but is not, a sentence each; none of a
            complete corpus.
        notes: What was changed in reading, a sentence each, such as spellings
            of a label that became one.

    >>> Reading({"songs": 2}, ("23 of 24 speakers",)).describe()
    'left out: songs 2\nMISSING: 23 of 24 speakers'
    """

    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def add(
        self,
        left_out: Mapping[str, int] | None = None,
        missing: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> Reading:
        """This and more; numbers of the same are added, 0 is dropped.

        Args:
            left_out: See the class.
            missing: See the class.
            notes: See the class.
        """
        total = dict(self.left_out)
        for what, number in (left_out or {}).items():
            if number:
                total[what] = total.get(what, 0) + number
        return Reading(total, (*self.missing, *missing), (*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types, for `result.json`."""
        return {
            "left_out": dict(self.left_out),
            "missing": list(self.missing),
            "notes": list(self.notes),
        }

    def describe(self) -> str:
        """Text for a terminal; empty if there is nothing to say."""
        lines = list(self.notes)
        if self.left_out:
            found = ", ".join(f"{k} {v}" for k, v in self.left_out.items())
            lines.append(f"left out: {found}")
        lines += [f"MISSING: {text}" for text in self.missing]
        return "\n".join(lines)
