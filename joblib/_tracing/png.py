"""A traced run as a still picture: PNG, drawn by matplotlib."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from .bars import Bar, Row, height_of, placed, rows_of, ticks
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

INCHES = 14.0
DOTS = 120
# Most that is drawn of a run with very many lanes: renderers refuse larger pictures.
MOST_INCHES = 200.0
CALL = "#8a939c"
ERROR = "#d1182b"
Box = list[tuple[float, float]]


def write_png(
    timeline: Timeline, summary: str, file: str | os.PathLike[str] | BinaryIO
) -> None:
    """Write the picture to a file, given by its path or open for bytes.

    Nothing of pyplot is touched: what the caller draws with it stays as it is.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    limits = span(timeline)
    dot = (limits[1] - limits[0]) / (INCHES * DOTS * 0.8)
    rows = rows_of(timeline, dot)
    tops, lane_tops, height = placed(rows)
    totals = functions(timeline)
    colour = colours(totals)
    lines = [_plain(line, 180) for line in summary.splitlines()[:60]]
    entries = [
        (colour[one.name], f"{one.name}  {one.count:,} × {duration_text(one.median)}")
        for one in totals[: len(PALETTE)]
    ]
    if len(totals) > len(entries):
        entries.append((OTHERS, f"{len(totals) - len(entries):,} others"))

    # In points, of which an inch has 72.
    head = 50 + 12 * len(lines)
    foot = 46 + 15 * -(-len(entries) // 4)
    inches = min(MOST_INCHES, (head + height + foot) / 72)
    figure = Figure(figsize=(INCHES, inches), dpi=DOTS, facecolor="white")
    FigureCanvasAgg(figure)
    room = inches * 72 - head - foot
    axes = figure.add_axes((0.14, foot / inches / 72, 0.84, room / inches / 72))
    axes.set_xlim(*limits)
    axes.set_ylim(height + 3, -3)
    for kind, boxes in _boxes(timeline, rows, tops, colour, dot).items():
        face, edge, alpha = kind
        axes.add_collection(
            PolyCollection(
                boxes, facecolors=face, edgecolors=edge, alpha=alpha, linewidths=0.8
            )
        )
    marks, unit, seconds = ticks(limits, 9)
    axes.set_xticks(marks, [f"{round(mark / seconds, 9):g} {unit}" for mark in marks])
    axes.set_yticks(
        [top + 8 for top in lane_tops],
        [_plain(lane.label, 26) for lane in timeline.lanes],
    )
    literal = axes.get_yticklabels()
    axes.tick_params(labelsize=8, length=0)
    axes.grid(axis="x", color="#e1e4e8")
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)

    def write(points: float, text: str, **style: Any) -> None:
        style = {"va": "top", "parse_math": False, **style}
        figure.text(0.015, 1 - points / inches / 72, text, **style)

    write(8, "Parallel run", size=13, weight="bold")
    write(27, headline(timeline), size=9, color="#5d6670")
    if lines:
        write(42, "\n".join(lines), size=8, family="monospace", linespacing=1.25)
    handles = [Patch(color=face, label=_plain(text, 44)) for face, text in entries]
    if handles:
        legend = figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.01, 16 / inches / 72),
            ncols=4,
            fontsize=8,
            frameon=False,
        )
        literal += legend.get_texts()
    for label in literal:  # a dollar in a name starts no formula
        label.set_parse_math(False)
    note = "thin grey line: a call under way; pale: waits for its own call; red: raised"
    write(inches * 72 - 18, note, size=8, color="#5d6670")
    figure.savefig(file, format="png")


def _boxes(
    timeline: Timeline,
    rows: list[Row],
    tops: list[float],
    colour: dict[str, str],
    dot: float,
) -> dict[tuple[str, str, float], list[Box]]:
    """Return the boxes by how they are painted, in the order of painting."""
    waiting = waits(timeline)
    found: dict[tuple[str, str, float], list[Box]] = {}
    pale: list[Box] = []
    failed: list[Box] = []
    for row, top in zip(rows, tops, strict=True):
        height = height_of(row)
        for bar in row.bars:
            face = CALL if row.level < 0 else colour[bar.name]
            edge = "white" if _alone(bar, row, dot) else "none"
            found.setdefault((face, edge, 1.0), []).append(
                _box((bar.start, bar.end), top, height)
            )
            if row.level >= 0 and bar.count == 1:
                pale += [
                    _box(wait, top + 2, height - 4)
                    for wait in waiting.get(bar.task, [])
                ]
            if bar.failed:
                failed.append(_box((bar.start, bar.end), top + 0.7, height - 1.4))
    found["white", "none", 0.6] = pale
    found["none", ERROR, 1.0] = failed
    return {kind: boxes for kind, boxes in found.items() if boxes}


def _alone(bar: Bar, row: Row, dot: float) -> bool:
    """Tell whether there is room for an edge between a bar and the next."""
    return row.level >= 0 and bar.end - bar.start > 5 * dot


def _box(times: Interval, top: float, height: float) -> Box:
    start, end = times
    return [
        (start, top),
        (end, top),
        (end, top + height),
        (start, top + height),
    ]


def _plain(text: str, most: int) -> str:
    text = plain(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
