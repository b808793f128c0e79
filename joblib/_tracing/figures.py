"""The figures of a timeline: who was busy when, and what the time went into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .timeline import Timeline


@dataclass(frozen=True)
class Figures:
    """What a timeline comes to.

    Attributes
    ----------
    own : list of float
        For each task, the seconds in which it was at work itself, and not waiting for
        a call that it had made.
    busy : float
        Their sum.
    window : float
        Seconds in which a call was under way that no task had made.
    lanes : int
        How many threads ran tasks.
    overhead : float
        Seconds for each task that lanes were neither at work nor out of tasks.
    """

    own: list[float]
    busy: float
    window: float
    lanes: int
    overhead: float

    @property
    def share(self) -> float:
        """The share of the lanes' time in which they were at work; from 0 to 1."""
        total = self.window * self.lanes
        return min(self.busy / total, 1.0) if total else 0.0


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how much time intervals cover together.

    >>> covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        if end > until:
            total += end - max(start, until)
            until = end
    return total


def figures_of(timeline: Timeline) -> Figures:
    """Return what a timeline comes to."""
    tasks, calls = timeline.tasks, timeline.calls
    waits: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for call in calls:
        if call.parent is not None:
            task = tasks[call.parent]
            span = max(call.start, task.start), min(call.end, task.end)
            if span[0] < span[1]:
                waits[call.parent].append(span)
    own = [
        task.end - task.start - (covered(waits[place]) if place in waits else 0.0)
        for place, task in enumerate(tasks)
    ]
    busy = sum(own)
    window = covered((c.start, c.end) for c in calls if c.parent is None)
    lanes = {task.lane for task in tasks}
    # Up to its last task a lane had something to do, or should have had.
    available = 0.0
    last: dict[int, float] = {}
    for task in tasks:
        last[task.lane] = max(last.get(task.lane, 0.0), task.end)
    outer = [(c.start, c.end) for c in calls if c.parent is None]
    for until in last.values():
        available += covered(
            (start, min(end, until)) for start, end in outer if start < until
        )
    overhead = max(available - busy, 0.0) / len(tasks) if tasks else 0.0
    return Figures(own, busy, window, len(lanes), overhead)
