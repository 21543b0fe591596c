"""Layout of states and labels in the drawing of a cell.

Cells are small, so that positions are found by trying many: columns follow from
the graph, rows are chosen for few crossings and no line through a state, and
each label gets the free position nearest to the middle of its line.
"""

import itertools

import numpy as np

_ROWS = (-1.5, -0.5, 0.5, 1.5)
_TRIALS = 3000
# In units of the drawing, inches in horizontal direction: distance between a
# line and a state, and sizes of the boxes of labels and states.
_NEAR = 0.27
_LABEL = (0.95, 0.2)
_STATE = (0.75, 0.3)
# Possible positions of a label on its line.
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
    rows = _assignments(len(nodes))
    at = {
        0: (0.0, 0.8),
        1: (0.0, -0.8),
        "output": (max(column.values()) + 1.1, 0.0),
    }
    points = {name: np.array([place]) for name, place in at.items()}
    for node, row in zip(nodes, rows.T, strict=True):
        points[node] = np.stack([np.full_like(row, column[node]), row], axis=1)
    lines = [((edge.source, edge.target), 1.0) for edge in cell.edges]
    lines += [((state, "output"), 0.3) for state in cell.concat]
    best = _penalty(points, lines).argmin()
    for node in nodes:
        at[node] = tuple(points[node][best].tolist())
    return at


def _spread(column, edges):
    """Widens columns in which many edges start or end, for their labels."""
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
    """Possible rows of the nodes, `(assignments, nodes)`: all, or a sample."""
    if len(_ROWS) ** nodes <= _TRIALS:
        return np.array(list(itertools.product(_ROWS, repeat=nodes)))
    rows = np.linspace(-1.8, 1.8, nodes)
    return np.random.default_rng(0).choice(rows, size=(_TRIALS, nodes))


def _penalty(points, lines):
    """Penalty of each assignment: overlaps, long lines and crossings."""
    total = 0.0
    for one, other in itertools.combinations(points.values(), 2):
        distance = np.linalg.norm(one - other, axis=1)
        total = total + 100 * (distance < 2 * _NEAR)
    for (start, end), weight in lines:
        a, b = points[start], points[end]
        total = total + 0.05 * weight * np.linalg.norm(b - a, axis=1)
        for name, point in points.items():
            if name not in (start, end):
                total = total + 5 * (_distance(point, a, b) < _NEAR)
    for (one, weight), (other, factor) in itertools.combinations(lines, 2):
        crossing = _cross(*(points[name] for name in (*one, *other)))
        total = total + weight * factor * crossing
    return total


def _cross(a, b, c, d):
    """Whether the inner parts of the lines a-b and c-d meet."""

    def sides(a, b, points):
        """Negative if two points are on different sides of a line."""
        x, y = (b - a).T
        return np.prod(
            [x * (p - a)[:, 1] - y * (p - a)[:, 0] for p in points], axis=0
        )

    return (sides(a, b, (c, d)) < -1e-9) & (sides(c, d, (a, b)) < -1e-9)


def place_labels(at, lines):
    """Positions of labels on their lines that do not overlap.

    Args:
        at: What `place_states` returned.
        lines: List of `(source, target)`.

    Returns:
        List of `(column, row)`, one for each line.
    """
    points = {name: np.array(point, float) for name, point in at.items()}
    segments = [(points[a], points[b]) for a, b in lines]
    chosen = [None] * len(lines)

    def penalty(i, share, place):
        total = abs(share - 0.5)
        for j, (a, b) in enumerate(segments):
            if j != i:
                # On a crossing a label is ambiguous.
                total += _distance(place, a, b) < 0.12
                if chosen[j] is not None:
                    total += 20 * _overlap(place - chosen[j], _LABEL)
        for point in points.values():
            total += 20 * _overlap(place - point, _STATE)
        return total

    # Several rounds: the first one does not know the labels after it.
    for _ in range(3):
        for i, (a, b) in enumerate(segments):
            options = [(t, a + t * (b - a)) for t in _SHARES]
            chosen[i] = min(
                options, key=lambda option, i=i: penalty(i, *option)
            )[1]
    return [tuple(place.tolist()) for place in chosen]


def _distance(point, a, b):
    """Distance from points to the lines from `a` to `b`, arrays `(..., 2)`."""
    line = b - a
    along = ((point - a) * line).sum(-1) / (line * line).sum(-1)
    nearest = a + np.clip(along, 0, 1)[..., None] * line
    return np.linalg.norm(point - nearest, axis=-1)


def _overlap(offset, size):
    """Overlap of two boxes of the same size with centres `offset` apart."""
    sides = 1 - np.abs(offset) / size
    return float(np.prod(np.maximum(sides, 0)))
