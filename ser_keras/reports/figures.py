"""Figures of a run: architecture weights, learning curves, confusion matrix.

They are drawn with Matplotlib's object interface, so that they need no display
and do not change the caller's `pyplot` state. The ending of the file name
determines the format: `.png`, `.svg` or `.pdf`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ser_keras.reports.cell_drawing import cell_title
from ser_keras.reports.cell_drawing import math_name
from ser_keras.reports.cell_drawing import save_figure
from ser_keras.reports.cell_drawing import state_name

if TYPE_CHECKING:
    from ser_keras.evaluation.scores import Scores

# The colour-blind-safe palette of Okabe and Ito.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
COLOURS = (_BLUE, _ORANGE, _GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def tidy(axis, xlabel="", ylabel="", title=""):
    """Sets the labels and title of axes, and a light grid behind them."""
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_title(title, fontsize=11)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def plot_alphas(
    history: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
    """Draws the softmaxed alphas of every edge over the epochs of a search.

    Each edge has a heat map, epochs by candidates, whose title is its best
    candidate. Beside them is the normalised entropy: 1 if all candidates of an
    edge have equal weights, 0 if one of them has all the weight.

    Args:
        history: Dict from the kind of cell to a dict of `alphas`, before the
            softmax, array `(epochs, edges, candidates)`; `candidates`, their
            names; and `edges`, their names or `(source, target)` pairs. The
            first epoch in `alphas` is number 1.
        path: Image file to write.

    Raises:
        ValueError: Names and arrays have different sizes.
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
        part.suptitle(cell_title(kind), fontsize=14)
        _plot_kind(part, **entry)
    save_figure(figure, path)


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
    tidy(axis, "epoch", "entropy / log(candidates)", "Entropy of an edge")
    axis.set_ylim(0, 1.05)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axis.legend(loc="lower left", frameon=False, fontsize=9)


def _edge_name(edge):
    if isinstance(edge, str):
        return edge
    source, target = (math_name(state_name(state)) for state in edge[:2])
    return f"{source} → {target}"


def _marker(x):
    """Markers for short curves, which may have a single point."""
    return "o" if len(x) <= 12 else None


def plot_learning_curves(
    rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
    """Draws losses, recall and accuracy, and the learning rate over epochs.

    Args:
        rows: List of dicts, one for each epoch, as `RunFolder.rows` returns
            them. Panels without values are left out; None is a gap.
        path: Image file to write.

    Raises:
        ValueError: There are no values.
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
            colour.setdefault(base, COLOURS[len(colour) % len(COLOURS)])
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
        tidy(axis, "epoch", unit, title)
        axis.xaxis.set_major_locator(
            MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
        if title == "Learning rate":
            axis.set_ylim(bottom=0)
        axis.legend(frameon=False, fontsize=9)
    save_figure(figure, path)


def plot_confusion(scores: Scores, path: str | os.PathLike[str]) -> None:
    """Draws a confusion matrix: proportions of rows as colours, and counts.

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
    save_figure(figure, path)


def plot_stress(
    rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
    """Draws UAR and ECE under each condition of a stress report.

    One panel for what is altered, with the recordings as they are as a line.

    Args:
        rows: Of `evaluation.stress.stress_conditions`.
        path: Image file to write.
    """
    first, *others = rows
    kinds = list(dict.fromkeys(row["altered"] for row in others))
    widths = [sum(row["altered"] == kind for row in others) for kind in kinds]
    figure = Figure((1.5 + 0.55 * sum(widths), 4.2), layout="constrained")
    axes = figure.subplots(
        1, len(kinds), sharey=True, squeeze=False, width_ratios=widths
    )[0]
    for axis, kind in zip(axes, kinds, strict=True):
        some = [row for row in others if row["altered"] == kind]
        places = np.arange(len(some))
        for name, colour, shift in (
            ("uar", _BLUE, -0.2),
            ("ece", _ORANGE, 0.2),
        ):
            axis.axhline(first[name], color=colour, linewidth=1, linestyle="--")
            values = [row[name] for row in some]
            axis.bar(places + shift, values, 0.38, color=colour)
        tidy(axis, title=kind)
        names = [row["condition"] for row in some]
        axis.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
        axis.set_ylim(0, 1)
    handles = [
        Patch(color=_BLUE, label="UAR"),
        Patch(color=_ORANGE, label="ECE"),
        Line2D(
            [], [], color="#555555", linestyle="--", label=first["condition"]
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    save_figure(figure, path)
