"""How long the trainings of a run take, from the first epochs on."""

from __future__ import annotations

import contextlib
import contextvars
import math
import re
import statistics
from collections.abc import Iterable
from collections.abc import Iterator

_FURTHER: contextvars.ContextVar[int] = contextvars.ContextVar(
    "further trainings", default=0
)
# A line of `EpochProgress`.
_LINE = re.compile(r"^train\s+(\d+)/(\d+)\s.*?([\d.]+) s/epoch", re.MULTILINE)


@contextlib.contextmanager
def further_trainings(count: int) -> Iterator[None]:
    """Context of a training that others like it follow.

    `EpochProgress` then estimates the time of them all.

    Args:
        count: How many follow, beside those of a context around this one.
    """
    token = _FURTHER.set(_FURTHER.get() + count)
    try:
        yield
    finally:
        _FURTHER.reset(token)


def trainings_that_follow() -> int:
    """How many trainings like the one that runs follow it."""
    return _FURTHER.get()


def seconds_left(
    logs: Iterable[str], waiting: int, workers: int
) -> float | None:
    """Time that trainings take which are under way, by what they have printed.

    Args:
        logs: Texts of their logs, of lines of `EpochProgress`.
        waiting: How many trainings have not begun.
        workers: How many run at the same time.

    Returns:
        Seconds; None until each has printed its second epoch, as the first
        also traces graphs.

    >>> log = "train   2/20  loss 1.2  4.0 s/epoch  1 min 12 s left"
    >>> seconds_left([log, log], waiting=2, workers=2)
    152.0
    """
    left, whole = [], []
    for log in logs:
        lines = _LINE.findall(log)
        if not lines:
            return None
        epoch, epochs, pace = (float(x) for x in lines[-1])
        if epoch < min(2, epochs):
            return None
        left.append(pace * (epochs - epoch))
        whole.append(pace * epochs)
    if not left:
        return None
    rounds = math.ceil(waiting / workers)
    return max(left) + rounds * statistics.mean(whole)
