"""Sums over a traced run: what its pictures and tables say in words and numbers."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .timeline import Call, Task, Timeline

Interval = tuple[float, float]

# Told apart on white and on black, and by most who see few colours; the functions
# that took most time have them, the others share one.
PALETTE = (
    "#4e79a7 #f28e2b #59a14f #b07aa1 #76b7b2 #edc948 "
    "#9c755f #ff9da7 #2f8f9d #8cb369 #6a5acd #c17c74"
).split()
OTHERS = "#9a9a9a"

# What XML, terminals or UTF-8 refuse.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """Return a text with what cannot be written in XML or UTF-8 replaced."""
    return _UNSPEAKABLE.sub("\ufffd", text)


@dataclass(frozen=True)
class FunctionTotal:
    """The tasks of one function; times are seconds."""

    name: str
    count: int
    total: float
    median: float
    longest: float
    errors: int


@dataclass(frozen=True)
class LaneTotal:
    """The tasks of one lane; `busy` is the seconds in which it computed."""

    lane: int
    count: int
    busy: float
    share: float


def functions(timeline: Timeline) -> list[FunctionTotal]:
    """Return the sums by function, those that took most time first."""
    times: dict[str, list[float]] = {}
    errors: dict[str, int] = {}
    for task in timeline.tasks:
        times.setdefault(task.name, []).append(task.end - task.start)
        errors[task.name] = errors.get(task.name, 0) + (task.error is not None)
    sums = [
        FunctionTotal(name, len(t), sum(t), statistics.median(t), max(t), errors[name])
        for name, t in times.items()
    ]
    return sorted(sums, key=lambda one: (-one.total, one.name))


def colours(totals: list[FunctionTotal]) -> dict[str, str]:
    """Return the colour of each function; `totals` as `functions` returns them."""
    spare = [OTHERS] * max(0, len(totals) - len(PALETTE))
    return {
        one.name: colour
        for one, colour in zip(totals, [*PALETTE, *spare], strict=False)
    }


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the intervals' union, in order and without overlaps.

    >>> union([(4, 5), (0, 2), (1, 3)])
    [(0, 3), (4, 5)]
    """
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def waits(timeline: Timeline) -> dict[int, list[Interval]]:
    """Return when tasks waited for calls that they had made, by the task's place."""
    found: dict[int, list[Interval]] = {}
    for call in timeline.calls:
        if call.parent is not None:
            task = timeline.tasks[call.parent]
            start, end = max(call.start, task.start), min(call.end, task.end)
            if start < end:
                found.setdefault(call.parent, []).append((start, end))
    return {task: union(intervals) for task, intervals in found.items()}


def without(start: float, end: float, holes: list[Interval]) -> list[Interval]:
    """Return what is left of an interval; `holes` as `union` returns them.

    >>> without(0, 10, [(0, 2), (4, 5)])
    [(2, 4), (5, 10)]
    """
    left = []
    for hole_start, hole_end in holes:
        if hole_start > start:
            left.append((start, hole_start))
        start = hole_end
    if end > start:
        left.append((start, end))
    return left


def lanes(timeline: Timeline) -> list[LaneTotal]:
    """Return the sums by lane, in the timeline's order.

    A task that waits for its own call keeps no lane busy.
    """
    waiting = waits(timeline)
    busy: list[list[Interval]] = [[] for _ in timeline.lanes]
    counts = [0] * len(timeline.lanes)
    for place, task in enumerate(timeline.tasks):
        busy[task.lane] += without(task.start, task.end, waiting.get(place, []))
        counts[task.lane] += 1
    length = span(timeline)[1]
    totals = []
    for place, intervals in enumerate(busy):
        seconds = sum(end - start for start, end in union(intervals))
        share = min(1.0, seconds / length)
        totals.append(LaneTotal(place, counts[place], seconds, share))
    return totals


def covered(intervals: Iterable[Interval]) -> float:
    """Return how much time intervals cover together.

    >>> covered([(0, 2), (1, 3), (5, 6)])
    4
    """
    return sum((end - start for start, end in union(intervals)), 0)


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
    workers : int
        How many tasks were to be at work at a time. There may be more lanes: a task that
        waits for its own call keeps one, and leaves its worker to others.
    overhead : float
        Seconds for each task that workers were neither at work nor out of tasks.
    """

    own: list[float]
    busy: float
    window: float
    workers: int
    overhead: float

    @property
    def share(self) -> float:
        """The share of the workers' time in which they were at work; from 0 to 1."""
        total = self.window * self.workers
        return min(self.busy / total, 1.0) if total else 0.0


def figures_of(timeline: Timeline) -> Figures:
    """Return what a timeline comes to."""
    tasks, calls = timeline.tasks, timeline.calls
    waiting = waits(timeline)
    own = [
        task.end - task.start - covered(waiting.get(place, ()))
        for place, task in enumerate(tasks)
    ]
    busy = sum(own)
    window = covered((c.start, c.end) for c in calls if c.parent is None)
    n_lanes = len({task.lane for task in tasks})
    workers = min(n_lanes, max((call.n_jobs for call in calls), default=0))
    # Up to the last task there was something to do.
    last = max((task.end for task in tasks), default=0.0)
    outer = [(c.start, min(c.end, last)) for c in calls if c.parent is None]
    available = workers * covered(span for span in outer if span[0] < span[1])
    overhead = max(available - busy, 0.0) / len(tasks) if tasks else 0.0
    return Figures(own, busy, window, workers, overhead)


def span(timeline: Timeline) -> Interval:
    """Return the times that a picture has to show; never empty.

    Clocks of other machines are known only about: a task may stand out at either end.
    """
    both: list[Task | Call] = [*timeline.tasks, *timeline.calls]
    start = min((one.start for one in both), default=0.0)
    end = max((one.end for one in both), default=0.0)
    start, end = min(0.0, start), max(timeline.duration, end)
    return start, end if end > start else start + 1e-6


def duration_text(seconds: float) -> str:
    """Return a duration in the unit that suits it.

    >>> [duration_text(s) for s in (0, 4e-6, 0.0123, 1.5, 75, 7322)]
    ['0 s', '4 µs', '12.3 ms', '1.5 s', '1 min 15 s', '2 h 2 min']
    """
    if seconds <= 0:
        return "0 s"
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (60, 1, "s")):
        if seconds < limit * 0.9995:
            return f"{float(f'{seconds * factor:.3g}'):g} {unit}"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def headline(timeline: Timeline) -> str:
    """Return the run in one line."""

    def count(number: int, noun: str) -> str:
        return f"{number:,} {noun}{'' if number == 1 else 's'}"

    when = datetime.fromtimestamp(timeline.began).astimezone()
    working = [lane for lane in lanes(timeline) if lane.count]
    parts = [
        when.isoformat(sep=" ", timespec="seconds"),
        duration_text(timeline.duration),
        count(len(timeline.tasks), "task"),
        count(len(timeline.calls), "call"),
        count(len(timeline.lanes), "lane"),
    ]
    if working:
        share = figures_of(timeline).share
        noun = "lane" if len(working) == 1 else "lanes"
        parts.append(f"{share:.0%} busy ({len(working)} {noun} with tasks)")
    failed = sum(task.error is not None for task in timeline.tasks)
    if failed:
        parts.append(f"{failed:,} failed")
    return " · ".join(parts)
