"""Pictures and files of a traced run: what they hold, and that any name is safe."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from joblib._tracing import svg, totals
from joblib._tracing.exchange_formats import COLUMNS, chrome_of, csv_of
from joblib._tracing.page import page_of
from joblib._tracing.png import write_png
from joblib._tracing.svg import svg_of
from joblib._tracing.timeline import Call, Lane, Task, Timeline

HOSTILE = [
    "</script><img src=x onerror=harmed=1>",
    "\"quotes\" 'and' `more` & &amp; $title ${data}",
    "naïve.日本語.\u2028.\u2029.🙂",
    "<!--<script>",
    "]]>",
    "__proto__",
    "42",
]
# These stand in no file of text or XML as they are.
UNSPEAKABLE = ["a\x00b", "a\ud800b", "a\x1b[31mb", "a\uffffb"]


def nested():
    """Return a run on four lanes: eight tasks, each of which runs eight others."""
    lanes = [Lane("host", 100, 100, "main")]
    lanes += [Lane("host", 200 + n, 300 + n, f"{200 + n}/{300 + n}") for n in range(4)]
    calls = [Call(None, 0, "LokyBackend", 4, 8, 0, 0.01, 2.1)]
    tasks = []
    for wave in range(2):
        begin = 0.05 + wave
        outer = len(tasks)
        for lane in range(1, 5):
            tasks.append(
                Task("package.outer", 0, None, 0, lane, begin, begin + 0.95, 9, 8, None)
            )
        for step in range(8):
            for lane in range(1, 5):
                start = begin + 0.1 + 0.1 * step
                error = "ValueError('odd')" if (step, lane) == (3, 2) else None
                # On other lanes than the task that made the call.
                made_by = outer + (lane + step) % 4
                call = 1 + wave * 4 + (lane + step) % 4
                tasks.append(
                    Task(
                        "package.inner",
                        call,
                        made_by,
                        1,
                        lane,
                        start,
                        start + 0.08,
                        2000,
                        16,
                        error,
                    )
                )
        for lane in range(1, 5):
            calls.append(
                Call(
                    outer + lane - 1,
                    1,
                    "ThreadingBackend",
                    4,
                    8,
                    lane,
                    begin + 0.09,
                    begin + 0.9,
                )
            )
    return Timeline(1.7e9, 2.2, lanes, calls, tasks)


def one_task(name="f", error=None):
    lane = Lane(name, 7, 8, name)
    call = Call(None, 0, "LokyBackend", 2, 1, 0, 0.0, 1.0)
    task = Task(name, 0, None, 0, 0, 0.25, 0.75, 1, 2, error)
    return Timeline(1.7e9, 1.0, [lane], [call], [task])


def instant():
    """Return a run whose tasks took no time that the clock could see."""
    run = one_task()
    task = replace(run.tasks[0], start=0.5, end=0.5)
    return replace(run, tasks=[task] * 5)


def large(count=100_000, lanes=50):
    chance = random.Random(0)
    free = [0.0] * lanes
    tasks = []
    for place in range(count):
        lane, length = place % lanes, chance.expovariate(200.0)
        name = f"package.work_{chance.randrange(40)}"
        start = free[lane]
        free[lane] = start + length + 0.001
        error = None if place % 5000 else "ValueError()"
        tasks.append(
            Task(name, 0, None, 0, lane + 1, start, start + length, 99, 8, error)
        )
    tasks.sort(key=lambda task: task.start)
    end = max(free)
    return Timeline(
        1.7e9,
        end,
        [Lane("host", n, n, f"lane {n}") for n in range(lanes + 1)],
        [Call(None, 0, "LokyBackend", lanes, count, 0, 0.0, end)],
        tasks,
    )


RUNS = {
    "empty": lambda: Timeline(1.7e9, 0.0),
    "no tasks": lambda: replace(one_task(), tasks=[], calls=[]),
    "one": one_task,
    "instant": instant,
    "nested": nested,
    "failed": lambda: one_task(error="E: </script>\n" * 50),
    **{f"hostile {n}": lambda n=n: one_task(n, error=n) for n in HOSTILE},
    **{f"odd {n!r}": lambda n=n: one_task(n, error=n) for n in UNSPEAKABLE},
}


@pytest.fixture(params=RUNS, ids=ascii)
def run(request):
    return RUNS[request.param]()


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open = Counter(), [], []
        self.texts = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, *pair) for pair in attrs]
        self.open.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag):
        self.open.append(None)

    def handle_data(self, text):
        if self.open and self.open[-1]:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + text


def test_a_page_holds_its_data(run):
    page = Reader(page_of(run, "a summary"))
    held = json.loads(page.texts["data"])
    colours = held.pop("colours")
    assert held == run.columns()
    assert len(colours) == len(held["names"])
    assert page.texts["pre"] == "a summary"
    assert page.tags["script"] == 2
    assert page.tags["img"] == 0
    page_of(run, "").encode()  # can be written to a file


def test_a_page_shows_any_summary():
    text = 'a <b> & "c" </pre><script>alert(1)</script> $data\n  indented'
    page = Reader(page_of(one_task(), text))
    assert page.texts["pre"] == text
    assert page.tags["script"] == 2
    assert "<pre" not in page_of(one_task(), "\n")


def test_a_page_needs_no_network():
    text = page_of(nested(), "a summary")
    for tag, name, value in Reader(text).attributes:
        assert name not in ("src", "srcset", "action", "data"), tag
        assert not name.startswith("on"), "the page's own policy forbids these"
        if name == "href":
            assert value == "data:,"
    assert not re.search(r"https?:|//\w+\.|url\(|@import|\bimport\b|fetch\(", text)
    assert "default-src 'none'" in text


def test_a_page_says_it_in_numbers_too():
    page = page_of(nested(), "")
    assert "72 tasks" in page and "9 calls" in page and "5 lanes" in page
    text = re.sub("<[^>]+>", " ", page)
    assert re.search(r"package\.inner\s+64\s+5\.12 s\s+80 ms\s+80 ms\s+2\b", text)
    assert "20 longest tasks" in text
    assert "JavaScript" in text


@pytest.mark.slow
def test_very_many_tasks():
    run = large()
    page = page_of(run, "")
    assert len(page) < 8e6
    assert page.count("<tr>") < 200
    picture = ElementTree.fromstring(svg_of(run, ""))
    assert sum(1 for _ in picture.iter()) < 20_000


def test_a_picture_is_well_formed(run):
    text = svg_of(run, "a <summary> & more\nsecond line")
    picture = ElementTree.fromstring(text.encode())
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    said = [element.text for element in picture.iter() if element.text]
    assert "a <summary> & more" in said
    for lane in run.lanes:
        assert totals.plain(lane.label)[:20] in "\n".join(said)
    for one in totals.functions(run):
        assert totals.plain(one.name)[:20] in "\n".join(said)
    assert not re.search(
        "nan|inf[^o]|-[0-9.]+[hH]-",
        " ".join(element.get("d", "") for element in picture.iter()),
    )


def test_a_picture_stays_small(monkeypatch):
    monkeypatch.setattr(svg, "MOST_BARS", 10)
    picture = ElementTree.fromstring(svg_of(nested(), ""))
    titles = [element for element in picture.iter() if element.tag.endswith("title")]
    assert len(titles) <= 11


@pytest.mark.filterwarnings("ignore:Glyph .* missing from")
def test_png(run):
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
    before = matplotlib.get_backend(auto_select=False)
    file = io.BytesIO()
    write_png(run, "a $summary$\nsecond line", file)
    assert file.getvalue().startswith(b"\x89PNG\r\n")
    assert matplotlib.get_backend(auto_select=False) == before


def test_png_by_path(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    write_png(nested(), "", tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_trace_events(run):
    told = json.loads(chrome_of(run))
    events = told["traceEvents"]
    tasks = [event for event in events if event["ph"] == "X"]
    assert len(tasks) == len(run.tasks)
    for event in events:
        assert {"ph", "name", "pid", "tid"} <= set(event)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        if event["ph"] != "M":
            assert event["ts"] >= 0
    for event in tasks:
        task = run.tasks[event["args"]["task"]]
        assert event["name"] == totals.plain(task.name)
        assert event["ts"] == pytest.approx(task.start * 1e6, abs=0.001)
        assert event["dur"] == pytest.approx((task.end - task.start) * 1e6, abs=0.002)
        assert event["args"]["bytes_in"] == task.bytes_in
        assert ("error" in event["args"]) == (task.error is not None)
        assert event["tid"] == run.lanes[task.lane].thread
    assert [event["ts"] for event in tasks] == sorted(event["ts"] for event in tasks)
    names = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {totals.plain(lane.label) for lane in run.lanes}
    calls = Counter(event["ph"] for event in events if event.get("cat") == "call")
    assert calls["b"] == calls["e"] == len(run.calls)


def test_trace_events_tie_inner_tasks_to_outer_ones():
    run = nested()
    events = json.loads(chrome_of(run))["traceEvents"]
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    inner = [n for n, task in enumerate(run.tasks) if task.parent is not None]
    assert sorted(begins) == sorted(ends) == inner
    for place in inner:
        task = run.tasks[place]
        parent = run.tasks[task.parent]
        assert begins[place]["tid"] == run.lanes[parent.lane].thread
        assert parent.start * 1e6 <= begins[place]["ts"] <= parent.end * 1e6
        assert ends[place]["tid"] == run.lanes[task.lane].thread
        assert ends[place]["ts"] >= begins[place]["ts"]


def test_processes_of_two_machines_are_told_apart():
    run = one_task()
    lanes = [Lane(host, 7, 8, host) for host in ("a", "b", "a")]
    events = json.loads(chrome_of(replace(run, lanes=lanes)))["traceEvents"]
    pids = [event["pid"] for event in events if event["name"] == "thread_name"]
    assert pids[0] == pids[2] != pids[1]


def test_csv(run):
    rows = list(csv.DictReader(io.StringIO(csv_of(run))))
    assert csv_of(run).splitlines()[0] == ",".join(COLUMNS)
    assert len(rows) == len(run.tasks)
    for row, task in zip(rows, run.tasks, strict=True):
        assert row["function"] == totals.plain(task.name)
        assert float(row["start"]) == pytest.approx(task.start, abs=1e-8)
        assert float(row["duration"]) == pytest.approx(task.end - task.start, abs=1e-8)
        assert row["parent"] == ("" if task.parent is None else str(task.parent))
        assert row["error"] == totals.plain(task.error or "")
        assert row["backend"] == run.calls[task.call].backend
        assert int(row["pid"]) == run.lanes[task.lane].pid


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_csv_holds_no_formulas(name):
    (row,) = csv.DictReader(io.StringIO(csv_of(one_task(name, error=name))))
    assert row["function"] == row["error"] == row["host"] == "'" + name


@pytest.mark.parametrize("name", ["f", "<lambda>", "a.b.<locals>.c", "'f'", "f-1"])
def test_csv_leaves_ordinary_names(name):
    (row,) = csv.DictReader(io.StringIO(csv_of(one_task(name))))
    assert row["function"] == name


def test_waiting_for_ones_own_call_is_not_busy():
    run = nested()
    lanes = totals.lanes(run)
    assert [lane.count for lane in lanes] == [0, 18, 18, 18, 18]
    # Of 0.95 s an outer task waits 0.81 s; in these the lane runs 8 inner ones.
    assert lanes[1].busy == pytest.approx(2 * (0.14 + 8 * 0.08))
    assert lanes[0].busy == 0


def test_colours_are_those_of_the_longest():
    functions = totals.functions(large(2000))
    colours = totals.colours(functions)
    shown = [colours[one.name] for one in functions]
    assert len(set(shown[:12])) == 12
    assert set(shown[12:]) == {totals.OTHERS}
    assert functions[0].total >= functions[1].total
