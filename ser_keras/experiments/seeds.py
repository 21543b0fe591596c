"""The same run with several seeds, and one table of them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from ser_keras._files import write_text
from ser_keras.experiments.output import default_export_dir
from ser_keras.experiments.output import open_run
from ser_keras.protocols.protocol import overstated
from ser_keras.reports.data import protocol_facts
from ser_keras.reports.data import protocol_mark
from ser_keras.reports.data import protocol_name
from ser_keras.training.engines.fan_out import run_tasks

if TYPE_CHECKING:
    from ser_keras.protocols.splits import Fold


def run_seeds(
    config: Any,
    folds: Sequence[Fold],
    run_seed: Any,
    *arguments: Any,
    run_folds: Any = None,
) -> dict:
    """Runs every seed of `config.seeds` on the same folds.

    Each is a whole run of its own, in `seed_<n>` of `output_dir`, which goes on
    where it was stopped; more seeds can be added to finished ones. Of several
    `jobs`, each runs a fold of a seed; where there is one fold, each runs a
    seed, and `seed_<n>.txt` gets what it prints. `seeds.md`
    and `seeds.json` hold the table: each seed's UAR with its bootstrap
    interval over speakers, and mean and standard deviation over seeds. That
    deviation says how much a run differs by chance, not how much speakers do.

    Args:
        config: The configuration; its `seed` is not used.
        folds: As for `run_seed`.
        run_seed: `run_seed(config, folds, *arguments)`, which returns what
            `result.json` holds; picklable.
        *arguments: Further ones of `run_seed`.
        run_folds: `run_folds(runs, folder)` runs the folds of several seeds as
            tasks of `config.engine`; see `experiments.driver.run_folds`.

    Returns:
        What `seeds.json` holds.
    """
    run = open_run(config)
    exported = config.export_dir or default_export_dir(config)
    configs = {
        seed: dataclasses.replace(
            config,
            seed=seed,
            seeds=(),
            final=False,
            output_dir=str(run.path / f"seed_{seed}"),
            export_dir=str(pathlib.Path(exported) / f"seed_{seed}"),
        )
        for seed in config.seeds
    }
    results = _run(config, configs, folds, run_seed, arguments, run_folds)
    rows = []
    for seed, result in results.items():
        scores = result["scores"]
        rows.append(
            {
                "seed": seed,
                "uar": scores["uar"],
                "uar_interval_95": result["uar_interval_95"],
                "wa": scores["wa"],
                "n": scores["n"],
                "run": configs[seed].output_dir,
            }
        )
    uar = [row["uar"] for row in rows]
    table = {
        "seeds": rows,
        "uar_mean": statistics.mean(uar),
        # Of one seed there is none.
        "uar_deviation": statistics.stdev(uar) if len(uar) > 1 else None,
        "protocol": result["protocol"],
        "part": result.get("part"),
        **protocol_facts(result),
    }
    run.write_json("seeds.json", table)
    text = markdown(table)
    write_text(run.path / "seeds.md", text)
    print("\n" + text)
    return table


def _run(config, configs, folds, run_seed, arguments, run_folds):
    """Results by seed."""
    one_fold = config.fold or len(folds) == 1
    alone = config.jobs == 1 and config.engine == "local"
    if alone or len(configs) == 1 or not one_fold:
        if run_folds is not None and not (alone or len(configs) == 1):
            runs = {
                f"seed {seed}": (one, folds, *arguments)
                for seed, one in configs.items()
            }
            run_folds(runs, config.output_dir)
        results = {}
        for seed, one in configs.items():
            print(f"\nseed {seed}: {one.output_dir}", flush=True)
            results[seed] = run_seed(one, folds, *arguments)
        return results
    calls, logs, results = {}, {}, {}
    for one in configs.values():
        folder = pathlib.Path(one.output_dir)
        one = dataclasses.replace(one, jobs=1)
        calls[folder.name] = (one, folds, *arguments)
        logs[folder.name] = folder.with_name(f"{folder.name}.txt")
    run_tasks(
        run_seed,
        calls,
        config.jobs,
        logs,
        engine=config.engine,
        folder=config.output_dir,
        finals={
            name: pathlib.Path(one.output_dir) / "result.json"
            for name, (one, *_) in calls.items()
        },
    )
    for seed, one in configs.items():
        file = pathlib.Path(one.output_dir) / "result.json"
        results[seed] = json.loads(file.read_text(encoding="utf-8"))
    return results


def markdown(table: Any) -> str:
    """The table of several seeds as Markdown.

    Args:
        table: What `run_seeds` returned.
    """
    lines = ["| seed | UAR | 95 % interval | WA |", "|---|---|---|---|"]
    for row in table["seeds"]:
        interval = row["uar_interval_95"]
        between = "none"
        if interval is not None:
            between = "{:.3f} to {:.3f}".format(*interval)
        lines.append(
            f"| {row['seed']} | {row['uar']:.3f} | {between} | "
            f"{row['wa']:.3f} |"
        )
    deviation = table["uar_deviation"]
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    name = protocol_name(table) or "unnamed"
    lines += [
        f"| mean | {table['uar_mean']:.3f}{spread} | | |",
        "",
        f"{table['seeds'][0]['n']} test utterances; intervals by bootstrap "
        "over speakers, ± the standard deviation over seeds.",
        "",
        f"Protocol: {name}: {protocol_mark(table)}.",
    ]
    facts = protocol_facts(table)
    if any(facts.values()):
        lines += ["", f"**{overstated(**facts)}**"]
    return "\n".join(lines) + "\n"
