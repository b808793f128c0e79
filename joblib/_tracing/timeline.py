"""What is known of a traced run when it is over: its calls, tasks and lanes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Lane:
    """A thread that ran tasks or made calls; or several, one after the other.

    Attributes
    ----------
    host : str
        The name of its machine.
    pid : int
        Its process.
    thread : int
        As `threading.get_native_id` says; of several, the first.
    label : str
        What it is called where lanes are drawn: short, and not that of another one.
    """

    host: str
    pid: int
    thread: int
    label: str


@dataclass(frozen=True)
class Call:
    """One call of a `Parallel` object.

    Attributes
    ----------
    parent : int or None
        The task that made it, by its place in `Timeline.tasks`; None for a call that no
        task made.
    level : int
        0 for a call that no task made, 1 for one made by such a call's task, and so on.
    backend : str
        The name of the backend's class.
    n_jobs : int
        How many tasks it ran at once.
    n_tasks : int
        How many of its tasks were recorded.
    lane : int
        The thread that made it, by its place in `Timeline.lanes`.
    start, end : float
        Seconds since the trace began.
    """

    parent: int | None
    level: int
    backend: str
    n_jobs: int
    n_tasks: int
    lane: int
    start: float
    end: float


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes
    ----------
    name : str
        That of its function.
    call : int
        The call it is of, by its place in `Timeline.calls`.
    parent : int or None
        The task that made that call, by its place in `Timeline.tasks`.
    level : int
        That of its call.
    lane : int
        The thread that ran it, by its place in `Timeline.lanes`.
    start, end : float
        Seconds since the trace began, by the caller's clock.
    bytes_in, bytes_out : int
        The sizes of its arguments and of its result.
    error : str or None
        What it raised, as text.
    """

    name: str
    call: int
    parent: int | None
    level: int
    lane: int
    start: float
    end: float
    bytes_in: int
    bytes_out: int
    error: str | None


@dataclass(frozen=True)
class Timeline:
    """A traced run.

    Attributes
    ----------
    began : float
        When the trace began, in seconds since the epoch.
    duration : float
        Seconds from there to its end.
    tasks, calls : list
        In the order in which they started.
    lanes : list
        The caller's own first.
    """

    began: float
    duration: float
    lanes: list[Lane] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """Return it as plain lists by column: short as JSON. Times are microseconds."""
        names = _Table()
        errors = _Table()

        def micro(seconds: float) -> int:
            return round(seconds * 1e6)

        def place(number: int | None) -> int:
            return -1 if number is None else number

        tasks, calls = self.tasks, self.calls
        return {
            "version": 1,
            "began": self.began,
            "duration": micro(self.duration),
            "lanes": [
                {"host": n.host, "pid": n.pid, "thread": n.thread, "label": n.label}
                for n in self.lanes
            ],
            "calls": {
                "parent": [place(c.parent) for c in calls],
                "level": [c.level for c in calls],
                "backend": [c.backend for c in calls],
                "n_jobs": [c.n_jobs for c in calls],
                "n_tasks": [c.n_tasks for c in calls],
                "lane": [c.lane for c in calls],
                "start": [micro(c.start) for c in calls],
                "end": [micro(c.end) for c in calls],
            },
            "tasks": {
                "name": [names.place(t.name) for t in tasks],
                "call": [t.call for t in tasks],
                "parent": [place(t.parent) for t in tasks],
                "level": [t.level for t in tasks],
                "lane": [t.lane for t in tasks],
                "start": [micro(t.start) for t in tasks],
                "end": [micro(t.end) for t in tasks],
                "in": [t.bytes_in for t in tasks],
                "out": [t.bytes_out for t in tasks],
                "error": [
                    -1 if t.error is None else errors.place(t.error) for t in tasks
                ],
            },
            "names": names.values,
            "errors": errors.values,
        }


class _Table:
    """Values that are told by their place."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, value: str) -> int:
        found = self._places.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found
