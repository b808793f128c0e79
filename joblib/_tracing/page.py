"""A traced run as one HTML page that needs nothing but a browser, not even a network.

The page is put together from its parts beside this file. The tables are written here,
so that they are there without JavaScript too; the timeline is drawn by the page.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template

from .timeline import Timeline
from .totals import (
    OTHERS,
    PALETTE,
    FunctionTotal,
    colours,
    duration_text,
    functions,
    headline,
    lanes,
    plain,
)

SCRIPTS = ["page_model.js", "page_view.js", "page_controls.js"]
LONGEST = 20
# Longer tables would make the page slow.
MOST_FUNCTIONS = 100
MOST_LANES = 500


def page_of(timeline: Timeline, summary: str) -> str:
    """Return the page; `summary` is shown as it is, above the timeline."""
    totals = functions(timeline)
    colour = colours(totals)
    columns = timeline.columns()
    line = headline(timeline)
    script = "\n".join(_part(name) for name in SCRIPTS)
    return Template(_part("page.html")).substitute(
        title=f"Parallel run, {_text(line)}",
        style=_part("page.css"),
        headline=_text(line),
        summary=f"<pre>{_text(summary)}</pre>" if summary.strip() else "",
        legend=_legend(totals, colour, columns["names"]),
        tables="\n".join(
            [
                _longest_table(timeline, colour),
                _function_table(totals, colour),
                _lane_table(timeline),
            ]
        ),
        # By place as the names are, which may be any text.
        data=script_json(
            {**columns, "colours": [colour[name] for name in columns["names"]]}
        ),
        script=f'(() => {{\n"use strict";\n{script}\n}})();',
    )


def script_json(value: object) -> str:
    """Return JSON that cannot end the script element which holds it.

    >>> script_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, separators=(",", ":"))  # ASCII: no U+2028 either
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _text(text: str) -> str:
    return escape(plain(text))


def _dot(colour: str) -> str:
    return f'<i class="dot" style="background:{colour}"></i>'


def _legend(
    totals: list[FunctionTotal], colour: dict[str, str], names: list[str]
) -> str:
    buttons = [
        f'<button aria-pressed="false" data-place="{names.index(one.name)}">'
        f"{_dot(colour[one.name])}<b>{_text(one.name)}</b> "
        f"<small>{one.count:,} × {duration_text(one.median)}</small></button>"
        for one in totals[: len(PALETTE)]
    ]
    rest = len(totals) - len(buttons)
    if rest:
        buttons.append(f"<small>{_dot(OTHERS)} {rest:,} others</small>")
    return "".join(buttons)


def _table(
    title: str, heads: list[str], rows: Iterable[Iterable[str]], note: str = ""
) -> str:
    head = "".join(
        f'<th scope="col"{_number(one)}>{one.lstrip("#")}</th>' for one in heads
    )
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    if not body:
        return ""
    return (
        f'<section><h2>{title}</h2><div class="table" tabindex="0" role="region" '
        f'aria-label="{title}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>{note}</section>"
    )


def _number(head: str) -> str:
    return ' class="n"' if head.startswith("#") else ""


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def _longest_table(timeline: Timeline, colour: dict[str, str]) -> str:
    tasks = timeline.tasks
    places = heapq.nlargest(
        LONGEST, range(len(tasks)), key=lambda n: tasks[n].end - tasks[n].start
    )
    rows = []
    for place in places:
        task = tasks[place]
        error = task.error or ""
        error = error if len(error) <= 200 else f"{error[:199]}…"
        rows.append(
            [
                _cell(
                    f"{_dot(colour[task.name])}"
                    f'<button data-task="{place}">{_text(task.name)}</button>',
                    "name",
                ),
                _cell(duration_text(task.end - task.start), "n"),
                _cell(duration_text(task.start), "n"),
                _cell(_text(timeline.lanes[task.lane].label), "lane"),
                _cell(str(task.level), "n"),
                _cell(f"<div>{_text(error)}</div>", "name bad") if error else _cell(""),
            ]
        )
    heads = ["Function", "#Duration", "#Start", "Lane", "#Level", "Error"]
    count = f"{len(rows)} longest tasks" if len(tasks) > len(rows) else "Tasks"
    return _table(count[:1].upper() + count[1:], heads, rows)


def _function_table(totals: list[FunctionTotal], colour: dict[str, str]) -> str:
    rows = [
        [
            _cell(f"{_dot(colour[one.name])}{_text(one.name)}", "name"),
            _cell(f"{one.count:,}", "n"),
            _cell(duration_text(one.total), "n"),
            _cell(duration_text(one.median), "n"),
            _cell(duration_text(one.longest), "n"),
            _cell(f"{one.errors:,}" if one.errors else "", "n bad"),
        ]
        for one in totals[:MOST_FUNCTIONS]
    ]
    heads = ["Function", "#Tasks", "#Total", "#Median", "#Longest", "#Errors"]
    return _table("Functions", heads, rows, _more(len(totals) - MOST_FUNCTIONS))


def _lane_table(timeline: Timeline) -> str:
    rows = []
    for one in lanes(timeline)[:MOST_LANES]:
        lane = timeline.lanes[one.lane]
        meter = f'<meter min="0" max="1" value="{one.share:.3f}"></meter>'
        rows.append(
            [
                _cell(_text(lane.label), "lane"),
                _cell(f"{meter} {one.share:.0%}", "n"),
                _cell(duration_text(one.busy), "n"),
                _cell(f"{one.count:,}", "n"),
                _cell(_text(lane.host)),
                _cell(str(lane.pid), "n"),
                _cell(str(lane.thread), "n"),
            ]
        )
    heads = ["Lane", "#Busy", "#Time", "#Tasks", "Host", "#Process", "#Thread"]
    return _table("Lanes", heads, rows, _more(len(timeline.lanes) - MOST_LANES))


def _more(number: int) -> str:
    return f"<p>and {number:,} more</p>" if number > 0 else ""
