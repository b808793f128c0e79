"""A pytest plugin that writes each test's outcome to a file as soon as it is known.

Lines of JSON, flushed one by one, so that a run that is killed or crashes still
tells which tests it had found and which of them had ended. The file's name comes
from the environment variable RECORD_OUTCOMES.
"""

from __future__ import annotations

import json
import os
from typing import Any

_RANK = {"passed": 0, "skipped": 1, "failed": 2, "error": 3}
_worst: dict[str, str] = {}


def _write(**line: Any) -> None:
    with open(os.environ["RECORD_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collection_finish(session: Any) -> None:
    for item in session.items:
        _write(found=item.nodeid)


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        _write(test=report.nodeid, outcome="error", seconds=0.0)


def pytest_runtest_logreport(report: Any) -> None:
    # A test has up to three reports: setting up, running, tearing down. The worst
    # of them is its outcome. An expected failure (xfail) is reported as skipped.
    outcome = report.outcome
    if outcome == "failed" and report.when != "call":
        outcome = "error"
    worst = _worst.setdefault(report.nodeid, outcome)
    if _RANK[outcome] > _RANK[worst]:
        _worst[report.nodeid] = outcome
    if report.when == "teardown":
        _write(
            test=report.nodeid,
            outcome=_worst.pop(report.nodeid),
            seconds=round(report.duration, 3),
        )
