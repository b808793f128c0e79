"""Caches of upstream's release and ours: each is hit by the other."""

from __future__ import annotations

import linecache
import os
import subprocess
import sys

import pytest

from joblib.test import upstream

np = pytest.importorskip("numpy")

from joblib.test.compat_caches import (  # noqa: E402 - needs numpy
    CALLS_ALIKE,
    CALLS_OF_OUR_OWN,
)

pytestmark = pytest.mark.upstream
BOTH_WAYS = [("ours", "theirs"), ("theirs", "ours")]
both_ways = pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
OPTIONS = [
    {},
    {"compress": True},
    {"compress": 9},
    {"mmap_mode": "r"},
    {"mmap_mode": "c"},
]
# Always computed, and what it calls is not cached.
NEVER_HIT = {"by call"}


@both_ways
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_calls_are_hit(options, writer, reader, sides, tmp_path):
    location = str(tmp_path)
    names = list(CALLS_ALIKE)
    first = sides[writer].compat_caches.perform(location, names, **options)
    second = sides[reader].compat_caches.perform(location, names, **options)
    # Whatever they were written with, they can be read without.
    again = sides[writer].compat_caches.perform(location, names)

    assert len(names) > 60
    for name in names:
        assert len(first[name][0]) >= 1, name
        assert bool(second[name][0]) == (name in NEVER_HIT), name
        assert bool(again[name][0]) == (name in NEVER_HIT), name
        if "mmap_mode" not in options:
            assert second[name][1] == again[name][1], name


def test_entries_have_the_same_names_and_code(sides, tmp_path):
    found = {}
    for writer, side in sides.items():
        location = str(tmp_path / writer)
        side.compat_caches.perform(location, list(CALLS_ALIKE))
        found[writer] = {
            name: text
            for name, text in side.compat_caches.entries(location).items()
            # notes on loads, which are written when some time has passed
            if not name.startswith("joblib/.usage/")
        }
    assert found["ours"] == found["theirs"]
    assert sum(name.endswith("output.pkl") for name in found["ours"]) > 55


@both_ways
@pytest.mark.parametrize("name", CALLS_OF_OUR_OWN)
def test_calls_with_keys_of_our_own_are_computed_once_more(
    name, writer, reader, sides, tmp_path
):
    location = str(tmp_path)
    ran = [
        bool(sides[side].compat_caches.perform(location, [name])[name][0])
        for side in (writer, reader, writer, reader)
    ]
    assert ran[:2] == [True, True]
    # Neither has spoiled the other's.
    assert ran[2:] == [False, False]


@both_ways
def test_both_know_what_is_cached(writer, reader, sides, tmp_path):
    location = str(tmp_path)
    names = ["plain", "method", "asynchronous", "ignoring"]
    sides[writer].compat_caches.perform(location, names)
    asked = [side.compat_caches.is_cached(location) for side in sides.values()]
    assert asked[0] == asked[1] == [[True, True, False, True, False, True, True], []]


@both_ways
@pytest.mark.parametrize(
    "how", ["reference", "function", "asynchronous function", "memory"]
)
def test_references_and_functions_travel(how, writer, reader, sides, tmp_path):
    location, path = str(tmp_path / "cache"), str(tmp_path / "pickle")
    sides[writer].compat_caches.shelve(location, path, how)
    ran, found = sides[reader].compat_caches.unshelve(path)
    same_side = sides[writer].compat_caches.unshelve(path)
    assert found == same_side[1]
    assert bool(ran) == (how == "memory")


@both_ways
@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("all", 0),
        ("function", 3),
        ("entry", 5),
        ("items", 3),
        ("bytes", 0),
        ("age", 6),
        ("old", 0),
    ],
)
def test_each_clears_the_caches_of_the_other(
    what, left, writer, reader, sides, tmp_path
):
    location = str(tmp_path)
    names = ["plain", "plain by name", "plain by position", "method", "asynchronous"]
    names += ["arrays made"]
    sides[writer].compat_caches.perform(location, names)
    sides[reader].compat_caches.clear(location, what)

    kept = sides[writer].compat_caches.entries(location)
    assert sum(name.endswith("output.pkl") for name in kept) == left
    ran = [
        value[0]
        for side in (writer, reader)
        for value in sides[side].compat_caches.perform(location, names).values()
    ]
    assert sum(map(bool, ran)) == len(names) - left


@both_ways
def test_old_entries_of_the_other_go_first(writer, reader, sides, tmp_path):
    location = str(tmp_path)
    sides[writer].compat_caches.perform(location, ["plain", "method"])
    sides[writer].compat_caches.grow_old(location, 5)
    sides[writer].compat_caches.perform(location, ["asynchronous"])
    sides[reader].compat_caches.clear(location, "age")
    ran = sides[writer].compat_caches.perform(
        location, ["plain", "method", "asynchronous"]
    )
    assert [bool(value[0]) for value in ran.values()] == [True, True, False]


SOURCE = """
RAN = []


def work(x):
    RAN.append(x)
    return x {operator} 2
"""


@both_ways
@pytest.mark.filterwarnings("ignore::joblib.memory.JobLibCollisionWarning")
def test_changed_code_is_computed_anew(writer, reader, sides, tmp_path):
    location = str(tmp_path / "cache")
    path = tmp_path / "source.py"

    def call(side, operator):
        path.write_text(SOURCE.format(operator=operator), "utf-8")
        linecache.checkcache()
        return sides[side].compat_caches.perform_source(location, str(path), 5)

    assert call(writer, "+") == [7, 1]
    assert call(reader, "+") == [7, 0]
    assert call(reader, "*") == [10, 1]
    assert call(writer, "*") == [10, 0]
    assert call(writer, "+") == [7, 1]
    assert call(reader, "+") == [7, 0]


SCRIPT = """
import sys
import joblib


def work(x, y=2):
    print("ran")
    return x * y


class Some:
    def method(self, x):
        print("ran")
        return x


if __name__ == "__main__":
    memory = joblib.Memory(sys.argv[1], verbose=0)
    print(memory.cache(work)(3), memory.cache(Some().method)(4))
"""


@both_ways
def test_functions_of_scripts(writer, reader, sides, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, "utf-8")
    pythons = {"ours": sys.executable, "theirs": upstream.PYTHON}

    def run(side):
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if side == "ours":
            env["PYTHONPATH"] = str(upstream.HERE.parent.parent)
        done = subprocess.run(
            [pythons[side], str(script), str(tmp_path / "cache")],
            capture_output=True,
            text=True,
            env=env,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert run(writer) == ["ran", "ran", "6", "4"]
    assert run(reader) == ["6", "4"]
