"""A traced run for other programs: trace viewers and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from .timeline import Timeline
from .totals import plain

COLUMNS = (
    "task function level parent lane host pid thread start end duration "
    "bytes_in bytes_out error call backend n_jobs n_tasks call_lane call_start call_end"
).split()


def chrome_of(timeline: Timeline) -> str:
    """Return it as JSON in the Trace Event Format.

    chrome://tracing and Perfetto open it. Calls are asynchronous events, as those whose
    results are taken one by one may overlap in the thread that made them.
    """
    processes = _process_numbers(timeline)
    threads = [
        {"pid": processes[lane.host, lane.pid], "tid": lane.thread}
        for lane in timeline.lanes
    ]
    events: list[dict[str, Any]] = []

    def told(what: str, lane: int, **args: Any) -> None:
        events.append({"name": what, "ph": "M", **threads[lane], "args": args})

    named = set()
    for place, lane in enumerate(timeline.lanes):
        process = processes[lane.host, lane.pid]
        if process not in named:
            named.add(process)
            told("process_name", place, name=plain(f"{lane.host} {lane.pid}"))
            told("process_sort_index", place, sort_index=place)
        told("thread_name", place, name=plain(lane.label))
        told("thread_sort_index", place, sort_index=place)

    for number, call in enumerate(timeline.calls):
        name = plain(f"{call.backend}, n_jobs={call.n_jobs}")
        about: dict[str, Any] = {"cat": "call", "id": number, "name": name}
        about.update(threads[call.lane])
        args: dict[str, Any] = {"level": call.level, "n_tasks": call.n_tasks}
        start, end = _micro(call.start), _micro(max(call.start, call.end))
        events.append({"ph": "b", "ts": start, **about, "args": args})
        events.append({"ph": "e", "ts": end, **about})

    # Of those that start together the longest first: the others are within it.
    order = sorted(
        range(len(timeline.tasks)),
        key=lambda n: (timeline.tasks[n].start, -timeline.tasks[n].end),
    )
    for number in order:
        task = timeline.tasks[number]
        call = timeline.calls[task.call]
        args = {
            "task": number,
            "level": task.level,
            "call": task.call,
            "backend": plain(call.backend),
            "n_jobs": call.n_jobs,
            "bytes_in": task.bytes_in,
            "bytes_out": task.bytes_out,
        }
        if task.error is not None:
            args["error"] = plain(task.error)
        start = _micro(task.start)
        event: dict[str, Any] = {
            "name": plain(task.name),
            "cat": "task" if task.error is None else "task,failed",
            "ph": "X",
            "ts": start,
            "dur": round(max(0.0, _micro(task.end) - start), 3),
            **threads[task.lane],
            "args": args,
        }
        if task.error is not None:
            event["cname"] = "terrible"
        events.append(event)
        if task.parent is not None:
            parent = timeline.tasks[task.parent]
            made = min(max(call.start, parent.start), parent.end)
            arrow = {"name": "nested", "cat": "nested", "id": number}
            line = threads[parent.lane]
            events.append({**arrow, "ph": "s", "ts": _micro(made), **line})
            line = threads[task.lane]
            events.append({**arrow, "ph": "f", "bp": "e", "ts": start, **line})
    return json.dumps(
        {
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": {"began": timeline.began, "duration": timeline.duration},
        },
        separators=(",", ":"),
    )


def csv_of(timeline: Timeline) -> str:
    """Return it as CSV, a row for each task; times are seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, task in enumerate(timeline.tasks):
        lane, call = timeline.lanes[task.lane], timeline.calls[task.call]
        writer.writerow(
            [
                number,
                _cell(task.name),
                task.level,
                "" if task.parent is None else task.parent,
                _cell(lane.label),
                _cell(lane.host),
                lane.pid,
                lane.thread,
                f"{task.start:.9f}",
                f"{task.end:.9f}",
                f"{task.end - task.start:.9f}",
                task.bytes_in,
                task.bytes_out,
                "" if task.error is None else _cell(task.error),
                task.call,
                _cell(call.backend),
                call.n_jobs,
                call.n_tasks,
                _cell(timeline.lanes[call.lane].label),
                f"{call.start:.9f}",
                f"{call.end:.9f}",
            ]
        )
    return text.getvalue()


def _process_numbers(timeline: Timeline) -> dict[tuple[str, int], int]:
    """Return a number for each process: its pid, unless another machine has it too."""
    numbers: dict[tuple[str, int], int] = {}
    taken: set[int] = set()
    spare = max((lane.pid for lane in timeline.lanes), default=0)
    for lane in timeline.lanes:
        key = lane.host, lane.pid
        if key not in numbers:
            number = lane.pid
            if number in taken:
                spare += 1
                number = spare
            taken.add(number)
            numbers[key] = number
    return numbers


def _micro(seconds: float) -> float:
    """Return microseconds, which viewers take as fractions down to nanoseconds."""
    return round(seconds * 1e6, 3)


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    text = plain(text)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
