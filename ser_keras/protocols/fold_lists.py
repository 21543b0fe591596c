"""FoldLists: a protocol of published lists of files."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from typing import Any

from ser_keras._errors import shortened
from ser_keras.corpora.manifest import Manifest
from ser_keras.protocols.protocol import Protocol
from ser_keras.protocols.splits import Fold
from ser_keras.protocols.splits import SpeakerOverlapError


@dataclasses.dataclass(frozen=True)
class FoldLists(Protocol):
    """Folds of published lists of files, such as those of EmoBox.

    Args:
        name: Name of the protocol, such as `"emobox-emodb"`.
        lists: For each fold its name, training ids, and test ids.
        leaks_speakers: Whether the lists share speakers. If they do and this
            is False, `folds` raises.
        selects_on_test: Whether the epoch is selected on the test part.
    """

    name: str = "lists"
    lists: tuple = ()
    leaks_speakers: bool = False
    selects_on_test: bool = False

    @classmethod
    def read(
        cls,
        folder: str | os.PathLike[str],
        name: str | None = None,
        **facts: Any,
    ) -> FoldLists:
        """Reads a folder of lists in the layout of EmoBox.

        Args:
            folder: Folder with `fold_1/`, `fold_2/` ..., each with a file
                `*_train_fold_1.jsonl` and a file `*_test_fold_1.jsonl`, whose
                lines have a `wav`; the stem of its name is the id.
            name: Name of the protocol. None means that of the folder.
            **facts: `leaks_speakers`, `selects_on_test`.

        Returns:
            `FoldLists`.

        Raises:
            ValueError: There are no such files, or a line is malformed.
        """
        folder = pathlib.Path(folder)
        lists = []
        found = [x for x in folder.glob("fold_*") if x.is_dir()]
        for part in sorted(found, key=lambda x: int(re.sub(r"\D", "", x.name))):
            ids = [
                _listed(part, f"*_{which}_{part.name}.jsonl")
                for which in ("train", "test")
            ]
            lists.append((part.name, *ids))
        if not lists:
            raise ValueError(
                f"{folder} must hold fold_1/, fold_2/ ... with lists such as "
                "fold_1/emodb_train_fold_1.jsonl."
            )
        return cls(name or f"lists-{folder.name}", tuple(lists), **facts)

    def divide(self, manifest: Manifest) -> list[Fold]:
        by_id = {u.id: u for u in manifest}
        listed = {x for _, *parts in self.lists for ids in parts for x in ids}
        unknown = sorted(listed - by_id.keys())
        if unknown:
            raise ValueError(
                f"The lists of {self.name} name {len(unknown)} of "
                f"{len(listed)} utterances that the manifest does not have, "
                f"{shortened(unknown)}. Read the release that the lists are "
                "of, with all of its labels."
            )
        folds = []
        for name, *parts in self.lists:
            train, test = (
                manifest.subset(by_id[x] for x in ids) for ids in parts
            )
            try:
                folds.append(
                    Fold(
                        name,
                        train,
                        test,
                        self.leaks_speakers,
                        self.selects_on_test,
                    )
                )
            except SpeakerOverlapError as error:
                raise SpeakerOverlapError(
                    f"Fold {name} of {self.name}: {error}. To reproduce a "
                    "published figure all the same, pass leaks_speakers=True."
                ) from error
        return folds


def _listed(folder, pattern):
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise ValueError(
            f"{folder} must have one file {pattern}. Received: "
            f"{[file.name for file in files]}"
        )
    ids = []
    lines = files[0].read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                ids.append(pathlib.PurePosixPath(json.loads(line)["wav"]).stem)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{files[0]}, line {number}: expected an object with "
                    f"`wav`. Received: {line[:60]}"
                ) from error
    return tuple(ids)
