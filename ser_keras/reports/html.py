"""Reports of finished runs, as a self-contained HTML page or in Markdown."""

import os
import pathlib
from collections.abc import Sequence

import jinja2
import markupsafe
import numpy as np

import ser_keras
from ser_keras._files import write_text
from ser_keras.evaluation.calibration import BINS
from ser_keras.evaluation.calibration import coverage_curve
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.reports.data import comparisons
from ser_keras.reports.data import confident_errors
from ser_keras.reports.data import read_runs
from ser_keras.reports.report_figures import coverage_diagram
from ser_keras.reports.report_figures import picture
from ser_keras.reports.report_figures import reliability_diagram
from ser_keras.reports.report_figures import sound

_TITLES = {
    "uar": "UAR",
    "wa": "WA",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
}
_PICTURES = 8  # Of a run; each has up to 250 kB.
_SOUNDS = 40  # Of a page; each has up to 40 kB.


def write_html(
    runs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    errors: int = 8,
    audio: bool = True,
) -> pathlib.Path:
    """Writes a self-contained HTML page about finished runs.

    It has the settings of each run, its protocol with warnings, scores with
    confidence intervals, confusion matrix, speakers, architectures, calibration
    and the errors with the highest confidence. Several runs must have the same
    test utterances, and are compared with the first one.

    The page may have recordings, so that the licence of the corpus determines
    whether it may be distributed; `audio=False` leaves them out.

    Args:
        runs: Folders of finished runs.
        output: HTML file to write; it is replaced if it exists.
        errors: Largest number of errors shown for each run.
        audio: Whether errors can be played: the first 8 seconds of at most 40.

    Returns:
        Path of the file.

    Raises:
        ValueError: A folder is not that of a finished run, or the runs have
            different test utterances (see `read_runs`); nothing is written.

    Example:
        `ser_keras report results/run` on the command line, or
        `write_html(["results/run"], "report.html")`.
    """
    runs = read_runs(runs)
    sounds = max(1, _SOUNDS // len(runs)) if audio else 0
    page = (
        _environment()
        .get_template("report.html")
        .render(
            runs=[_run(run, errors, min(sounds, errors)) for run in runs],
            comparisons=comparisons(runs),
            audio=audio,
            titles=_TITLES,
            bins=BINS,
            version=ser_keras.__version__,
        )
    )
    write_text(output, page)
    return pathlib.Path(output)


def write_markdown(
    runs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
) -> pathlib.Path:
    """Writes the scores of finished runs as a Markdown table.

    Args:
        runs: Folders of finished runs.
        output: File to write; it is replaced if it exists.

    Returns:
        Path of the file.

    Raises:
        ValueError: See `write_html`.
    """
    write_text(output, markdown(read_runs(runs)))
    return pathlib.Path(output)


def markdown(runs: list) -> str:
    """Text of `write_markdown`.

    Args:
        runs: List of `Run`, from `read_runs`.

    Returns:
        Markdown.
    """
    template = _environment(autoescape=False).get_template("report.md")
    return template.render(
        runs=runs, comparisons=comparisons(runs), titles=_TITLES
    )


def _run(run, errors, sounds):
    """Variables of the template for a run."""
    found = measure_calibration(run.predictions)
    coverage = coverage_curve(run.predictions)
    return {
        "run": run,
        "calibration": found,
        "coverage": coverage,
        "diagram": markupsafe.Markup(reliability_diagram(found)),
        "curve": markupsafe.Markup(coverage_diagram(coverage)),
        "architectures": [
            {
                "text": genotype.describe(),
                "folds": [_fold_name(run, folder) for folder in folders],
            }
            for genotype, folders in run.genotypes.items()
        ],
        "pictures": _pictures(run),
        "errors": _errors(run, errors, sounds),
        "of_speakers": _of_speakers(run.predictions),
        "shares": run.scores.confusion
        / run.scores.confusion.sum(axis=1, keepdims=True).clip(1),
    }


def _of_speakers(predictions):
    """Rows of the speakers' confusion: of each class that a speaker has."""
    names, rows = predictions.label_names, []
    speakers = np.array(predictions.speakers)
    for speaker in sorted(set(predictions.speakers)):
        for number, truth in enumerate(names):
            chosen = (speakers == speaker) & (predictions.labels == number)
            counts = np.bincount(
                predictions.predicted[chosen], minlength=len(names)
            )
            if counts.sum():
                rows.append(
                    {
                        "speaker": speaker,
                        "truth": truth,
                        "counts": counts.tolist(),
                        "recall": counts[number] / counts.sum(),
                    }
                )
    return rows


def _pictures(run):
    """Drawings of cells and alphas, of the first folds that have them."""
    titles = {"cells": "Cells", "alphas": "Alphas over the search's epochs"}
    first = [folders[0] for folders in run.genotypes.values()]
    found = [
        (f"{title}, {_fold_name(run, folder)}", folder / f"{name}.png")
        for folder in [*first, *(x for x in run.folders if x not in first)]
        for name, title in titles.items()
        if (folder / f"{name}.png").exists()
    ]
    return [
        {"title": title, "address": picture(path)}
        for title, path in found[:_PICTURES]
    ]


def _fold_name(run, folder):
    name = run.fold_of.get(folder)
    return "all folds" if name is None else f"fold {name}"


def _errors(run, count, sounds):
    rows = confident_errors(run.predictions, count)
    utterances = {u.id: u for u in run.manifest or ()}
    for row in rows[:sounds]:
        if row["id"] in utterances:
            row["sound"] = sound(utterances[row["id"]])
    return rows


def _environment(autoescape=True):
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ser_keras.reports", "templates"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "score": lambda x: "–" if x is None else f"{x:.3f}",
        "signed": lambda x: "–" if x is None else f"{x:+.3f}",
        "interval": _interval,
        "p": lambda x: "<0.001" if x < 0.001 else f"{x:.3f}",
    }
    return environment


def _interval(pair, sign=""):
    if pair is None or pair[0] is None:
        return "one speaker"
    return f"{pair[0]:{sign}.3f} to {pair[1]:{sign}.3f}"
