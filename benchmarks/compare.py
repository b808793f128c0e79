"""This joblib, upstream's release and their peers, side by side.

``python benchmarks/compare.py OURS UPSTREAM`` is given two interpreters, whose
environments differ in nothing but joblib. Workloads run in turn, once with each, several
times; printed are medians, and how many times faster ours is. `make bench` makes the
environments and calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIMEOUT = 900  # seconds, for one run of a workload
#: workloads that are drawn as lines, cost against size
BY_SIZE = {"tasks_by_number": "tasks", "arrays_by_size": "bytes"}


def measure(python, name):
    """Return what one run of a workload prints; empty if it fails, which is told."""
    argv = [python, str(HERE / "workloads.py"), name]
    run = subprocess.run(
        argv, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name} failed under {python}: {last}", file=sys.stderr)
        return {}
    found = json.loads(run.stdout.strip().splitlines()[-1])
    return {str(metric): float(value) for metric, value in found.items()}


def collect(ours, upstream, names, repetitions):
    """Return ``{workload: {metric: (ours, upstream)}}``, medians; None for a lack."""
    table = {}
    for name in names:
        sides = defaultdict(lambda: ([], []))
        is_peer = name.endswith("_peers")
        for _ in range(1 if is_peer else repetitions):
            for side, python in enumerate((ours, upstream)):
                if is_peer and side == 1:
                    continue  # it has nothing to do with joblib
                for metric, value in measure(python, name).items():
                    sides[metric][side].append(value)
        table[name] = {
            metric: tuple(statistics.median(v) if v else None for v in values)
            for metric, values in sides.items()
        }
        print(f"{name}: measured", file=sys.stderr, flush=True)
    return table


def readable(value):
    """Return seconds with a unit.

    >>> [readable(v) for v in (2.5, 0.0123, 4.2e-6, 3e-8, None)]
    ['2.50 s', '12.3 ms', '4.20 us', '0.03 us', '']
    """
    if value is None:
        return ""
    scales = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    unit, scale = next((one for one in scales if value >= one[1]), scales[-1])
    value /= scale
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def rows_of(table):
    """Yield ``(workload, metric, ours, upstream, ratio, peers)``, as text."""
    for name, metrics in table.items():
        if name in BY_SIZE or name.endswith("_peers"):
            continue
        beside = {**metrics, **table.get(f"{name}_peers", {})}
        if name.startswith("loky_"):
            beside.update(table.get("loky_peers", {}))
        for metric, (mine, theirs) in metrics.items():
            if ":" in metric:
                continue
            peers = [
                f"{label.partition(': ')[2]} {readable(values[0])}"
                for label, values in beside.items()
                if label.startswith(f"{metric}: ")
            ]
            ratio = f"{theirs / mine:.2f}" if mine and theirs else ""
            yield name, metric, readable(mine), readable(theirs), ratio, peers


def text_of(table, about):
    """Return the table as reStructuredText, which reads well as it is."""
    lines = [about, "", ".. list-table::", "    :header-rows: 1", ""]
    head = ("", "", "here", "upstream", "times faster", "peers")
    for row in (head, *((*r[:5], "; ".join(r[5])) for r in rows_of(table))):
        for i, cell in enumerate(row):
            unbroken = re.sub(r"(?<=\d) (?=[a-z])", "\N{NO-BREAK SPACE}", cell)
            lines.append(f"    {'*' if i == 0 else ' '} - {unbroken}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def plain_of(table):
    """Return the table in columns, for a terminal."""
    rows = [("", "", "here", "upstream", "faster", "peers")]
    rows += [(*row[:5], "; ".join(row[5])) for row in rows_of(table)]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]])
        for row in rows
    )


def plot(table, path):
    """Draw the ratios as bars, and cost against size as lines, into an SVG file."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "joblib", "font.size": 9})
    bars = [(f"{r[0]}: {r[1]}", float(r[4])) for r in rows_of(table) if r[4]]
    lines = [name for name in BY_SIZE if table.get(name)]
    figure, axes = pyplot.subplots(
        1 + len(lines),
        1,
        figsize=(8, 1 + 0.22 * len(bars) + 3.2 * len(lines)),
        gridspec_kw={"height_ratios": [max(0.22 * len(bars), 1), *[3] * len(lines)]},
        squeeze=False,
        layout="constrained",
    )
    first = axes[0][0]
    labels = [label for label, _ in bars][::-1]
    values = [ratio for _, ratio in bars][::-1]
    colors = ["#2a7f9e" if value >= 1 else "#c46a2b" for value in values]
    first.barh(labels, values, color=colors)
    first.axvline(1, color="black", linewidth=0.8)
    first.set_xscale("log")
    first.set_xlabel("how many times faster than upstream")
    first.set_ylim(-0.6, len(bars) - 0.4)
    for axis, name in zip((row[0] for row in axes[1:]), lines, strict=True):
        series = defaultdict(list)
        for metric, (mine, theirs) in table[name].items():
            kind, _, size = metric.rpartition(" ")
            series[kind].append((int(size), mine, theirs))
        for number, (kind, points) in enumerate(series.items()):
            size, mine, theirs = zip(*points, strict=True)
            color = f"C{number}"
            axis.plot(size, mine, "o-", color=color, label=kind)
            if all(value is not None for value in theirs):
                axis.plot(size, theirs, "x--", color=color, label=f"{kind}, upstream")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(BY_SIZE[name])
        axis.set_ylabel("seconds" + (" a task" if name == "tasks_by_number" else ""))
        axis.legend()
    figure.savefig(path, metadata={"Date": None})


def describe(ours, upstream):
    """Return a sentence about when, with what and where this was measured."""

    def ask(python, code):
        return subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()

    version = "import joblib; print(joblib.__version__)"
    memory = ""
    if hasattr(os, "sysconf"):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {total / 2**30:.0f} GiB"
    return (
        f"Measured on {time.strftime('%Y-%m-%d')}: joblib {ask(ours, version)} and "
        f"upstream's {ask(upstream, version)}, Python "
        f"{ask(ours, 'import platform; print(platform.python_version())')}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{memory}. "
        "Medians of interleaved runs."
    )


def main():
    """Measure, and write what was found in the forms that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ours")
    parser.add_argument("upstream")
    parser.add_argument("workloads", nargs="*")
    parser.add_argument("-n", type=int, default=3, help="repetitions")
    parser.add_argument("--onto", type=Path, help="a JSON file to measure some anew of")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rst", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    from workloads import WORKLOADS

    names = options.workloads or list(WORKLOADS)
    unknown = sorted(set(names) - set(WORKLOADS))
    if unknown:
        parser.error(f"unknown: {unknown}; there are {list(WORKLOADS)}")
    about = describe(options.ours, options.upstream)
    table = collect(options.ours, options.upstream, names, options.n)
    if options.onto:
        table = {**json.loads(options.onto.read_text())["table"], **table}
    print(f"\n{about}\n\n{plain_of(table)}")
    if options.json:
        options.json.write_text(json.dumps({"about": about, "table": table}, indent=1))
    if options.rst:
        options.rst.write_text(text_of(table, about))
    if options.svg:
        plot(table, options.svg)
    if not all(table.values()):
        sys.exit("some workloads measured nothing")


if __name__ == "__main__":
    main()
