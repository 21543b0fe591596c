"""What each stream and the exchange between them bring: one table."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import pathlib
from typing import TYPE_CHECKING
from typing import Any

from ser_keras._files import write_text
from ser_keras.evaluation.comparison import compare_predictions
from ser_keras.evaluation.comparison import inconclusive
from ser_keras.evaluation.predictions import Predictions
from ser_keras.experiments.corpus import all_utterances
from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.output import default_export_dir
from ser_keras.experiments.output import open_run
from ser_keras.experiments.registry import system_class
from ser_keras.protocols.protocol import overstated
from ser_keras.reports.data import protocol_facts
from ser_keras.reports.data import protocol_mark
from ser_keras.reports.data import protocol_name

if TYPE_CHECKING:
    from ser_keras.protocols.splits import Fold

#: Variants by name, and the fields of the configuration that make them.
VARIANTS = {
    "handcrafted": {"streams": "handcrafted"},
    "deep": {"streams": "deep"},
    "concatenation": {"streams": "both", "fusion": "concatenation"},
    "supplement": {"streams": "both", "fusion": "supplement"},
}
#: What the searched architecture of the last variant has to beat.
CONTROLS = {
    name: {**VARIANTS["supplement"], "architecture": name, "genotype": ""}
    for name in ("random", "hand_made")
}
_TITLES = {
    "handcrafted": "hand-crafted only",
    "deep": "deep only",
    "concatenation": "both, concatenation",
    "supplement": "both, supplement",
    "random": "both, supplement, random architecture",
    "hand_made": "both, supplement, architecture made by hand",
}


def run_ablation(config: Any, folds: list[Fold], run_variant: Any) -> dict:
    """Runs every variant on the same folds, and compares their predictions.

    With `controls` there are two more variants, whose architecture is not
    searched. They can be added to a finished ablation.

    Each variant is a whole run of its own, in `variants/<name>`: its
    architecture is searched and its epoch chosen as if it were the only one.
    `ablation.md`, `ablation.json` and `ablation.csv` hold the table: UAR with
    its bootstrap interval over speakers, WA, parameters (mean over folds) and
    seconds of search and training; and the difference of each pair, with an
    interval and a p-value that count speakers (see `compare_predictions`).

    Args:
        config: The configuration; its `streams` and `fusion` are not used.
        folds: As for `run_variant`.
        run_variant: `run_variant(config, folds)`, which returns what
            `result.json` holds.

    Returns:
        What `ablation.json` holds.
    """
    # What one variant alone would fail at, hours later; and utterances that
    # any stream must skip are left out of all variants.
    both = system_class("emotionnas")(
        dataclasses.replace(config, streams="both")
    )
    utterances = all_utterances(chosen_folds(folds, both.config.fold))
    streams = both.preprocessor().compute(
        utterances, config.cache_dir, skip_bad_audio=config.skip_bad_audio
    )
    bad = {u.id for u in utterances} - {u.id for u in streams.manifest}
    folds = [without(fold, bad) for fold in folds]
    run = open_run(config)
    variants = VARIANTS | (CONTROLS if config.controls else {})
    rows, predictions = {}, {}
    for name, changes in variants.items():
        folder = run.path / "variants" / name
        exported = config.export_dir or default_export_dir(config)
        print(f"\n{_TITLES[name]}: {folder}", flush=True)
        result = run_variant(
            dataclasses.replace(
                config,
                ablate=False,
                controls=False,
                final=False,
                output_dir=str(folder),
                export_dir=str(pathlib.Path(exported) / name),
                **changes,
            ),
            folds,
        )
        scores, interval = result["scores"], result["uar_interval_95"]
        rows[name] = {
            "variant": _TITLES[name],
            "uar": scores["uar"],
            "low": None if interval is None else interval[0],
            "high": None if interval is None else interval[1],
            "wa": scores["wa"],
            "n": scores["n"],
            "parameters": round(result["parameters"]),
            "seconds": result["seconds"],
        }
        predictions[name] = Predictions.load_csv(folder / "predictions.csv")
    comparisons = [
        {
            "variant": second,
            "reference": first,
            **compare_predictions(
                predictions[second], predictions[first]
            ).to_dict(),
        }
        for first, second in itertools.combinations(variants, 2)
    ]
    table = {
        "variants": rows,
        "comparisons": comparisons,
        "deep_extractor": result["deep_extractor"],
        "protocol": result["protocol"],
        "part": result.get("part"),
        "leaks_speakers": result["leaks_speakers"],
        "selects_on_test": result["selects_on_test"],
        "seed": config.seed,
    }
    run.write_json("ablation.json", table)
    write_text(run.path / "ablation.md", markdown(table))
    _write_csv(run.path / "ablation.csv", rows)
    print("\n" + markdown(table))
    return table


def without(fold, bad):
    """A fold without some utterances: all variants hear the same."""
    parts = {
        name: part.subset(u for u in part if u.id not in bad)
        for name, part in (("train", fold.train), ("test", fold.test))
    }
    return dataclasses.replace(fold, **parts)


def markdown(table: Any) -> str:
    """The tables of an ablation as Markdown."""
    speakers = table["comparisons"][0]["speakers"]
    lines = [
        "| variant | UAR | 95 % interval | WA | parameters | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in table["variants"].values():
        lines.append(
            f"| {row['variant']} | {row['uar']:.3f} | "
            f"{_interval(row['low'], row['high'], '.3f')} | {row['wa']:.3f} | "
            f"{row['parameters']} | {row['seconds']:.0f} |"
        )
    lines += [
        "",
        "| difference in UAR | | 95 % interval | p |",
        "|---|---|---|---|",
    ]
    for row in table["comparisons"]:
        lines.append(
            f"| {_TITLES[row['variant']]} - {_TITLES[row['reference']]} | "
            f"{row['difference']:+.3f} | "
            f"{_interval(row['low'], row['high'], '+.3f')} | "
            f"{row['p_value']:.3g} |"
        )
    lines += [
        "",
        f"Pooled over {table['comparisons'][0]['n']} test utterances of "
        f"{speakers} speakers; intervals by bootstrap and p by permutation "
        "over speakers, not corrected for the number of comparisons. Deep "
        f"stream: {table['deep_extractor']}. Seed {table['seed']}.",
    ]
    if few := inconclusive(speakers):
        lines += ["", f"{few[0].upper()}{few[1:]}."]
    facts = protocol_facts(table)
    name = protocol_name(table) or "unnamed"
    lines += ["", f"Protocol: {name}: {protocol_mark(table)}."]
    if any(facts.values()):
        lines += ["", f"**{overstated(**facts)}**"]
    return "\n".join(lines) + "\n"


def _interval(low, high, spec):
    return "none" if low is None else f"{low:{spec}} to {high:{spec}}"


def _write_csv(path, rows):
    file = io.StringIO()
    writer = csv.DictWriter(file, ["name", *next(iter(rows.values()))])
    writer.writeheader()
    writer.writerows({"name": name, **row} for name, row in rows.items())
    write_text(path, file.getvalue())
