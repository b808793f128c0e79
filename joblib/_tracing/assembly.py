"""From what was taken down, on whatever machine, to one timeline by the caller's clock.

Machines' clocks are not the same. What is known for certain is that a batch began after
its call had, and ended before its results were there: each bounds how far a machine's
clock may be from that of the one which made the call. Within these bounds the time of
day that both have is believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .._engine.recording import CallSeen, Place, TasksSeen, same_clock
from .timeline import Call, Lane, Task, Timeline

#: an earliest and a latest offset, and that by the time of day
_Bounds = tuple[float, float, float]


class _Clocks:
    """The clocks of all machines, and what has to be added to get the first one's."""

    def __init__(self, first: Place) -> None:
        self._places = [first]
        self._between: dict[tuple[int, int], _Bounds] = {}
        self._offsets: dict[int, float] = {0: 0.0}

    def number(self, place: Place) -> int:
        for number, known in enumerate(self._places):
            if same_clock(known, place):
                return number
        self._places.append(place)
        return len(self._places) - 1

    def learn(self, seen: TasksSeen) -> None:
        """Learn from tasks that another machine's call had here."""
        if seen.bound is None:
            return
        other, after, before = seen.bound
        pair = self.number(seen.place), self.number(other)
        earliest = after - seen.rows[0][2]
        latest = before - seen.rows[-1][3]
        known = self._between.get(pair)
        if known is not None:
            earliest, latest = max(earliest, known[0]), min(latest, known[1])
        self._between[pair] = earliest, latest, seen.place.epoch - other.epoch

    def settle(self) -> None:
        """Find the offsets, from the caller's machine on."""
        found = True
        while found:
            found = False
            for (clock, other), (earliest, latest, believed) in self._between.items():
                if clock in self._offsets or other not in self._offsets:
                    continue
                if earliest > latest:
                    offset = (earliest + latest) / 2
                else:
                    offset = min(max(believed, earliest), latest)
                self._offsets[clock] = self._offsets[other] + offset
                found = True

    def offset(self, place: Place) -> float:
        """Return what to add to a time of that place."""
        if not place.host:  # a worker that was lost: told by the caller
            return 0.0
        number = self.number(place)
        if number not in self._offsets:
            return place.epoch - self._places[0].epoch
        return self._offsets[number]


_Thread = tuple[str, int, int]


class _Lanes:
    """The threads that were seen; the caller's own is the first.

    Threads of a process that were there one after the other share a lane: dask starts
    another one for each that a waiting task keeps.

    Parameters
    ----------
    caller : Place
    lives : dict
        By thread, when it was first and last seen.
    """

    def __init__(
        self, caller: Place, lives: dict[_Thread, tuple[float, float]]
    ) -> None:
        self._found: dict[_Thread, int] = {}
        self._stand_in: dict[_Thread, _Thread] = {}
        first = caller.host, caller.pid, caller.thread
        self._found[first] = 0
        free: dict[tuple[str, int], list[tuple[float, _Thread]]] = {}
        for thread, (start, end) in sorted(lives.items(), key=lambda each: each[1]):
            if thread == first:
                continue
            lanes = free.setdefault(thread[:2], [])
            place = next((n for n, lane in enumerate(lanes) if lane[0] <= start), None)
            if place is None:
                lanes.append((end, thread))
            else:
                self._stand_in[thread] = lanes[place][1]
                lanes[place] = end, lanes[place][1]

    def number(self, place: Place) -> int:
        key = place.host, place.pid, place.thread
        key = self._stand_in.get(key, key)
        return self._found.setdefault(key, len(self._found))

    def labelled(self) -> list[Lane]:
        keys = list(self._found)
        hosts = {host for host, _, _ in keys if host}
        threads: dict[tuple[str, int], list[int]] = {}
        for host, pid, thread in keys:
            threads.setdefault((host, pid), []).append(thread)
        lanes = []
        for number, (host, pid, thread) in enumerate(keys):
            label = f"pid {pid}"
            beside = threads[host, pid]
            if number == 0:
                label = "caller"
            elif not host:
                label = "lost"
            elif len(beside) > 1 or (host, pid) == keys[0][:2]:
                label += f", thread {beside.index(thread) + 1}"
            if len(hosts) > 1 and host:
                label = f"{host}, {label}"
            lanes.append(Lane(host, pid, thread, label))
        return lanes


def _lives(
    calls: list[CallSeen], batches: list[TasksSeen], end: float
) -> dict[_Thread, tuple[float, float]]:
    """Return when each thread was first and last seen, by its own machine's clock."""
    spans = [
        (seen.place, seen.start, end if seen.end is None else seen.end)
        for seen in calls
    ]
    spans += [(seen.place, seen.rows[0][2], seen.rows[-1][3]) for seen in batches]
    lives: dict[_Thread, tuple[float, float]] = {}
    for place, start, stop in spans:
        key = place.host, place.pid, place.thread
        known = lives.get(key, (start, stop))
        lives[key] = min(known[0], start), max(known[1], stop)
    return lives


def assemble(
    records: Sequence[Any], caller: Place, start: float, end: float
) -> Timeline:
    """Return the timeline of a trace.

    Parameters
    ----------
    records : sequence of TasksSeen and CallSeen
    caller : Place
        Where the trace is.
    start, end : float
        When it began and ended, by the caller's clock.
    """
    calls = [seen for seen in records if type(seen) is CallSeen]
    batches = [seen for seen in records if type(seen) is TasksSeen]
    clocks = _Clocks(caller)
    for seen in batches:
        clocks.learn(seen)
    clocks.settle()
    lanes = _Lanes(caller, _lives(calls, batches, end))

    known = {seen.number: seen for seen in calls}
    rows: list[tuple[float, float, Any, int, int]] = []
    for seen in batches:
        if seen.call not in known:  # its maker was lost before it could tell
            continue
        shift, lane = clocks.offset(seen.place) - start, lanes.number(seen.place)
        rows += [
            (row[2] + shift, row[3] + shift, row, seen.call, lane) for row in seen.rows
        ]
    rows.sort(key=lambda found: found[0])
    calls.sort(key=lambda seen: seen.start + clocks.offset(seen.place))
    task_places = {found[2][0]: place for place, found in enumerate(rows)}
    call_places = {seen.number: place for place, seen in enumerate(calls)}
    call_of_task = {found[2][0]: found[3] for found in rows}
    counts = Counter(call_of_task.values())

    def parent_of(number: int) -> int | None:
        parent = known[number].parent
        return None if parent is None else task_places.get(parent)

    def level_of(number: int) -> int:
        level = 0
        while (parent := known[number].parent) in call_of_task:
            number = call_of_task[parent]
            level += 1
        return level

    levels = {number: level_of(number) for number in known}
    return Timeline(
        began=start + caller.epoch,
        duration=end - start,
        calls=[
            Call(
                parent=parent_of(seen.number),
                level=levels[seen.number],
                backend=seen.backend,
                n_jobs=seen.n_jobs,
                n_tasks=counts[seen.number],
                lane=lanes.number(seen.place),
                start=seen.start + clocks.offset(seen.place) - start,
                end=min(
                    (end if seen.end is None else seen.end + clocks.offset(seen.place)),
                    end,
                )
                - start,
            )
            for seen in calls
        ],
        tasks=[
            Task(
                name=row[1],
                call=call_places[call],
                parent=parent_of(call),
                level=levels[call],
                lane=lane,
                start=began,
                end=ended,
                bytes_in=row[4],
                bytes_out=row[5],
                error=row[6],
            )
            for began, ended, row, call, lane in rows
        ],
        lanes=lanes.labelled(),
    )
