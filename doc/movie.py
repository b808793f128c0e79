"""The movie of a nested search: `make movie` records it, and draws it as moving SVG.

Recorded is a search of scikit-learn over forests, on a dask cluster of four workers with
a thread each. Both levels of its loops run on the cluster: a fit is a task that waits for
the tasks of its trees, and gives its worker's slot up meanwhile.

``python doc/movie.py OUT.svg``
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

WORKERS = 4
SECONDS = 18.0  # for the run; then it stands still for a moment
PAUSE = 1.5
FLIGHT = 0.2  # seconds of the movie that a task takes to move

WIDTH, HEIGHT = 880, 480
ROW, TOP = 88, 84  # a worker's height, and where the first one is
QUEUE_X, QUEUE_WIDTH = 24, 170
SLOT_X, SHELF_X, SHELF_WIDTH = 330, 420, 200
DONE_X, DONE_WIDTH = 680, 176
COLORS = ["#3b6fb6", "#e08a2e", "#3f9a76"]  # by level
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
  fill: #22303c }
.small { font-size: 11.5px; fill: #5b6b7a }
.title { font-size: 16px; font-weight: 600 }
.box { fill: #ffffff; stroke: #c3ced9 }
.slot { fill: #eef3f8; stroke: #8fa3b5 }
.shelf { fill: none; stroke: #c3ced9; stroke-dasharray: 4 4 }
"""


def record():
    """Run the search; return its timeline."""
    import numpy as np
    from distributed import Client, LocalCluster
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    from joblib import parallel_config, trace

    digits = load_digits()
    images, labels = (
        np.concatenate([each] * 4) for each in (digits.data, digits.target)
    )
    search = GridSearchCV(
        RandomForestClassifier(5, n_jobs=-1, random_state=0),
        {"max_depth": [4, 8, None], "min_samples_leaf": [1, 3]},
        cv=3,
        n_jobs=-1,
        refit=False,
    )
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        parallel_config("dask"),
    ):
        client.wait_for_workers(WORKERS)
        search.fit(images[:400], labels[:400])  # workers import what it needs
        with trace() as t:
            search.fit(images, labels)
    return t.timeline


class Path2D:
    """Where a task is, and from when on: a list of moments and places."""

    def __init__(self):
        self.stops = []

    def to(self, when, x, y):
        """Be there from that moment on, after a short flight."""
        if self.stops:
            last, before_x, before_y = self.stops[-1]
            leave = max(last, when - FLIGHT)
            if leave > last:
                self.stops.append((leave, before_x, before_y))
        self.stops.append((max(when, self.stops[-1][0] if self.stops else when), x, y))

    def animations(self, total):
        """Return SMIL elements that move a circle along it."""
        moments = [0.0, *(min(t, total) / total for t, _, _ in self.stops), 1.0]
        keys = ";".join(f"{m:.4f}" for m in moments)
        found = []
        for index, name in ((1, "cx"), (2, "cy")):
            values = [stop[index] for stop in self.stops]
            text = ";".join(f"{v:g}" for v in (values[0], *values, values[-1]))
            found.append(
                f'<animate attributeName="{name}" dur="{total:g}s" '
                f'repeatCount="indefinite" keyTimes="{keys}" values="{text}"/>'
            )
        return "".join(found)


class Places:
    """Gives out places in a grid, and takes them back."""

    def __init__(self, x, y, columns, pitch):
        self._x, self._y, self._columns, self._pitch = x, y, columns, pitch
        self._taken = {}

    def take(self, who):
        """Return the first free place."""
        used = set(self._taken.values())
        number = next(n for n in range(len(used) + 1) if n not in used)
        self._taken[who] = number
        row, column = divmod(number, self._columns)
        return self._x + column * self._pitch, self._y + row * self._pitch

    def free(self, who):
        """Take a place back."""
        self._taken.pop(who, None)


def events_of(timeline):
    """Yield (moment, order, kind, task), as they come."""
    waits = defaultdict(list)
    for call in timeline.calls:
        if call.parent is not None:
            waits[call.parent].append((call.start, call.end))
    for number, task in enumerate(timeline.tasks):
        call = timeline.calls[task.call]
        yield call.start, 2, "queued", number
        yield task.start, 3, "started", number
        for start, end in waits[number]:
            yield start, 1, "waits", number
            yield end, 4, "goes on", number
        yield task.end, 0, "done", number


def draw(timeline):
    """Return the movie."""
    tasks = timeline.tasks
    first = min(call.start for call in timeline.calls)
    last = max(task.end for task in tasks)
    factor = SECONDS / (last - first)
    total = SECONDS + PAUSE
    pids = []
    for task in tasks:
        pid = timeline.lanes[task.lane].pid
        if pid not in pids and pid != timeline.lanes[0].pid:
            pids.append(pid)
    rows = {pid: TOP + n * ROW for n, pid in enumerate(sorted(pids))}
    queue = Places(QUEUE_X + 12, TOP + 34, 9, 17)
    done = Places(DONE_X + 12, TOP + 34, 14, 11.5)
    shelves = {pid: Places(SHELF_X + 18, y + 40, 9, 20) for pid, y in rows.items()}
    paths = defaultdict(Path2D)
    radius = {
        number: (7 if task.level == 0 else 4.5) for number, task in enumerate(tasks)
    }
    where = {}

    for when, _, kind, number in sorted(events_of(timeline)):
        task = tasks[number]
        pid = timeline.lanes[task.lane].pid
        if pid not in rows:
            continue
        moment = (when - first) * factor
        path, y = paths[number], rows[pid]
        slot = SLOT_X + 32, y + 36
        if kind == "queued":
            if task.parent is not None and task.parent in where:
                path.to(moment, *where[task.parent])
            where[number] = queue.take(number)
            path.to(moment, *where[number])
            continue
        queue.free(number)
        if kind == "started" or kind == "goes on":
            shelves[pid].free(number)
            where[number] = slot
        elif kind == "waits":
            where[number] = shelves[pid].take(number)
        else:
            where[number] = done.take(number)
        path.to(moment, *where[number])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="Tasks of a nested '
        'search moving over four workers">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#f7f9fb"/>',
        '<text class="title" x="24" y="34">A grid search over forests on a cluster of '
        "four workers</text>",
        f'<text class="small" x="24" y="56">{len(tasks):,} tasks in '
        f"{last - first:.1f} s, shown in {SECONDS:g} s, as recorded by joblib.trace"
        "</text>",
    ]
    height = len(rows) * ROW - 14
    for x, width, label in (
        (QUEUE_X, QUEUE_WIDTH, "waiting for a worker"),
        (DONE_X, DONE_WIDTH, "done"),
    ):
        parts += [
            f'<rect class="box" x="{x}" y="{TOP}" width="{width}" height="{height}" rx="8"/>',
            f'<text class="small" x="{x + 12}" y="{TOP + 19}">{label}</text>',
        ]
    for n, y in enumerate(rows.values()):
        parts += [
            f'<rect class="box" x="220" y="{y}" width="432" height="{ROW - 14}" rx="8"/>',
            f'<text x="234" y="{y + 41}">worker {n + 1}</text>',
            f'<rect class="slot" x="{SLOT_X}" y="{y + 12}" width="64" height="48" rx="6"/>',
            f'<rect class="shelf" x="{SHELF_X}" y="{y + 12}" width="{SHELF_WIDTH + 20}" '
            'height="48" rx="6"/>',
        ]
        if n == 0:
            parts += [
                f'<text class="small" x="{SLOT_X}" y="{TOP - 8}">at work</text>',
                f'<text class="small" x="{SHELF_X}" y="{TOP - 8}">slot given up, waiting '
                "for tasks of its own</text>",
            ]
    legend = [(0, "a fit of the search"), (1, "a tree of its forest")]
    x = QUEUE_X
    for level, text in legend:
        y = HEIGHT - 24
        parts.append(
            f'<circle cx="{x + 7}" cy="{y - 4}" r="{7 if level == 0 else 4.5}" '
            f'fill="{COLORS[level]}"/><text class="small" x="{x + 20}" y="{y}">'
            f"{escape(text)}</text>"
        )
        x += 150
    # how far it is
    parts.append(
        f'<rect x="330" y="{HEIGHT - 32}" width="526" height="6" rx="3" fill="#dfe6ed"/>'
        f'<rect x="330" y="{HEIGHT - 32}" width="0" height="6" rx="3" fill="#8fa3b5">'
        f'<animate attributeName="width" dur="{total:g}s" repeatCount="indefinite" '
        f'keyTimes="0;{SECONDS / total:.4f};1" values="0;526;526"/></rect>'
    )
    for number in sorted(paths, key=lambda n: -radius[n]):
        task, path = tasks[number], paths[number]
        begin = path.stops[0][0]
        x, y = path.stops[-1][1:]
        shown = (
            f'<animate attributeName="opacity" dur="{total:g}s" repeatCount="indefinite" '
            f'calcMode="discrete" keyTimes="0;{begin / total:.4f}" values="0;1"/>'
            if begin > 0
            else ""
        )
        parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius[number]:g}" '
            f'fill="{COLORS[min(task.level, 2)]}" fill-opacity="0.9">'
            f"{path.animations(total)}{shown}</circle>"
        )
    parts.append("</svg>\n")
    for path in paths.values():
        moments = [stop[0] for stop in path.stops]
        assert all(a <= b for a, b in pairwise(moments)), moments
    return "\n".join(parts)


def main():
    """Record, draw, write."""
    out = Path(sys.argv[1])
    text = draw(record())
    out.write_text(text, encoding="utf-8")
    print(f"{out}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
