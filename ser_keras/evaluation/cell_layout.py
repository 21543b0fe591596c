"""Where the states and the labels of a cell go in a drawing.

A cell is small, so good positions are found by trying many: columns follow
from the graph, rows are searched for few crossings and no line through a
state, and each label takes the free place nearest to the middle of its line.
"""

import itertools
import random

import numpy as np

_ROWS = (-1.5, -0.5, 0.5, 1.5)
_TRIALS = 3000
# In the units of the drawing, which are inches from left to right: the clear
# space that a line keeps from a state, and the boxes of labels and states.
_NEAR = 0.27
_LABEL = (0.95, 0.2)
_STATE = (0.75, 0.3)
# Where on its line a label may be.
_SHARES = np.linspace(0.22, 0.74, 27)


def place_states(cell):
    """Positions of the states of a cell, from left to right.

    Args:
        cell: A `CellGenotype`, or any object with its `edges` and `concat`.

    Returns:
        Dict from each state, and from `"output"`, to `(column, row)`.
    """
    column = {0: 0, 1: 0}
    for edge in sorted(cell.edges, key=lambda edge: edge.target):
        depth = column.get(edge.source, 0) + 1
        column[edge.target] = max(depth, column.get(edge.target, 1))
    nodes = sorted(state for state in column if state > 1)
    column = _spread(column, cell.edges)
    lines = [(edge.source, edge.target) for edge in cell.edges]
    outputs = [(state, "output") for state in cell.concat]
    fixed = {
        0: (0, 0.8),
        1: (0, -0.8),
        "output": (max(column.values()) + 1.1, 0.0),
    }
    choices = list(itertools.islice(_assignments(len(nodes)), _TRIALS))

    def placed(rows):
        return {
            **fixed,
            **{
                node: (column[node], row)
                for node, row in zip(nodes, rows, strict=True)
            },
        }

    return min(
        map(placed, choices), key=lambda at: _badness(at, lines, outputs)
    )


def _spread(column, edges):
    """Makes room for labels where many edges start or end."""
    place = [0.0]
    for left in range(max(column.values())):
        here = [
            edge
            for edge in edges
            if column[edge.source] == left or column[edge.target] == left + 1
        ]
        place.append(place[-1] + min(2.3, 1.35 + 0.13 * len(here)))
    return {state: place[depth] for state, depth in column.items()}


def _assignments(nodes):
    """All ways to give rows to nodes, or random ones if they are many."""
    if len(_ROWS) ** nodes <= _TRIALS:
        yield from itertools.product(_ROWS, repeat=nodes)
    else:
        generator = random.Random(0)
        rows = [(1 - nodes) / 2 + row for row in range(nodes)]
        while True:
            yield tuple(generator.choice(rows) for _ in range(nodes))


def _badness(at, lines, outputs):
    points = {name: np.array(point, float) for name, point in at.items()}
    if len({tuple(point) for point in points.values()}) < len(points):
        return 1e6
    total = 0.0
    every = [(line, 1.0) for line in lines] + [(line, 0.3) for line in outputs]
    for (start, end), weight in every:
        a, b = points[start], points[end]
        total += 0.05 * weight * np.hypot(*(b - a))
        for name, point in points.items():
            if name not in (start, end):
                total += 5 * (_distance(point, a, b) < _NEAR)
    for (line, weight), (other, factor) in itertools.combinations(every, 2):
        if _cross(*(points[name] for name in (*line, *other))):
            total += weight * factor
    return total


def _cross(a, b, c, d):
    """Whether the inner parts of the lines a-b and c-d meet."""
    matrix = np.stack([b - a, c - d], axis=1)
    determinant = np.linalg.det(matrix)
    if abs(determinant) < 1e-9:
        return False
    along = np.linalg.solve(matrix, c - a)
    return bool(((along > 0.01) & (along < 0.99)).all())


def place_labels(at, lines):
    """A position on each line such that labels do not cover each other.

    Args:
        at: What `place_states` returned.
        lines: List of `(source, target)`.

    Returns:
        List of `(column, row)`, one for each line.
    """
    points = {name: np.array(point, float) for name, point in at.items()}
    segments = [(points[a], points[b]) for a, b in lines]
    chosen = [None] * len(lines)

    def badness(i, share, place):
        total = abs(share - 0.5)
        for j, (a, b) in enumerate(segments):
            if j != i:
                # On a crossing, nobody knows whose label it is.
                total += _distance(place, a, b) < 0.12
                if chosen[j] is not None:
                    total += 20 * _overlap(place - chosen[j], _LABEL)
        for point in points.values():
            total += 20 * _overlap(place - point, _STATE)
        return total

    # Several rounds: the first places labels without knowing later ones.
    for _ in range(3):
        for i, (a, b) in enumerate(segments):
            options = [(t, a + t * (b - a)) for t in _SHARES]
            chosen[i] = min(
                options, key=lambda option, i=i: badness(i, *option)
            )[1]
    return [tuple(place.tolist()) for place in chosen]


def _distance(point, a, b):
    """From a point to the line between `a` and `b`."""
    along = (point - a) @ (b - a) / ((b - a) @ (b - a))
    return np.hypot(*(point - a - np.clip(along, 0, 1) * (b - a)))


def _overlap(offset, size):
    """Common part of two boxes of one size whose centres are `offset` apart."""
    sides = 1 - np.abs(offset) / size
    return float(np.prod(np.maximum(sides, 0)))
