"""What a still picture of a traced run draws: rows of bars, few enough for its width.

Pictures of any run stay small: what is narrower than a dot is merged with its
neighbours, so that the number of bars depends on the width alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .timeline import Timeline
from .totals import Interval


@dataclass(frozen=True)
class Bar:
    """A task, or tasks that are too short to be told apart.

    Attributes
    ----------
    start, end : float
        Seconds since the trace began.
    name : str
        The function; of merged ones that which took most time.
    failed : bool
        Whether it, or one of them, raised.
    count : int
        How many tasks it stands for.
    task : int
        The first of them, by its place in `Timeline.tasks`.
    """

    start: float
    end: float
    name: str
    failed: bool
    count: int
    task: int


@dataclass
class Row:
    """The tasks of one level that one lane ran; `level` is -1 for the calls it made."""

    lane: int
    level: int
    bars: list[Bar] = field(default_factory=list)


def rows_of(timeline: Timeline, dot: float) -> list[Row]:
    """Return the rows from top to bottom; a dot is that many seconds wide.

    The first row of a lane that made calls, other than from tasks, shows these; a lane
    without anything has an empty row.
    """
    found: dict[int, dict[int, list[int]]] = {n: {} for n in range(len(timeline.lanes))}
    calls: dict[int, list[int]] = {}
    for place, task in enumerate(timeline.tasks):
        found[task.lane].setdefault(task.level, []).append(place)
    for place, call in enumerate(timeline.calls):
        if call.parent is None:
            calls.setdefault(call.lane, []).append(place)
    rows = []
    for lane, levels in found.items():
        if lane in calls:
            spans = [
                Bar(call.start, call.end, "", False, 1, place)
                for place in calls[lane]
                for call in [timeline.calls[place]]
            ]
            rows.append(Row(lane, -1, merged(spans, dot)))
        elif not levels:
            rows.append(Row(lane, 0))
        for level in sorted(levels):
            spans = [
                Bar(task.start, task.end, task.name, task.error is not None, 1, place)
                for place in levels[level]
                for task in [timeline.tasks[place]]
            ]
            rows.append(Row(lane, level, merged(spans, dot)))
    return rows


# In points: calls are a thin line, inner tasks are thinner than outer ones.
CALL, OUTER, INNER, GAP, LEAST = 5.0, 16.0, 10.0, 7.0, 15.0


def height_of(row: Row) -> float:
    """Return how high a row is drawn."""
    return CALL if row.level < 0 else INNER if row.level else OUTER


def placed(rows: list[Row]) -> tuple[list[float], list[float], float]:
    """Return the tops of the rows, the tops of their lanes, and the height of all."""
    tops: list[float] = []
    lanes: list[float] = []
    y = 0.0
    for place, row in enumerate(rows):
        if place == 0 or rows[place - 1].lane != row.lane:
            if lanes:
                y = max(y, lanes[-1] + LEAST) + GAP
            lanes.append(y)
        tops.append(y)
        y += height_of(row) + 1
    return tops, lanes, max(y, lanes[-1] + LEAST) if lanes else LEAST


def merged(bars: list[Bar], dot: float) -> list[Bar]:
    """Return bars that are at least a dot wide, in order.

    >>> one = Bar(0.1, 0.2, "f", False, 1, 0)
    >>> two = Bar(0.5, 0.8, "g", True, 1, 1)
    >>> merged([one, two], 1.0)
    [Bar(start=0.0, end=1.0, name='g', failed=True, count=2, task=0)]
    """
    wide: list[Bar] = []
    narrow: dict[int, list[Bar]] = {}
    for bar in bars:
        if bar.end - bar.start >= dot:
            wide.append(bar)
        else:
            narrow.setdefault(math.floor(bar.start / dot), []).append(bar)
    dots: list[Bar] = []
    for place in sorted(narrow):
        here = narrow[place]
        times: dict[str, float] = {}
        for bar in here:
            times[bar.name] = times.get(bar.name, 0.0) + bar.end - bar.start
        name = max(times, key=lambda name: times[name])
        failed = any(bar.failed for bar in here)
        start, end = place * dot, (place + 1) * dot
        last = dots[-1] if dots else None
        if last and (last.name, last.failed) == (name, failed):
            if start - last.end < dot / 2:
                count = last.count + len(here)
                dots[-1] = Bar(last.start, end, name, failed, count, last.task)
                continue
        dots.append(Bar(start, end, name, failed, len(here), here[0].task))
    return sorted([*wide, *dots], key=lambda bar: bar.start)


def ticks(span: Interval, most: int) -> tuple[list[float], str, float]:
    """Return where the axis is marked, its unit, and the seconds of that unit.

    >>> ticks((0.0, 0.0123), 5)[1:]
    ('ms', 0.001)
    """
    length = span[1] - span[0]
    units = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
    few = {"h": 3, "min": 3}  # of these units more are needed to mark fractions well
    fitting = (n for n in units if length >= units[n] * few.get(n, 1))
    unit = next(fitting, "µs")
    seconds = units[unit]
    rough = length / seconds / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * f for f in (1, 2, 5, 10) if size * f >= rough * 0.9999)
    first = math.ceil(span[0] / seconds / step)
    last = math.floor(span[1] / seconds / step + 1e-9)
    return [n * step * seconds for n in range(first, last + 1)], unit, seconds
