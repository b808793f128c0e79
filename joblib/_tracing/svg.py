"""A traced run as a still picture for documents: SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape

from .bars import Bar, Row, height_of, placed, rows_of, ticks
from .timeline import Timeline
from .totals import (
    OTHERS,
    PALETTE,
    colours,
    duration_text,
    functions,
    headline,
    plain,
    span,
    waits,
)

WIDTH = 1200
GUTTER = 190
RIGHT = 16
AXIS = 24
LEGEND = 270
# Bars at least so wide have their names in them, if there are no more than that.
NAMED = 60
MOST_NAMES = 1000
# Bars that are elements of their own, with what they say under the pointer; the
# others of a row are one path for each colour.
MOST_BARS = 4000
MOST_LINES = 60

STYLE = (
    "text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#222}"
    ".h{font-size:17px;font-weight:600}.q{fill:#5d6670}.m{font-size:11px}"
    ".p{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:11px;"
    "white-space:pre}"
    ".e{fill:none;stroke:#d1182b;stroke-width:1.6}.g{stroke:#e1e4e8}"
)
# On its own ground, so that the picture is right on light and on dark pages.
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
    'width="{width}" height="{height:.0f}" role="img"><title>{title}</title>'
    "<style>{style}</style>"
    '<rect width="{width}" height="{height:.0f}" rx="6" fill="#fff"/>'
)


def svg_of(timeline: Timeline, summary: str) -> str:
    """Return the picture; its size depends on the lanes, not on the tasks."""
    return _Picture(timeline, summary).text()


class _Picture:
    """The elements of one picture, in the order in which they are drawn."""

    def __init__(self, timeline: Timeline, summary: str) -> None:
        self.timeline = timeline
        self.summary = summary.splitlines()[:MOST_LINES]
        self.span = span(timeline)
        self.scale = (WIDTH - GUTTER - RIGHT) / (self.span[1] - self.span[0])
        self.totals = functions(timeline)
        self.colours = colours(self.totals)
        self.waits = waits(timeline)
        self.rows = rows_of(timeline, 1 / self.scale)
        lengths = sorted(
            (b.end - b.start for row in self.rows for b in row.bars if b.count == 1),
            reverse=True,
        )
        self.least = lengths[MOST_BARS] if len(lengths) > MOST_BARS else -1.0
        self.out: list[str] = []
        self.names: list[str] = []

    def text(self) -> str:
        """Return the whole picture."""
        top = self.heading()
        bottom = self.lanes(top)
        height = self.legend(bottom + 22) + 12
        title = _xml(headline(self.timeline))
        head = HEAD.format(width=WIDTH, height=height, title=title, style=STYLE)
        return "\n".join([head, *self.out, "</svg>\n"])

    def x(self, seconds: float) -> float:
        return GUTTER + (seconds - self.span[0]) * self.scale

    def put(self, x: float, y: float, text: str, kind: str, end: str = "start") -> None:
        self.out.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{end}">'
            f"{_xml(text)}</text>"
        )

    def heading(self) -> float:
        self.put(16, 28, "Parallel run", "h")
        self.put(16, 48, headline(self.timeline), "q")
        y = 52.0
        for line in self.summary:
            y += 15
            self.put(16, y, _short(line, 170), "p")
        return y + 14

    def lanes(self, top: float) -> float:
        tops, lane_tops, height = placed(self.rows)
        bottom = top + AXIS + height
        self.axis(top, bottom)
        for lane, y in zip(self.timeline.lanes, lane_tops, strict=True):
            label = _short(lane.label, 27)
            self.put(GUTTER - 10, top + AXIS + y + 12, label, "m", "end")
        for row, y in zip(self.rows, tops, strict=True):
            self.row(row, top + AXIS + y, height_of(row))
        self.out += self.names
        return bottom

    def axis(self, top: float, bottom: float) -> None:
        marks, unit, seconds = ticks(self.span, 9)
        for mark in marks:
            x = self.x(mark)
            self.out.append(
                f'<path class="g" d="M{x:.1f} {top + AXIS - 4:.1f}V{bottom:.1f}"/>'
            )
            end = "end" if x > WIDTH - 24 else "middle"
            text = f"{round(mark / seconds, 9):g} {unit}"
            self.put(x, top + 13, text, "m q", end)

    def row(self, row: Row, y: float, height: float) -> None:
        paths: dict[str, list[str]] = {}
        after: list[str] = []
        for bar in row.bars:
            colour = "#8a939c" if row.level < 0 else self.colours[bar.name]
            x, end = self.x(bar.start), self.x(bar.end)
            box = f"M{x:.1f} {y:.1f}h{max(end - x, 0.5):.1f}v{height:g}H{x:.1f}z"
            single = bar.count == 1 and bar.end - bar.start > self.least
            if row.level >= 0 and single:
                said = _xml(self.said(bar))
                self.out.append(
                    f'<path fill="{colour}" stroke="#fff" stroke-width=".5" d="{box}">'
                    f"<title>{said}</title></path>"
                )
            else:
                paths.setdefault(colour, []).append(box)
            if row.level >= 0 and bar.count == 1:
                after += self.waiting(bar, y, height)
            if row.level >= 0 and single and end - x >= NAMED:
                self.name(bar, x, end, y + height / 2)
            if bar.failed:
                paths.setdefault("", []).append(_mark(x, end, y, height))
        marks = paths.pop("", [])
        for colour, boxes in paths.items():
            self.out.append(f'<path fill="{colour}" d="{"".join(boxes)}"/>')
        if after:
            pale = f'<path fill="#fff" fill-opacity=".6" d="{"".join(after)}"/>'
            self.out.append(pale.replace("<path", '<path pointer-events="none"'))
        if marks:
            self.out.append(
                f'<path pointer-events="none" class="e" d="{"".join(marks)}"/>'
            )

    def name(self, bar: Bar, x: float, end: float, middle: float) -> None:
        if len(self.names) < MOST_NAMES:
            short = _short(bar.name.rpartition(".")[2] or bar.name, int(end - x) // 8)
            red, green, blue = bytes.fromhex(self.colours[bar.name][1:])
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 120
            self.names.append(
                f'<text x="{x + 4:.1f}" y="{middle + 3.5:.1f}" pointer-events="none" '
                f'style="font-size:10px;fill:{"#111" if light else "#fff"}">'
                f"{_xml(short)}</text>"
            )

    def waiting(self, bar: Bar, y: float, height: float) -> list[str]:
        return [
            f"M{self.x(start):.1f} {y + 2:.1f}h{(end - start) * self.scale:.1f}"
            f"v{height - 4:g}H{self.x(start):.1f}z"
            for start, end in self.waits.get(bar.task, [])
            if (end - start) * self.scale >= 0.5
        ]

    def said(self, bar: Bar) -> str:
        task = self.timeline.tasks[bar.task]
        text = (
            f"{bar.name}\n{duration_text(bar.end - bar.start)} "
            f"from {duration_text(bar.start)}, level {task.level}"
        )
        return text if task.error is None else f"{text}\n{_short(task.error, 300)}"

    def legend(self, y: float) -> float:
        x = 16.0
        entries = [
            (
                self.colours[one.name],
                f"{_short(one.name, 22)}  {one.count:,} × {duration_text(one.median)}",
            )
            for one in self.totals[: len(PALETTE)]
        ]
        rest = len(self.totals) - len(entries)
        if rest:
            entries.append((OTHERS, f"{rest:,} others"))
        waiting = any(self.waits.values())
        for colour, text in entries:
            self.out.append(
                f'<rect x="{x:.0f}" y="{y - 10:.1f}" width="11" height="11" rx="3" '
                f'fill="{colour}"/>'
            )
            self.put(x + 17, y, text, "m")
            x += LEGEND
            if x + LEGEND > WIDTH:
                x, y = 16.0, y + 19
        notes = ["thin grey line: a call under way"]
        notes += ["pale: waits for its own call"] if waiting else []
        if any(task.error is not None for task in self.timeline.tasks):
            notes.append("red: raised")
        y += 19 if x > 16 else 0
        self.put(16, y, "; ".join(notes), "m q")
        return y


def _mark(x: float, end: float, y: float, height: float) -> str:
    """Return the path around what failed, with a cross where there is room."""
    if end - x < 4:
        return f"M{x + 0.5:.1f} {y:.1f}v{height:g}"
    box = f"M{x + 0.8:.1f} {y + 0.8:.1f}H{end - 0.8:.1f}v{height - 1.6:.1f}"
    box += f"H{x + 0.8:.1f}z"
    if end - x < 14:
        return box
    cross = end - 10, y + height / 2 - 3
    return (
        f"{box}M{cross[0]:.1f} {cross[1]:.1f}l6 6"
        f"M{cross[0] + 6:.1f} {cross[1]:.1f}l-6 6"
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _xml(text: str) -> str:
    return escape(plain(text))
