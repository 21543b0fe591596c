"""Pictures of a run: cells, architecture weights, curves, confusions.

They are drawn with Matplotlib's object interface, so that they need no screen
and leave the caller's `pyplot` figures and settings alone. The file name's
ending chooses the format: `.png`, `.svg` or `.pdf`.
"""

import itertools
import math
import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_keras.evaluation.cell_layout import place_labels
from ser_keras.evaluation.cell_layout import place_states

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_COLOURS = (_BLUE, _ORANGE, _GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Darker ones, for text.
_DARK = ("#005A8D", "#B34700", "#00704F", "#8F3F74", "#7A5C00", "#333333")
_TITLES = {
    "normal": "Normal cell",
    "reduce": "Reduction cell",
    "recurrent": "Recurrent cell",
}


def state_name(state):
    """How a state is called in pictures: `c_{k-2}`, `c_{k-1}`, `0`, `1` ...

    >>> [state_name(state) for state in (0, 1, 2)]
    ['c_{k-2}', 'c_{k-1}', '0']
    """
    return ("c_{k-2}", "c_{k-1}")[state] if state < 2 else str(state - 2)


def _math(name):
    return f"${name}$" if "_" in name else name


def _cells(genotype):
    kinds = {kind: getattr(genotype, kind) for kind in _TITLES}
    return {kind: cell for kind, cell in kinds.items() if cell is not None}


def _save(figure, path):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white")


def _tidy(axis, xlabel="", ylabel="", title=""):
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_title(title, fontsize=11)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def draw_genotype(genotype, path, dot_path=None):
    """Draws the cells of a genotype side by side, as graphs.

    Args:
        genotype: A `Genotype`.
        path: Image file to write.
        dot_path: If given, file for the same graphs as Graphviz text.
    """
    cells = _cells(genotype)
    places = {kind: place_states(cell) for kind, cell in cells.items()}
    widths = [places[kind]["output"][0] + 0.7 for kind in cells]
    figure = Figure((sum(widths), 4.2), layout="constrained")
    axes = figure.subplots(
        1, len(cells), squeeze=False, width_ratios=widths
    ).ravel()
    for axis, (kind, cell) in zip(axes, cells.items(), strict=True):
        _draw_cell(axis, cell, places[kind])
        axis.set_title(_TITLES[kind], fontsize=13)
    _save(figure, path)
    if dot_path is not None:
        pathlib.Path(dot_path).write_text(genotype_dot(genotype), "utf-8")


def _draw_cell(axis, cell, at):
    names = {s: _math(state_name(s)) for s in at if s != "output"}
    names["output"] = "$c_k$"
    lines = [(edge.source, edge.target) for edge in cell.edges]
    for source, target in [(state, "output") for state in cell.concat]:
        _arrow(axis, at[source], at[target], color="#bbbbbb", linewidth=1.0)
    labels = place_labels(at, lines)
    # A label has its line's colour: lines cross where cells are dense.
    colours = itertools.cycle(_DARK)
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


def genotype_dot(genotype):
    """The cells of a genotype as Graphviz text, one cluster for each."""
    lines = ["digraph genotype {", "  rankdir=LR;"]
    for kind, cell in _cells(genotype).items():
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


def plot_alphas(history, path):
    """Draws how the softmaxed alphas of every edge moved during a search.

    Each edge has a heat map, epochs by candidates, under the name of its best
    candidate; beside them is the entropy, which is 1 when all candidates of an
    edge weigh the same and 0 when one of them is chosen.

    Args:
        history: Dict from the kind of cell to a dict of `alphas`, raw, array
            `(epochs, edges, candidates)`; `candidates`, their names; and
            `edges`, their names or `(source, target)` pairs. The first epoch
            in `alphas` is number 1.
        path: Image file to write.

    Raises:
        ValueError: Names and arrays disagree.
    """
    heights = []
    for kind, entry in history.items():
        shape = np.shape(entry["alphas"])
        names = (len(entry["edges"]), len(entry["candidates"]))
        if len(shape) != 3 or shape[1:] != names or not shape[0]:
            raise ValueError(
                f"`alphas` of {kind!r} must have shape (epochs, {names[0]}, "
                f"{names[1]}). Received shape: {shape}"
            )
        heights.append(1 + math.ceil(names[0] / 7) * (0.75 + 0.145 * names[1]))
    figure = Figure((16.5, sum(heights)), layout="constrained")
    parts = figure.subfigures(
        len(history), squeeze=False, height_ratios=heights
    ).ravel()
    for part, (kind, entry) in zip(parts, history.items(), strict=True):
        part.suptitle(_TITLES.get(kind, kind), fontsize=14)
        _plot_kind(part, **entry)
    _save(figure, path)


def _plot_kind(figure, alphas, candidates, edges):
    alphas = np.asarray(alphas, np.float64)
    weights = np.exp(alphas - alphas.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    epochs = len(weights)
    columns = min(7, len(edges))
    rows = math.ceil(len(edges) / columns)
    left, right = figure.subfigures(1, 2, width_ratios=[columns + 1, 2])
    grid = left.add_gridspec(rows, columns)
    maps = []
    for i, edge in enumerate(edges):
        row, column = divmod(i, columns)
        axis = left.add_subplot(grid[row, column])
        maps.append(axis)
        image = axis.imshow(
            weights[:, i].T,
            aspect="auto",
            interpolation="nearest",
            cmap="cividis",
            vmin=0,
            vmax=weights.max(),
            extent=(0.5, epochs + 0.5, len(candidates) - 0.5, -0.5),
        )
        best, last = weights[-1, i].argmax(), weights[-1, i].max()
        title = f"{_edge_name(edge)}\n{candidates[best]} {last:.2f}"
        axis.set_title(title, fontsize=9)
        names = candidates if column == 0 else []
        axis.set_yticks(range(len(candidates)), [""] * len(candidates))
        if names:
            axis.set_yticklabels(names, fontsize=8)
        axis.xaxis.set_major_locator(
            MaxNLocator(4, integer=True, min_n_ticks=1)
        )
        axis.tick_params(axis="x", labelsize=8)
        if i + columns >= len(edges):
            axis.set_xlabel("epoch", fontsize=9)
    bar = left.colorbar(image, ax=maps, location="right", aspect=30, pad=0.01)
    bar.set_label("softmaxed alpha")
    _plot_entropy(right.subplots(), weights)


def _plot_entropy(axis, weights):
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    entropy = -(weights * logs).sum(axis=2) / max(
        math.log(weights.shape[2]), 1e-9
    )
    x = np.arange(1, len(weights) + 1)
    axis.fill_between(
        x,
        entropy.min(axis=1),
        entropy.max(axis=1),
        color=_BLUE,
        alpha=0.2,
        linewidth=0,
        label="smallest to largest edge",
    )
    axis.plot(
        x, entropy.mean(axis=1), color=_BLUE, marker=_marker(x), label="mean"
    )
    _tidy(axis, "epoch", "entropy / log(candidates)", "Entropy of an edge")
    axis.set_ylim(0, 1.05)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axis.legend(loc="lower left", frameon=False, fontsize=9)


def _edge_name(edge):
    if isinstance(edge, str):
        return edge
    source, target = (_math(state_name(state)) for state in edge[:2])
    return f"{source} → {target}"


def _marker(x):
    """Dots, where a line alone would be invisible or hide its points."""
    return "o" if len(x) <= 12 else None


def plot_learning_curves(rows, path):
    """Draws losses, recall and accuracy, and the learning rate over epochs.

    Args:
        rows: List of dicts, one for each epoch, as `RunFolder.rows` gives
            them. Panels without any value are left out; None is a gap.
        path: Image file to write.

    Raises:
        ValueError: There is nothing to draw.
    """
    panels = [
        ("Losses", "loss (nats)", lambda key: "loss" in key),
        (
            "Recall and accuracy",
            "proportion",
            lambda key: any(
                word in key.split("_")
                for word in ("uar", "wa", "accuracy", "acc", "f1", "recall")
            ),
        ),
        ("Learning rate", "learning rate", lambda key: "learning_rate" in key),
    ]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    panels = [
        (title, unit, chosen)
        for title, unit, belongs in panels
        if (chosen := [key for key in keys if belongs(key)])
    ]
    if not panels:
        raise ValueError(
            "`rows` must have values such as loss, uar or learning_rate. "
            f"Received keys: {keys}"
        )
    figure = Figure((5.2 * len(panels), 4.0), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False).ravel()
    x = [row.get("epoch", i + 1) for i, row in enumerate(rows)]
    for axis, (title, unit, chosen) in zip(axes, panels, strict=True):
        colour = {}
        for key in chosen:
            held_out = key.startswith("val_")
            base = key.removeprefix("val_")
            colour.setdefault(base, _COLOURS[len(colour) % len(_COLOURS)])
            values = [row.get(key) for row in rows]
            values = np.array(values, np.float64)  # None becomes NaN.
            axis.plot(
                x,
                values,
                label=f"{base} (held out)" if held_out else base,
                color=colour[base],
                linestyle="-" if held_out else (0, (4, 2)),
                linewidth=2 if held_out else 1.5,
                marker=_marker(x),
                markersize=4,
            )
            if key == "val_uar" and np.isfinite(values).any():
                best = int(np.nanargmax(values))
                axis.plot(
                    x[best],
                    values[best],
                    "*",
                    color=colour[base],
                    markersize=14,
                    markeredgecolor="white",
                    label=f"best: {values[best]:.3f}, epoch {x[best]}",
                )
        axis.margins(y=0.08)
        _tidy(axis, "epoch", unit, title)
        axis.xaxis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
        if title == "Learning rate":
            axis.set_ylim(bottom=0)
        axis.legend(frameon=False, fontsize=9)
    _save(figure, path)


def plot_confusion(scores, path):
    """Draws the confusion matrix: row proportions in colour, and counts.

    Args:
        scores: `Scores`.
        path: Image file to write.
    """
    counts = np.asarray(scores.confusion)
    support = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(support, 1)
    names = scores.label_names
    classes = len(names)
    size = 0.8 * classes
    figure = Figure(
        (max(5.4, size + 2.4), max(4.4, size + 1.6)), layout="compressed"
    )
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(classes):
        for column in range(classes):
            share, count = shares[row, column], counts[row, column]
            axis.text(
                column,
                row,
                f"{share:.2f}\n({count})" if support[row] else "no\ndata",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if share > 0.55 else "#222222",
            )
    axis.set_xticks(range(classes), names, rotation=35, ha="right")
    axis.set_yticks(range(classes), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(
        f"UAR {scores.uar:.3f}, WA {scores.wa:.3f}, {scores.n} utterances",
        fontsize=11,
    )
    bar = figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
    bar.set_label("proportion of the true class (row)")
    _save(figure, path)
