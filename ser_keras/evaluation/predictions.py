"""Predictions: a table of labels and probabilities of each utterance."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from ser_keras._errors import shortened
from ser_keras._files import write_text

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest

_COLUMN = "probability_"


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Table of one row for each utterance: speaker, label, probabilities.

    Args:
        ids: Unique names of the utterances.
        speakers: Speaker of each utterance.
        sexes: `"female"`, `"male"` or None for each utterance.
        labels: True class number of each utterance, int array `(utterances,)`.
        probabilities: Float array `(utterances, classes)`, stored as float32.
        label_names: Names of the classes, in the order of `probabilities`.

    Raises:
        ValueError: Lengths differ, an utterance occurs twice, a label is not a
            class number, or a row is not a probability distribution.

    Example:
    >>> predictions = Predictions(
    ...     ids=("a", "b"), speakers=("03", "08"), sexes=("male", None),
    ...     labels=[0, 1], probabilities=[[0.9, 0.1], [0.8, 0.2]],
    ...     label_names=("anger", "neutral"))
    >>> predictions.predicted.tolist()
    [0, 0]
    """

    ids: Sequence[str]
    speakers: Sequence[str]
    sexes: Sequence[str | None]
    labels: np.ndarray
    probabilities: np.ndarray
    label_names: Sequence[str]

    def __post_init__(self):
        for name in ("ids", "speakers", "sexes", "label_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        labels = np.asarray(self.labels)
        probabilities = np.asarray(self.probabilities, np.float32)
        classes = len(self.label_names)
        if not len(self):
            raise ValueError("Predictions must have at least one utterance.")
        lengths = {
            "ids": len(self.ids),
            "speakers": len(self.speakers),
            "sexes": len(self.sexes),
            "labels": len(labels),
            "probabilities": len(probabilities),
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "All columns of predictions must have the same length. "
                f"Received: {lengths}"
            )
        if labels.ndim != 1 or probabilities.shape[1:] != (classes,):
            raise ValueError(
                "`labels` must have shape (utterances,) and `probabilities` "
                f"(utterances, {classes}), as there are {classes} label names."
                f" Received shapes: {labels.shape}, {probabilities.shape}"
            )
        if len(set(self.label_names)) < classes:
            raise ValueError(
                "`label_names` must not repeat a name. Received: "
                f"label_names={self.label_names}"
            )
        _, first = np.unique(np.array(self.ids), return_index=True)
        twice = np.ones(len(self), bool)
        twice[first] = False
        self._check(twice, "Every utterance must occur once", self.ids)
        wrong = ~np.isin(labels, np.arange(classes))
        self._check(
            wrong, f"`labels` must be from 0 to {classes - 1}", labels.tolist()
        )
        total = probabilities.sum(axis=1)
        # NaN and infinity fail this test as well. The tolerance is that of
        # bfloat16; logits do not pass.
        valid = (np.abs(total - 1) < 1e-2) & (probabilities >= 0).all(axis=1)
        self._check(
            ~valid,
            "A row of `probabilities` must be finite, not negative, and sum "
            "to 1",
            probabilities.tolist(),
        )
        object.__setattr__(self, "labels", labels.astype(np.int32))
        object.__setattr__(self, "probabilities", probabilities)

    def _check(self, wrong, rule, column, shown=3):
        rows = np.flatnonzero(wrong)
        if len(rows):
            examples = "; ".join(
                f"{column[row]} in row {row} ({self.ids[row]})"
                for row in rows[:shown]
            )
            raise ValueError(
                f"{rule}. Received {len(rows)} wrong rows of {len(self)}, "
                f"such as: {examples} (rows count from 0)."
            )

    def __len__(self):
        return len(self.ids)

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class of each utterance, int array `(utterances,)`."""
        return self.probabilities.argmax(axis=1)

    @classmethod
    def of(cls, manifest: Manifest, probabilities: np.ndarray) -> Predictions:
        """Predictions of the utterances of a manifest.

        Args:
            manifest: `Manifest`.
            probabilities: Float array `(utterances, classes)`, in its order.

        Returns:
            `Predictions`.
        """
        return cls(
            ids=[utterance.id for utterance in manifest],
            speakers=[utterance.speaker for utterance in manifest],
            sexes=[utterance.sex for utterance in manifest],
            labels=manifest.label_ids,
            probabilities=probabilities,
            label_names=manifest.labels,
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Predictions]) -> Predictions:
        """Joins predictions of the same classes, such as those of all folds.

        Args:
            parts: Sequence of `Predictions`.

        Returns:
            `Predictions`, in the same order.

        Raises:
            ValueError: The classes differ, or two parts share an utterance.
        """
        parts = list(parts)
        if not parts:
            raise ValueError("`parts` must have at least one element.")
        names = {part.label_names for part in parts}
        if len(names) > 1:
            raise ValueError(
                "Predictions to be joined must have the same `label_names` in "
                f"the same order. Received: {sorted(map(tuple, names))}"
            )
        columns: dict[str, Any] = {
            name: [row for part in parts for row in getattr(part, name)]
            for name in ("ids", "speakers", "sexes", "labels", "probabilities")
        }
        return cls(**columns, label_names=parts[0].label_names)

    def check_covers(self, manifest: Manifest) -> None:
        """Checks that these are the predictions of exactly a test part.

        Args:
            manifest: `Manifest` of the test part.

        Raises:
            ValueError: Utterances are missing or too many, or a label differs;
                the message names them.
        """
        row_of = {name: row for row, name in enumerate(self.ids)}
        label_of = {u.id: u.label for u in manifest}
        missing = [name for name in label_of if name not in row_of]
        if missing:
            raise ValueError(
                "Predictions must cover the whole test part. "
                f"Received: {len(missing)} of {len(manifest)} utterances are "
                f"missing: {shortened(missing)}"
            )
        other = ~np.isin(np.array(self.ids), np.array(list(label_of)))
        self._check(
            other, "Predictions must be of the test part only", self.speakers
        )
        names = [self.label_names[label] for label in self.labels]
        wrong = np.array(
            [
                name != label_of[key]
                for key, name in zip(self.ids, names, strict=True)
            ]
        )
        self._check(wrong, "Labels must be those of the test part", names)

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes a CSV file that `load_csv` reads back unchanged.

        Its columns are `id`, `speaker`, `sex`, `label`, `predicted`, and
        `probability_<label>` for each class.
        """
        names, predicted = self.label_names, self.predicted
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(
            ["id", "speaker", "sex", "label", "predicted"]
            + [_COLUMN + name for name in names]
        )
        for i, row in enumerate(self.probabilities.tolist()):
            writer.writerow(
                [
                    self.ids[i],
                    self.speakers[i],
                    self.sexes[i],
                    names[self.labels[i]],
                    names[predicted[i]],
                ]
                # Nine digits represent every float32 exactly.
                + [f"{probability:.9g}" for probability in row]
            )
        write_text(path, file.getvalue())

    @classmethod
    def load_csv(cls, path: str | os.PathLike[str]) -> Predictions:
        """Reads a CSV file of `save_csv`, or of another program.

        The columns `sex` and `predicted` may be missing; the latter is not
        read.

        Returns:
            `Predictions`.

        Raises:
            ValueError: A column is missing or a value is invalid; the message
                names the file and the line.
        """
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            names = [
                column.removeprefix(_COLUMN)
                for column in columns
                if column.startswith(_COLUMN)
            ]
            needed = {"id", "speaker", "label"} - set(columns)
            if needed or not names:
                raise ValueError(
                    f"{path} must have the columns id, speaker, label and "
                    f"{_COLUMN}<label> for each class. Received: {columns}"
                )
            number = {name: i for i, name in enumerate(names)}
            rows, labels, probabilities = [], [], []
            for row in reader:
                try:
                    labels.append(number[row["label"]])
                    probabilities.append(
                        [float(row[_COLUMN + name]) for name in names]
                    )
                except KeyError as error:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: unknown label "
                        f"{error}; the columns are of {names}"
                    ) from None
                except (TypeError, ValueError) as error:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {error}"
                    ) from error
                rows.append((row["id"], row["speaker"], row.get("sex") or None))
        ids, speakers, sexes = zip(*rows, strict=True) if rows else ((),) * 3
        try:
            return cls(
                ids,
                speakers,
                sexes,
                np.array(labels, np.int32),
                np.array(probabilities, np.float32),
                tuple(names),
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
