"""Drawing the cells of a genotype, as an image or as Graphviz text."""

from __future__ import annotations

import functools
import itertools
import os
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ser_keras._files import replace_file
from ser_keras._files import write_text
from ser_keras.reports.cell_layout import place_labels
from ser_keras.reports.cell_layout import place_states

if TYPE_CHECKING:
    from ser_keras.genotype import Genotype
    from ser_keras.genotype import TwoStreamGenotype

CELL_TITLES = {
    "normal": "Normal cell",
    "reduce": "Reduction cell",
    "recurrent": "Recurrent cell",
}
# Colour-blind-safe, and dark enough for text.
_COLOURS = ("#005A8D", "#B34700", "#00704F", "#8F3F74", "#7A5C00", "#333333")
_BLUE = "#0072B2"


def state_name(state):
    """Name of a state in figures: `c_{k-2}`, `c_{k-1}`, `0`, `1` ...

    >>> [state_name(state) for state in (0, 1, 2)]
    ['c_{k-2}', 'c_{k-1}', '0']
    """
    return ("c_{k-2}", "c_{k-1}")[state] if state < 2 else str(state - 2)


def math_name(name):
    """Name of a state as mathematical text of Matplotlib."""
    return f"${name}$" if "_" in name else name


def cell_title(kind):
    """Title of the drawing of a cell.

    >>> cell_title("reduce"), cell_title("deep_recurrent")
    ('Reduction cell', 'Recurrent cell, deep')
    """
    stream, _, rest = kind.rpartition("_")
    title = CELL_TITLES.get(rest, kind)
    return f"{title}, {stream}" if stream else title


def save_figure(figure, path):
    """Writes a figure in the format of the file name's ending."""
    save = functools.partial(figure.savefig, dpi=150, facecolor="white")
    replace_file(path, save)


def draw_genotype(
    genotype: Genotype | TwoStreamGenotype,
    path: str | os.PathLike[str],
    dot_path: str | os.PathLike[str] | None = None,
) -> None:
    """Draws the cells of a genotype as graphs.

    Args:
        genotype: A `Genotype` or `TwoStreamGenotype`.
        path: Image file to write.
        dot_path: File for the graphs as Graphviz text, or None.
    """
    cells = genotype.cells
    places = {kind: place_states(cell) for kind, cell in cells.items()}
    widths = [places[kind]["output"][0] + 0.7 for kind in cells]
    figure = Figure((sum(widths), 4.2), layout="constrained")
    axes = figure.subplots(
        1, len(cells), squeeze=False, width_ratios=widths
    ).ravel()
    for axis, (kind, cell) in zip(axes, cells.items(), strict=True):
        _draw_cell(axis, cell, places[kind])
        axis.set_title(cell_title(kind), fontsize=13)
    save_figure(figure, path)
    if dot_path is not None:
        write_text(dot_path, genotype_dot(genotype))


def _draw_cell(axis, cell, at):
    names = {s: math_name(state_name(s)) for s in at if s != "output"}
    names["output"] = "$c_k$"
    lines = [(edge.source, edge.target) for edge in cell.edges]
    for source, target in [(state, "output") for state in cell.concat]:
        _arrow(axis, at[source], at[target], color="#bbbbbb", linewidth=1.0)
    labels = place_labels(at, lines)
    # Labels have the colours of their lines, which may cross.
    colours = itertools.cycle(_COLOURS)
    for edge, place in zip(cell.edges, labels, strict=True):
        colour = next(colours)
        _arrow(
            axis, at[edge.source], at[edge.target], color=colour, linewidth=1.5
        )
        axis.annotate(
            edge.op,
            place,
            ha="center",
            va="center",
            fontsize=9.5,
            color=colour,
            zorder=4,
            bbox={"fc": "white", "ec": "none", "pad": 1.2, "alpha": 0.92},
        )
    for state, place in at.items():
        node = state not in (0, 1, "output")
        axis.annotate(
            names[state],
            place,
            ha="center",
            va="center",
            fontsize=12,
            zorder=5,
            bbox={
                "boxstyle": "circle,pad=0.45" if node else "round,pad=0.45",
                "fc": "#cfe6f5" if node else "#f6e3c5",
                "ec": _BLUE if node else "#b07d2b",
            },
        )
    rows = [row for _, row in at.values()]
    axis.set_xlim(-0.35, at["output"][0] + 0.35)
    axis.set_ylim(min(-1.5, *rows) - 0.35, max(1.5, *rows) + 0.35)
    axis.set_axis_off()


def _arrow(axis, start, end, **style):
    axis.annotate(
        "",
        end,
        start,
        zorder=2,
        arrowprops={
            "arrowstyle": "-|>",
            "mutation_scale": 13,
            "shrinkA": 14,
            "shrinkB": 17,
            **style,
        },
    )


def genotype_dot(genotype: Genotype | TwoStreamGenotype) -> str:
    """Graphviz text of a genotype, with one cluster for each cell.

    Args:
        genotype: A `Genotype` or `TwoStreamGenotype`.

    Returns:
        Text of a `.dot` file.
    """
    lines = ["digraph genotype {", "  rankdir=LR;"]
    for kind, cell in genotype.cells.items():
        lines += [f"  subgraph cluster_{kind} {{", f'    label="{kind}";']
        states = {0, 1, *(edge.target for edge in cell.edges)}
        for state in sorted(states):
            shape = "box" if state < 2 else "circle"
            lines.append(
                f'    {kind}_{state} [label="{state_name(state)}", '
                f"shape={shape}];"
            )
        lines.append(f'    {kind}_output [label="c_k", shape=box];')
        lines += [
            f'    {kind}_{edge.source} -> {kind}_{edge.target} [label="'
            f'{edge.op}"];'
            for edge in cell.edges
        ]
        lines += [
            f"    {kind}_{state} -> {kind}_output [color=grey];"
            for state in cell.concat
        ]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])
