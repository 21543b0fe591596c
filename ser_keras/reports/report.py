"""Pictures and `result.json` of a finished run."""

import pathlib
from typing import Any

from ser_keras._files import read_rows
from ser_keras._registry import package_versions
from ser_keras.evaluation.calibration import measure_calibration
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.evaluation.scores import confidence_interval
from ser_keras.genotype import load_genotype
from ser_keras.reports.cell_drawing import draw_genotype
from ser_keras.reports.figures import plot_alphas
from ser_keras.reports.figures import plot_confusion
from ser_keras.reports.figures import plot_learning_curves
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.run_folder import fold_paths


def write_report(
    run: RunFolder, outcome: CrossValidation, **entries: Any
) -> dict:
    """Writes `result.json` and the pictures of a run and of its folds.

    Args:
        run: The run's folder.
        outcome: What `cross_validate` returned.
        **entries: Further entries of `result.json`.

    Returns:
        What `result.json` holds.
    """
    folders = [run.path, *fold_paths(run.path, outcome.fold_scores).values()]
    # Of the network that was trained on all speakers.
    if (run.path / "final").is_dir():
        folders.append(run.path / "final")
    for folder in folders:
        draw_folder(folder, run.config)
    plot_confusion(outcome.scores, run.path / "confusion.png")
    result = {
        **summary(outcome),
        "seed": run.config.get("seed"),
        "versions": package_versions(),
        **entries,
    }
    run.write_json("result.json", result)
    return result


def summary(outcome: CrossValidation) -> dict:
    """What a run found, and what kind of score it is, for `result.json`.

    Args:
        outcome: What `cross_validate` returned.
    """
    facts = {
        "leaks_speakers": outcome.leaks_speakers,
        "selects_on_test": outcome.selects_on_test,
    }
    found = measure_calibration(outcome.predictions)
    scaled = {}
    if outcome.scaled is not None:
        scaled["temperature_scaling"] = {
            "temperatures": outcome.temperatures,
            "ece_before": found.ece,
            "ece_after": measure_calibration(outcome.scaled).ece,
            "n_bins": len(found.counts),
        }
    return {
        "scores": outcome.scores.to_dict(),
        # By bootstrap over speakers; null with a single one.
        "uar_interval_95": confidence_interval(outcome.predictions),
        "calibration": {"ece": found.ece, "n_bins": len(found.counts)},
        **scaled,
        "folds": {
            name: {"uar": scores.uar, "wa": scores.wa, "n": scores.n}
            for name, scores in outcome.fold_scores.items()
        },
        "held_out": outcome.held_out,
        "part": outcome.part,
        **facts,
        "folds_hash": outcome.folds_hash,
        "protocol": outcome.protocol or {"name": None, **facts, "hash": None},
    }


def draw_folder(folder: pathlib.Path, config: Any) -> None:
    """Draws what a folder holds: cells, alphas, learning curves."""
    if (folder / "genotype.json").exists():
        genotype = load_genotype(folder / "genotype.json")
        draw_genotype(genotype, folder / "cells.png")
    rows = read_rows(folder / "architecture.jsonl")
    if rows:
        plot_alphas(_history(rows), folder / "alphas.png")
    for stage in ("search", "pretrain", "train"):
        rows = RunFolder(folder, config).rows(stage)
        if rows:
            plot_learning_curves(rows, folder / f"{stage}_curves.png")


def _history(rows):
    """Alphas of all epochs, with the names of edges and candidates."""
    return {
        kind: {
            "alphas": [row["alphas"][kind] for row in rows],
            "candidates": rows[0]["candidates"][kind],
            "edges": rows[0]["edges"][kind],
        }
        for kind in rows[0]["alphas"]
    }
