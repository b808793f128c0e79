"""A traced run in words, and the advice that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median

from .timeline import Timeline
from .totals import Figures, duration_text, figures_of

#: a task of less is too short to be sent to another process by itself
SHORT = 1e-3
#: a share of the lanes' time that leaves something to be gained
IDLE = 0.7


def size(n_bytes: float) -> str:
    """Return a number of bytes with a unit.

    >>> size(12), size(3_400), size(5.6e9)
    ('12 B', '3.4 kB', '5.6 GB')
    """
    power = min(len(str(int(n_bytes))) - 1, 14) // 3
    unit = ("B", "kB", "MB", "GB", "TB")[power]
    return f"{n_bytes / 1000**power:.{0 if power == 0 else 1}f} {unit}"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def summary_of(timeline: Timeline) -> str:
    """Return what happened, a line each, and what to do about it."""
    tasks, calls = timeline.tasks, timeline.calls
    if not tasks:
        return f"No task was run within {duration_text(timeline.duration)}."
    found = figures_of(timeline)
    outer = [call for call in calls if call.parent is None]
    how = Counter(f"{call.backend}, n_jobs={call.n_jobs}" for call in outer)
    kinds = "; ".join(f"{n} x {kind}" if n > 1 else kind for kind, n in how.items())
    nested = len(calls) - len(outer)
    times = [task.end - task.start for task in tasks]
    longest = max(range(len(tasks)), key=times.__getitem__)
    lines = [
        f"{_many(len(tasks), 'task')} of {_many(len(outer), 'call')}"
        + (f" and {_many(nested, 'call')} within tasks" if nested else "")
        + f" in {duration_text(timeline.duration)} ({kinds})",
        f"At work: {found.share:.0%} of the time of {_many(found.workers, 'worker')}",
        f"A task took {duration_text(median(times))} (median), the longest "
        f"{duration_text(times[longest])} ({tasks[longest].name})",
        f"Overhead: {duration_text(found.overhead)} a task",
        f"Arguments: {size(sum(t.bytes_in for t in tasks))}, results: "
        f"{size(sum(t.bytes_out for t in tasks))} (estimates)",
    ]
    failed = [task for task in tasks if task.error is not None]
    if failed:
        lines.append(
            f"Failed: {_many(len(failed), 'task')}, the first with {failed[0].error}"
        )
    advice = list(_advice(timeline, found))
    lines += [f"Advice: {text}" for text in advice]
    return "\n".join(lines)


def _advice(timeline: Timeline, found: Figures) -> Iterator[str]:
    tasks = timeline.tasks
    by_call: dict[int, list[int]] = {}
    for place, task in enumerate(tasks):
        by_call.setdefault(task.call, []).append(place)
    # of several calls, the one that took longest
    worth = max(by_call, key=lambda c: timeline.calls[c].end - timeline.calls[c].start)
    call, members = timeline.calls[worth], by_call[worth]
    wall = call.end - call.start
    own = [found.own[place] for place in members]
    typical = median(own)
    name = tasks[members[0]].name
    lanes = len({tasks[place].lane for place in members})
    is_process = any(
        timeline.lanes[tasks[p].lane].pid != _pid_of(timeline, worth) for p in members
    )
    if wall < 0.02:  # whatever helped would help little
        return
    worked = sum(own) / (wall * max(lanes, 1)) if wall else 1.0

    if is_process and typical < SHORT and found.overhead > typical:
        yield (
            f"tasks of {duration_text(typical)} ({name}) are short beside what it costs to "
            f"send them, {duration_text(found.overhead)}: give each more to do, pass "
            "batch_size, or use threads if the function releases the GIL."
        )
    elif lanes > 1 and not is_process and worked < IDLE and typical < SHORT:
        yield (
            f"tasks of {duration_text(typical)} ({name}) are short: give each more to do."
        )
    last = max(members, key=lambda place: tasks[place].end)
    alone = tasks[last].end - max(
        (tasks[place].end for place in members if place != last), default=call.start
    )
    if len(members) > 1 and lanes > 1 and wall and alone > 0.25 * wall:
        yield (
            f"for {duration_text(alone)} of {duration_text(wall)} there was one task left "
            f"({tasks[last].name}): start long tasks first, or split them."
        )
    if call.n_jobs > len(members) > 0 and wall > 0.1:
        yield (
            f"there were fewer tasks ({len(members)}) than jobs ({call.n_jobs}): "
            "smaller tasks would use the others."
        )
    heavy = max(members, key=lambda place: tasks[place].bytes_in)
    sizes = [tasks[place].bytes_in for place in members]
    if is_process and sum(sizes) > 2e7 * max(wall, 0.1) and len(members) > 1:
        yield (
            f"arguments of up to {size(tasks[heavy].bytes_in)} a task: pass large "
            "arrays themselves, which are mapped and not copied, name what many tasks "
            "share in parallel_config(scatter=[...]), or load data in the task."
        )
    results = sum(tasks[place].bytes_out for place in members)
    if is_process and results > 1e8 * max(wall, 0.1):
        yield (
            f"results of {size(results)} had to be brought back: return less, or "
            "write them to files in the task and return their names."
        )


def _pid_of(timeline: Timeline, call: int) -> int:
    return timeline.lanes[timeline.calls[call].lane].pid
