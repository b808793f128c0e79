"""The list of known failures: how it is read, and how a run is held against it."""

from __future__ import annotations

import known
import pytest

LIST = """
# a comment

test/test_a.py::test_one  # it reaches into a private class
test/test_a.py::test_two[x # 1-@3]  # the name itself holds marks
test/test_a.py::test_new  @3.12 @3.13  # a change in pickle
"""


def test_entries_of_one_version():
    everywhere = {
        "test/test_a.py::test_one": "it reaches into a private class",
        "test/test_a.py::test_two[x # 1-@3]": "the name itself holds marks",
    }
    assert known.parse(LIST, "3.11") == everywhere
    newer = {**everywhere, "test/test_a.py::test_new": "a change in pickle"}
    assert known.parse(LIST, "3.12") == newer
    assert known.parse(LIST, "3.1") == everywhere


@pytest.mark.parametrize(
    "line", ["test_a.py::test_one", "test_a.py::test_one # one blank", "a  #", "a  #x"]
)
def test_a_line_without_a_reason_is_refused(line):
    with pytest.raises(ValueError, match="line 2 "):
        known.parse("\n" + line, "3.11")


def test_a_test_listed_twice_is_refused():
    with pytest.raises(ValueError, match="second time"):
        known.parse("a::b  # why\na::b  # why not", "3.11")


@pytest.mark.parametrize(
    ("outcome", "listed", "field"),
    [
        ("failed", False, "unexpected"),
        ("error", False, "unexpected"),
        ("failed", True, "expected"),
        ("error", True, "expected"),
        ("passed", True, "mended"),
        ("skipped", True, "skipped_listed"),
        (None, False, "unfinished"),
        (None, True, "unfinished"),
        ("passed", False, None),
        ("skipped", False, None),
    ],
)
def test_each_outcome_has_one_verdict(outcome, listed, field):
    verdict = known.compare(
        ["a::b"],
        {"a::b": outcome} if outcome else {},
        {"a::b": "why"} if listed else {},
    )
    where = [name for name, tests in verdict._asdict().items() if tests == ["a::b"]]
    assert where == ([field] if field else [])


def test_a_listed_test_must_exist():
    verdict = known.compare(["a::b"], {"a::b": "passed"}, {"a::c": "why"})
    assert verdict.gone == ["a::c"]


def test_a_file_that_cannot_be_collected_fails():
    verdict = known.compare([], {"test_a.py": "error"}, {})
    assert verdict.unexpected == ["test_a.py"]
