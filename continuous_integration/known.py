"""Reads the list of upstream tests known to fail, and compares it with a run.

The list has one test a line::

    joblib/test/test_x.py::test_y[param]  # why it fails
    joblib/test/test_x.py::test_z  @3.10 @3.13  # why it fails on these two

Blank lines and lines that begin with ``#`` are left out. Two blanks stand before
``@`` and ``#``, since a test's name may hold either.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LINE = re.compile(r"(?P<test>\S.*?)(?P<marks>  @[\d.]+( @[\d.]+)*)?  # (?P<why>\S.*)")

FAILURES = ("failed", "error")


class Verdict(NamedTuple):
    """How a run compares with the list; the first four are errors."""

    unexpected: list[str]  # failed, not listed
    mended: list[str]  # listed, passed
    gone: list[str]  # listed, not among the tests
    unfinished: list[str]  # collected, without an outcome
    expected: list[str]  # listed, failed
    skipped_listed: list[str]  # listed, skipped: neither proof nor failure


def parse(text: str, version: str) -> dict[str, str]:
    """Return {test: reason} of the entries that apply to a Python version.

    Raises
    ------
    ValueError
        For a line of another form, and for a test listed twice.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.rstrip())
        if match is None:
            raise ValueError(
                f"line {number} of the list of known failures is {line!r}; expected "
                "'TEST  # REASON' or 'TEST  @3.10 @3.11  # REASON', two blanks "
                "before '@' and '#'"
            )
        marks = (match["marks"] or "").split()
        if marks and f"@{version}" not in marks:
            continue
        if match["test"] in entries:
            raise ValueError(f"line {number} lists {match['test']} a second time")
        entries[match["test"]] = match["why"]
    return entries


def compare(
    collected: list[str], outcomes: dict[str, str], known: dict[str, str]
) -> Verdict:
    """Compare the outcomes of a run with the list of known failures.

    Parameters
    ----------
    collected : list of str
        Every test that pytest found.
    outcomes : dict
        'passed', 'failed', 'error' or 'skipped' by test. A file that could not be
        collected has an outcome under its own name.
    known : dict
        What `parse` returned.
    """
    failed = [test for test, how in outcomes.items() if how in FAILURES]
    there = set(collected) | set(failed)
    return Verdict(
        unexpected=[test for test in failed if test not in known],
        mended=[test for test in known if outcomes.get(test) == "passed"],
        gone=[test for test in known if test not in there],
        unfinished=[test for test in collected if test not in outcomes],
        expected=[test for test in failed if test in known],
        skipped_listed=[test for test in known if outcomes.get(test) == "skipped"],
    )
