"""Finished runs, read from their folders for reports."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_keras._files import read_json
from ser_keras.corpora.built_in import is_built_in
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.synthetic import is_synthetic
from ser_keras.evaluation.comparison import align
from ser_keras.evaluation.comparison import compare_predictions
from ser_keras.evaluation.comparison import inconclusive
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import METRICS
from ser_keras.evaluation.scores import Scores
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.evaluation.scores import score
from ser_keras.genotype import load_genotype
from ser_keras.protocols.protocol import UNKNOWN
from ser_keras.protocols.protocol import overstated
from ser_keras.training.run_folder import fold_paths

#: Manifest of all test utterances, in a run's folder.
UTTERANCES = "utterances.jsonl"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Args:
        name: Unique name in a report.
        path: Its folder.
        record: Content of `config.json`.
        result: Content of `result.json`.
        predictions: `Predictions` of all test utterances.
        manifest: `Manifest` of them, or None in a folder of an old version.
    """

    name: str
    path: pathlib.Path
    record: dict
    result: dict
    predictions: Predictions
    manifest: Manifest | None

    @property
    def config(self) -> dict:
        """The run's settings."""
        return self.record["config"]

    @functools.cached_property
    def scores(self) -> Scores:
        """Scores of the predictions."""
        return score(self.predictions)

    @functools.cached_property
    def intervals(self) -> dict:
        """95 % confidence interval of each metric; None with one speaker."""
        return {
            name: confidence_interval(self.predictions, name)
            for name in METRICS
        }

    @property
    def facts(self) -> dict:
        """Facts of the protocol: `leaks_speakers` and `selects_on_test`."""
        return protocol_facts(self.result)

    @property
    def protocol(self) -> str | None:
        """Name and hash of the protocol, if the run has them."""
        return protocol_name(self.result)

    @property
    def mark(self) -> str:
        """Short remark on the facts of the protocol, for a table."""
        return protocol_mark(self.result)

    @property
    def warnings(self) -> list[str]:
        """Warnings that are shown beside every score of this run."""
        lines = [overstated(**self.facts)] if any(self.facts.values()) else []
        if self.synthetic:
            lines.append(
                "SYNTHETIC CORPUS: generated signals that imitate speech. The "
                "scores show that the program runs; they are no measure of "
                "emotion recognition."
            )
        if self.built_in:
            lines.append(
                "BUILT-IN CORPUS: acted German speech, four emotions of "
                "EMO-DB. Not comparable with scores on IEMOCAP."
            )
        if self.unknown_speakers:
            lines.append(
                "SPEAKER-UNKNOWN: the list does not say who speaks. Speakers "
                "may be in training and test, and there is no interval."
            )
        elif len(self.scores.per_speaker) < 2:
            lines.append(
                "ONE TEST SPEAKER: there is no confidence interval, and the "
                "scores are no estimate for other speakers."
            )
        return lines

    @property
    def few_speakers(self) -> str:
        """What so few test speakers cannot show; empty of enough, or of one.

        All runs of a report have the same, so that a report says it once.
        """
        few = inconclusive(len(self.scores.per_speaker))
        if not few or len(self.scores.per_speaker) < 2:
            return ""
        return (
            f"FEW TEST SPEAKERS: {few}, and an interval over so few speakers "
            "says little."
        )

    @property
    def unknown_speakers(self) -> bool:
        """Whether its corpus is a list that does not say who speaks."""
        return speaker_unknown(self.result)

    @property
    def synthetic(self) -> bool:
        """Whether it ran on generated speech.

        That was the built-in corpus of versions before 0.2.0.
        """
        if self.config.get("data_dir", "unknown") != "" or self.built_in:
            return False
        if self.manifest is None:
            return True
        path = pathlib.Path(self.manifest[0].path)
        return not path.exists() or any(map(is_synthetic, path.parents))

    @property
    def built_in(self) -> bool:
        """Whether it ran on the built-in corpus."""
        return self.manifest is not None and is_built_in(self.manifest[0].path)

    @property
    def genotypes(self) -> dict:
        """Dict from each architecture to the folders that have it."""
        found = {}
        for folder in self.folders:
            file = folder / "genotype.json"
            if file.exists():
                found.setdefault(load_genotype(file), []).append(folder)
        return found

    @property
    def folders(self) -> list[pathlib.Path]:
        """Folder of the run, and folders of its folds."""
        return [self.path, *self.fold_of]

    @functools.cached_property
    def fold_of(self) -> dict[pathlib.Path, str]:
        """Dict from the folder of each fold to the fold's name."""
        paths = fold_paths(self.path, self.result["folds"])
        return {path: name for name, path in paths.items()}


def protocol_facts(result: dict) -> dict:
    """`leaks_speakers` and `selects_on_test` of a `result.json`."""
    return {
        name: bool(result.get(name))
        for name in ("leaks_speakers", "selects_on_test")
    }


def protocol_name(result: dict) -> str | None:
    """Name and hash of the protocol in a `result.json`, if it has them.

    Results of old versions have no protocol, or a name without a hash.
    """
    protocol = result.get("protocol")
    if not isinstance(protocol, dict):
        return protocol
    known = protocol.get("hash")
    return f"{protocol['name']} ({known})" if known else protocol["name"]


def speaker_unknown(result: dict) -> bool:
    """Whether a `result.json` is of a list that does not say who speaks."""
    protocol = result.get("protocol")
    return isinstance(protocol, dict) and protocol.get("name") == UNKNOWN


def protocol_mark(result: dict) -> str:
    """Short remark on the facts of a protocol, for a table.

    >>> protocol_mark({"leaks_speakers": True, "selects_on_test": False})
    'OVERSTATES: leaks speakers'
    >>> protocol_mark({"part": {"folds": [1], "of": 5}})
    'new speakers; fold 1 of 5'
    """
    facts = protocol_facts(result)
    named = [name.replace("_", " ") for name, is_so in facts.items() if is_so]
    mark = f"OVERSTATES: {', '.join(named)}" if named else "new speakers"
    if speaker_unknown(result):
        mark = "OVERSTATES: speakers unknown, may be in training and test"
    part = result.get("part")
    if part:
        numbers = ", ".join(map(str, part["folds"]))
        plural = "s" if len(part["folds"]) > 1 else ""
        mark += f"; fold{plural} {numbers} of {part['of']}"
    return mark


def read_runs(paths: Any) -> list[Run]:
    """Reads finished runs; several must be of the same test utterances.

    Args:
        paths: Folders of runs.

    Returns:
        List of `Run`, in that order. Their names are the last parts of the
        paths, as many as make them unique.

    Raises:
        ValueError: A folder is not that of a finished run, or is given twice;
            predictions do not cover the test utterances; or two runs have
            different test utterances. The message names folders and rows.
    """
    if isinstance(paths, str | pathlib.PurePath):
        paths = [paths]
    paths = [pathlib.Path(path) for path in paths]
    if not paths:
        raise ValueError("A report needs at least one run's folder.")
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise ValueError(f"{path} is given twice. Name every run once.")
    runs = [
        read_run(path, name)
        for path, name in zip(paths, _names(resolved), strict=True)
    ]
    for run in runs[1:]:
        try:
            align(runs[0].predictions, run.predictions)
        except ValueError as error:
            raise ValueError(
                "Runs of one report must have the same test utterances. "
                f"{runs[0].path} (the first) and {run.path} (the second) have "
                f"not: {error}. Write a report of each."
            ) from error
    return runs


def read_run(path: str | os.PathLike[str], name: str | None = None) -> Run:
    """Reads a finished run.

    Args:
        path: Its folder.
        name: Its name in a report; default the folder's.

    Raises:
        ValueError: See `read_runs`.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder. Give the folder of a run.")
    record = read_json(path / "config.json")
    if not isinstance(record, dict) or "config" not in record:
        raise ValueError(
            f"{path} is not a run of ser_keras: its config.json is missing or "
            "of another program. Give the --output-dir of a run."
        )
    result = read_json(path / "result.json")
    file = path / "predictions.csv"
    if result is None or not file.exists():
        raise ValueError(_unfinished(path))
    predictions = Predictions.load_csv(file)
    manifest = None
    if (path / UTTERANCES).exists():
        manifest = Manifest.load(path / UTTERANCES)
        try:
            predictions.check_covers(manifest)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    elif len(predictions) != result["scores"]["n"]:
        raise ValueError(
            f"{file} must have the {result['scores']['n']} test utterances "
            f"of result.json. Received: {len(predictions)} rows"
        )
    return Run(
        name or path.resolve().name, path, record, result, predictions, manifest
    )


def comparisons(runs: Sequence[Run]) -> list[dict]:
    """Compares each run with the first one: difference of UAR and p-values.

    P-values are also adjusted for multiple tests, by Holm's method.

    Args:
        runs: List of `Run`.

    Returns:
        List of dicts: `name`, `difference` (run minus first run), `low`,
        `high`, `p_value`, `adjusted`, `verdict`.
    """
    first, *compared = runs
    rows: list[dict] = []
    for run in compared:
        found = compare_predictions(run.predictions, first.predictions)
        rows.append(
            {
                "name": run.name,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "p_value": found.p_value,
            }
        )
    adjusted = holm([row["p_value"] for row in rows])
    for row, p_value, run in zip(rows, adjusted, compared, strict=True):
        row["adjusted"] = p_value
        row["verdict"] = "no difference shown"
        few = inconclusive(len(first.scores.per_speaker))
        if _another_protocol(run, first):
            row["verdict"] = "not comparable: another protocol"
        elif few:
            row["verdict"] = few
        elif p_value < 0.05:
            row["verdict"] = "better" if row["difference"] > 0 else "worse"
    return rows


def _another_protocol(run, first):
    """Whether two runs with the same test utterances have different folds."""
    if run.facts != first.facts:
        return True
    # By the hash of the folds, as two protocols may make the same ones; by that
    # of the protocol in results of old versions.
    hashes = []
    for result in (run.result, first.result):
        protocol = result.get("protocol")
        known = protocol.get("hash") if isinstance(protocol, dict) else None
        hashes.append((result.get("folds_hash"), known))
    for pair in zip(*hashes, strict=True):
        if all(pair):
            return pair[0] != pair[1]
    return set(run.result["folds"]) != set(first.result["folds"])


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for multiple tests, by Holm's method.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    References:
        Holm, "A simple sequentially rejective multiple test procedure",
        Scand. J. Stat., 1979.
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted.tolist()


def confident_errors(predictions: Predictions, count: int) -> list[dict]:
    """The errors with the highest confidence.

    Args:
        predictions: `Predictions`.
        count: Largest number of errors.

    Returns:
        List of dicts: `id`, `speaker`, `truth`, `answer` (predicted class),
        `probability` of the answer and `true_probability`.
    """
    predicted = predictions.predicted
    rows = np.flatnonzero(predicted != predictions.labels)
    confidence = predictions.probabilities.max(axis=1)
    rows = rows[np.argsort(-confidence[rows], kind="stable")][:count]
    names = predictions.label_names
    return [
        {
            "id": predictions.ids[row],
            "speaker": predictions.speakers[row],
            "truth": names[predictions.labels[row]],
            "answer": names[predicted[row]],
            "probability": float(confidence[row]),
            "true_probability": float(
                predictions.probabilities[row, predictions.labels[row]]
            ),
        }
        for row in rows
    ]


def _names(resolved):
    """The shortest ends of paths that are unique."""
    for parts in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-parts:]) for path in resolved]
        if len(set(names)) == len(names):
            break
    return names


def _unfinished(path):
    if (path / "ablation.json").exists():
        return (
            f"{path} is an ablation, whose table is ablation.md. Give its "
            f"runs: {path / 'variants'}/<name>"
        )
    folds = path / "folds"
    begun = sorted(folds.iterdir()) if folds.is_dir() else []
    record = read_json(path / "folds.json") or {}
    name_of = {y: x for x, y in record.get("folders", {}).items()}
    done = [
        name_of.get(x.name, x.name)
        for x in begun
        if (x / "predictions.csv").exists()
    ]
    return (
        f"{path} is a run that is not finished: it has no result.json or no "
        f"predictions.csv. Finished folds: {', '.join(done) or 'none'}. Run "
        "the same command again to resume it."
    )
