"""A traced run as a still picture for documents: SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape

from .bars import Bar, Row, rows_of, ticks
from .timeline import Timeline
from .totals import (
    OTHERS,
    PALETTE,
    Interval,
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
HEIGHTS = {-1: 5, 0: 16}
INNER = 10
GAP = 7
# Bars that are elements of their own, with what they say under the pointer; the
# others of a row are one path for each colour.
MOST_BARS = 4000

STYLE = (
    "text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#222}"
    ".h{font-size:17px;font-weight:600}.q{fill:#666}.m{font-size:11px}"
    ".e{fill:none;stroke:#d11;stroke-width:1.6}.g{stroke:#e4e4e4}.c{fill:#888}"
)


def svg_of(timeline: Timeline, summary: str) -> str:
    """Return the picture; it has a background of its own, for light and dark pages."""
    return _Picture(timeline, summary).text()


class _Picture:
    def __init__(self, timeline: Timeline, summary: str) -> None:
        self.timeline = timeline
        self.summary = summary.splitlines()[:40]
        self.span = span(timeline)
        self.scale = (WIDTH - GUTTER - RIGHT) / (self.span[1] - self.span[0])
        self.totals = functions(timeline)
        self.colours = colours(self.totals)
        self.waits = waits(timeline)
        self.rows = rows_of(timeline, 1 / self.scale)
        widest = (
            bar.end - bar.start
            for row in self.rows
            for bar in row.bars
            if bar.count == 1
        )
        ranked = sorted(widest, reverse=True)
        few = len(ranked) <= MOST_BARS
        self.least = 0.0 if few else ranked[MOST_BARS]
        self.out: list[str] = []

    def x(self, seconds: float) -> float:
        return GUTTER + (seconds - self.span[0]) * self.scale

    def text(self) -> str:
        y = self.heading()
        top = y
        y = self.axis_room(y)
        y = self.lanes(y)
        grid = self.axis(top, y)
        y = self.legend(y + 18)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:g}" '
            f'width="{WIDTH}" height="{y:g}" role="img">'
            f"<title>{_xml(headline(self.timeline))}</title><style>{STYLE}</style>"
            '<defs><pattern id="wait" width="6" height="6" '
            'patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect width="6" height="6" fill="#fff" fill-opacity=".45"/>'
            '<rect width="2.5" height="6" fill="#fff" fill-opacity=".45"/>'
            f'</pattern></defs><rect width="{WIDTH}" height="{y:g}" fill="#fff"/>'
        )
        return "\n".join([head, *grid, *self.out, "</svg>\n"])

    def put(self, x: float, y: float, text: str, kind: str = "", end: str = "") -> str:
        kind = f' class="{kind}"' if kind else ""
        anchor = f' text-anchor="{end}"' if end else ""
        return f'<text x="{x:.1f}" y="{y:.1f}"{kind}{anchor}>{_xml(text)}</text>'

    def heading(self) -> float:
        self.out.append(self.put(16, 28, "Parallel run", "h"))
        self.out.append(self.put(16, 48, headline(self.timeline), "q"))
        y = 48.0
        for line in self.summary:
            y += 16
            line = line if len(line) <= 170 else line[:169] + "…"
            style = ' style="white-space:pre;font-family:monospace"'
            self.out.append(f'<text x="16" y="{y:g}"{style}>{_xml(line)}</text>')
        return y + 16

    def axis_room(self, y: float) -> float:
        return y + 22

    def axis(self, top: float, bottom: float) -> list[str]:
        marks, unit, seconds = ticks(self.span, 10)
        lines = []
        for mark in marks:
            x = self.x(mark)
            lines.append(
                f'<path class="g" d="M{x:.1f} {top + 18:.1f}V{bottom:.1f}" />'
            )
            label = f"{round(mark / seconds, 9):g}"
            end = "end" if x > WIDTH - RIGHT - 24 else "middle"
            self.out.append(
                self.put(x, top + 13, f"{label} {unit}" if label != "0" else "0", "m q")
                if end == "middle"
                else self.put(x, top + 13, f"{label} {unit}", "m q", "end")
            )
        return lines

    def lanes(self, y: float) -> float:
        lane = -1
        for row in self.rows:
            if row.lane != lane:
                y += GAP if lane >= 0 else 0
                lane = row.lane
                label = _short(self.timeline.lanes[lane].label, 27)
                self.out.append(self.put(GUTTER - 10, y + 12, label, "m", "end"))
                start = y
            height = HEIGHTS.get(row.level, INNER)
            self.row(row, y, height)
            y += height + 1
            y = max(y, start + 14) if self.is_last(row) else y
        return y

    def is_last(self, row: Row) -> bool:
        return row is self.rows[-1] or self.rows[self._next(row)].lane != row.lane

    def _next(self, row: Row) -> int:
        self._places = getattr(self, "_places", None) or {
            id(one): place for place, one in enumerate(self.rows)
        }
        return self._places[id(row)] + 1
