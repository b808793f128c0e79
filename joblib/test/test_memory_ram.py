"""`Memory(ram_entries=N)`: the results used last, and never a changed or an old one."""

from __future__ import annotations

import asyncio
import collections
import datetime
import functools
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

import joblib
from joblib import Memory, expires_after
from joblib._caching import ram, usage
from joblib._store_backends import CacheWarning

CALLS = collections.Counter()


def make(x):
    CALLS["make"] += 1
    return {"x": [x]}


def number(x):
    CALLS["number"] += 1
    return x


def array(x):
    import numpy

    CALLS["array"] += 1
    return numpy.arange(1000) + x


@pytest.fixture(autouse=True)
def count_from_zero():
    CALLS.clear()


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path, verbose=0, ram_entries=10)


@pytest.fixture
def loads(monkeypatch, memory):
    """The calls whose results were loaded from the store."""
    loaded = []
    load = memory.store_backend.load_item

    def loading(call_id, *args, **kwargs):
        loaded.append(call_id)
        return load(call_id, *args, **kwargs)

    monkeypatch.setattr(memory.store_backend, "load_item", loading)
    return loaded


# ----------------------------------------------------------------------- what is kept
def test_results_come_from_memory(memory, loads):
    cached = memory.cache(make)
    assert [cached(1) for _ in range(3)] == [{"x": [1]}] * 3
    assert loads == []
    assert CALLS["make"] == 1


def test_what_the_store_gave_is_kept(tmp_path, memory, loads):
    Memory(tmp_path, verbose=0).cache(make)(1)
    cached = memory.cache(make)
    assert [cached(1) for _ in range(3)] == [{"x": [1]}] * 3
    assert len(loads) == 1
    assert CALLS["make"] == 1


def test_the_least_recently_used_goes(tmp_path, loads):
    memory = Memory(tmp_path, verbose=0, ram_entries=2)
    cached = memory.cache(number)
    for x in (1, 2, 1, 3):
        cached(x)
    tier = memory._ram
    assert len(tier) == 2
    stamp = tier._kept[next(iter(tier._kept))].stamp
    kept = [
        x
        for x in (1, 2, 3)
        if tier.get(
            memory.store_backend.location,
            (cached.func_id, cached._get_args_id(x)),
            stamp,
        )
        == x
    ]
    assert kept == [1, 3]
    assert [cached(x) for x in (1, 2, 3)] == [1, 2, 3]
    assert CALLS["number"] == 3


def test_functions_of_a_memory_share_a_tier(tmp_path):
    memory = Memory(tmp_path, verbose=0, ram_entries=2)
    memory.cache(number)(1)
    memory.cache(make)(1)
    memory.cache(make)(2)
    assert len(memory._ram) == 2
    assert memory.cache(number)(1) == 1


@pytest.mark.parametrize("n", [None, 0])
def test_no_tier(tmp_path, n):
    memory = Memory(tmp_path, verbose=0, ram_entries=n)
    assert memory._ram is None
    assert memory.cache(number)._ram is None
    assert "_ram" not in vars(memory)
    assert "_ram" not in vars(memory.cache(number))


@pytest.mark.parametrize(
    "n, error", [(-1, ValueError), ("3", TypeError), (2.5, TypeError)]
)
def test_bad_number(tmp_path, n, error):
    with pytest.raises(error, match="ram_entries has to be a"):
        Memory(tmp_path, ram_entries=n)


def test_large_results_are_left_to_the_store(memory, loads, monkeypatch):
    monkeypatch.setattr(ram, "MOST_BYTES", 5000)

    def long_list(n):
        return list(range(n))

    for function in (array, long_list):
        cached = memory.cache(function)
        results = [list(cached(2000)) for _ in range(3)]
        assert results[0] == results[1] == results[2]
    assert len(memory._ram) == 0
    assert len(loads) == 4


def test_what_cannot_be_pickled_is_not_kept(memory):
    def unpicklable(x):
        CALLS["unpicklable"] += 1
        return lambda: x

    cached = memory.cache(unpicklable)
    for i in (1, 2):
        with pytest.warns((FutureWarning, CacheWarning), match="Unable to cache"):
            assert cached(1)() == 1
        assert CALLS["unpicklable"] == i
    assert len(memory._ram) == 0


class Unwilling:
    """An object that cannot be loaded the first time."""

    failures = 1

    def __getstate__(self):
        return {"a": 1}

    def __setstate__(self, state):
        if Unwilling.failures:
            Unwilling.failures -= 1
            raise RuntimeError("not now")


def test_what_cannot_be_made_again_is_asked_of_the_store(memory, loads):
    @memory.cache
    def make_unwilling(x):
        CALLS["unwilling"] += 1
        return Unwilling()

    make_unwilling(1)
    assert len(memory._ram) == 1
    assert isinstance(make_unwilling(1), Unwilling)
    assert len(loads) == 1
    assert CALLS["unwilling"] == 1


# ------------------------------------------------------------------ never a wrong value
class Holder:
    def __init__(self, content):
        self.content = content


def spoil(value):
    """Change whatever can be changed."""
    if isinstance(value, list):
        value.clear()
    elif isinstance(value, dict):
        for part in value.values():
            spoil(part)
        value.clear()
    elif isinstance(value, (tuple, frozenset)):
        for part in value:
            spoil(part)
    elif isinstance(value, (set, bytearray, collections.deque)):
        value.clear()
    elif isinstance(value, Holder):
        spoil(value.content)
        value.content = None


@pytest.mark.parametrize(
    "value",
    [
        [1, [2]],
        {"a": [1]},
        {1, 2},
        bytearray(b"abc"),
        ([1], 2),
        (1, (2, [3])),
        ((1, 2), 3),
        (1, 2),
        frozenset({1, (2,)}),
        collections.deque([1]),
        "text",
        b"bytes",
        12,
        1.5,
        1j,
        None,
        True,
        ...,
        range(3),
        (),
        tuple(range(1000)),
    ],
    ids=repr,
)
def test_a_caller_may_change_what_he_got(memory, value):
    expected = pickle.dumps(value)

    @memory.cache
    def give(index):
        return pickle.loads(VALUE)

    global VALUE
    VALUE = expected
    for _ in range(3):
        got = give(1)
        assert got == pickle.loads(expected)
        assert type(got) is type(value)
        spoil(got)
    assert len(memory._ram) == 1


def test_objects_are_made_anew(memory):
    @memory.cache
    def hold(x):
        return Holder([x])

    for _ in range(3):
        held = hold(1)
        assert held.content == [1]
        spoil(held)


def test_immutable_results_are_not_copied(memory):
    @memory.cache
    def text(x):
        return "text" * x, 5

    text(100)
    assert text(100) is text(100)


def arrays():
    numpy = pytest.importorskip("numpy")
    grid = numpy.arange(12.0).reshape(3, 4)
    return {
        "plain": grid,
        "fortran": numpy.asfortranarray(grid),
        "strided": grid[::2, ::-1],
        "transposed": numpy.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        "swapped": grid.astype(grid.dtype.newbyteorder()),
        "scalar": numpy.array(3),
        "empty": numpy.empty((0, 3)),
        "objects": numpy.array([[1], None, "a"], dtype=object),
        "structured": numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "text": numpy.array(["a", "bc"]),
        "dates": numpy.array(["2026-01-01"], dtype="M8[D]"),
        "masked": numpy.ma.array([1, 2], mask=[False, True]),
        "number": numpy.float64(2.5),
        "in a dict": {"a": grid, "b": [grid]},
        "read-only": numpy.broadcast_to(numpy.arange(3), (2, 3)),
    }


ARRAYS = "plain fortran strided transposed swapped scalar empty objects structured text"
ARRAYS += " dates masked number in_a_dict read-only"


def give_array(name):
    return arrays()[name]


@pytest.mark.parametrize("name", ARRAYS.split())
def test_arrays_are_as_the_store_gives_them(tmp_path, memory, name):
    numpy = pytest.importorskip("numpy")
    name = name.replace("_", " ")
    memory.cache(give_array)(name)
    assert len(memory._ram) == 1
    stored = Memory(tmp_path, verbose=0).cache(give_array)(name)
    cached = memory.cache(give_array)
    for _ in range(3):
        got = cached(name)
        for one, other in zip(flatten(got), flatten(stored), strict=True):
            assert type(one) is type(other)
            numpy.testing.assert_array_equal(one, other)
            if isinstance(one, numpy.ndarray):
                assert one.dtype == other.dtype and one.shape == other.shape
                assert one.flags.c_contiguous == other.flags.c_contiguous
                assert one.flags.f_contiguous == other.flags.f_contiguous
                assert one.flags.owndata == other.flags.owndata
                assert one.flags.writeable and other.flags.writeable
                if one.size:
                    one[...] = one.flat[-1]
        assert joblib.hash(stored) == joblib.hash(cached(name))


def flatten(value):
    if isinstance(value, dict):
        return [part for values in value.values() for part in flatten(values)]
    if isinstance(value, list):
        return [part for values in value for part in flatten(values)]
    return [value]


def test_mapped_results_are_not_kept(tmp_path):
    numpy = pytest.importorskip("numpy")
    memory = Memory(tmp_path, verbose=0, ram_entries=10, mmap_mode="r")
    cached = memory.cache(array)
    for _ in range(2):
        assert isinstance(cached(1), numpy.memmap)
    assert len(memory._ram) == 0
    in_memory = memory.cache(array, mmap_mode=None)
    assert type(in_memory(1)) is numpy.ndarray
    assert len(memory._ram) == 1
    assert isinstance(cached(1), numpy.memmap)


def test_results_that_are_judged_are_not_kept(memory):
    judged = []

    def judge(metadata):
        judged.append(metadata)
        return len(judged) < 3

    cached = memory.cache(number, cache_validation_callback=judge)
    assert [cached(1) for _ in range(4)] == [1] * 4
    assert len(judged) == 3 and CALLS["number"] == 2
    old = memory.cache(number, cache_validation_callback=expires_after(seconds=-1))
    old(1)
    assert CALLS["number"] == 3
    assert len(memory._ram) == 0


# ----------------------------------------------------------------- what is removed goes
def remove_function(memory, cached):
    cached.clear(warn=False)


def remove_all(memory, cached):
    memory.clear(warn=False)


def remove_all_by_another(memory, cached):
    Memory(memory.location, verbose=0).clear(warn=False)


def evict(memory, cached):
    memory.reduce_size(items_limit=0)


def evict_old(memory, cached):
    memory.reduce_size(age_limit=datetime.timedelta(0))


def remove_reference(memory, cached):
    cached.call_and_shelve(1).clear()


def remove_item(memory, cached):
    memory.store_backend.clear_item((cached.func_id, cached._get_args_id(1)))


def remove_function_elsewhere(memory, cached):
    run_elsewhere(f"memory.cache({cached.func.__name__}).clear(warn=False)", memory)


def remove_all_elsewhere(memory, cached):
    run_elsewhere(
        f"memory.clear(warn=False); memory.cache({cached.func.__name__})", memory
    )


def run_elsewhere(statement, memory):
    code = (
        "from joblib import Memory\n"
        "from joblib.test.test_memory_ram import make, number, array\n"
        f"memory = Memory({str(memory.location)!r}, verbose=0)\n{statement}\n"
    )
    root = str(Path(joblib.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize(
    "remove",
    [
        remove_function,
        remove_all,
        remove_all_by_another,
        evict,
        evict_old,
        remove_reference,
        remove_item,
        remove_function_elsewhere,
        remove_all_elsewhere,
    ],
)
@pytest.mark.parametrize("function", [make, number])
def test_what_is_removed_is_computed_again(memory, function, remove):
    cached = memory.cache(function)
    first = cached(1)
    remove(memory, cached)
    assert cached(1) == first
    assert CALLS[function.__name__] == 2


def test_only_what_is_evicted_goes(memory):
    cached = memory.cache(number)
    for x in range(5):
        cached(x)
    kept = len(memory._ram)
    memory.reduce_size(items_limit=3)
    assert (kept, len(memory._ram)) == (5, 3)
    memory.cache(make)(1)
    cached.clear(warn=False)
    assert len(memory._ram) == 1


def test_an_entry_that_another_process_evicts_may_stay(tmp_path, memory):
    cached = memory.cache(make)
    cached(1)
    # As another process does it: this one is not told.
    shutil.rmtree(next(tmp_path.rglob("output.pkl")).parent)
    assert cached(1) == {"x": [1]}
    assert CALLS["make"] == 1
    assert not cached.check_call_in_cache(1)


def test_other_code_has_other_results(memory):
    source = "def answer(x):\n    return {!r}\n"

    def define(value):
        space = {"__name__": "somewhere"}
        path = Path(memory.location) / f"source_{len(value)}.py"
        path.write_text(source.format(value))
        exec(compile(path.read_text(), str(path), "exec"), space)
        return memory.cache(space["answer"])

    old, new = define("old"), define("newer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", joblib.memory.JobLibCollisionWarning)
        assert [old(1), old(1)] == ["old", "old"]
        assert [new(1), new(1)] == ["newer", "newer"]
        assert [old(1), new(1), old(1)] == ["old", "newer", "old"]


def test_other_code_of_the_same_function(memory):
    def answer(x):
        return "old"

    cached = memory.cache(answer)
    assert [cached(1), cached(1)] == ["old", "old"]

    def other(x):
        return "newer"

    answer.__code__ = other.__code__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", joblib.memory.JobLibCollisionWarning)
        assert cached(1) == "newer"


@pytest.mark.parametrize("by_another", [False, True])
def test_a_forced_computation_counts(tmp_path, memory, by_another):
    cached = memory.cache(count_calls)
    assert [cached(1), cached(1)] == [1, 1]
    other = Memory(tmp_path, verbose=0).cache(count_calls) if by_another else cached
    assert other.call(1)[0] == 2
    assert cached(1) == 2


def count_calls(x):
    CALLS["count"] += 1
    return CALLS["count"]


def test_what_is_used_from_memory_is_not_the_first_to_go_from_disk(
    tmp_path, memory, monkeypatch
):
    # A file that was given an old time a moment ago is else left with it.
    monkeypatch.setattr(usage, "_TICK", 0.0)
    used, unused = memory.cache(number), memory.cache(make)
    used(1)
    usage.write_notes()
    long_ago = time.time() - 1000
    for output in tmp_path.rglob("output.pkl"):
        os.utime(output, (long_ago, long_ago))
    unused(1)
    assert used(1) == 1
    memory.reduce_size(items_limit=1)
    assert used.check_call_in_cache(1)
    assert not unused.check_call_in_cache(1)


# -------------------------------------------------------------------- pickles, processes
def test_pickles_hold_no_results(memory):
    cached = memory.cache(make)
    empty = len(pickle.dumps(memory)), len(pickle.dumps(cached))
    for x in range(5):
        cached(x)
    assert (len(pickle.dumps(memory)), len(pickle.dumps(cached))) == empty
    copied = pickle.loads(pickle.dumps(memory))
    assert copied._ram.n_entries == 10 and len(copied._ram) == 0
    assert copied.cache(make)(1) == {"x": [1]}
    assert len(copied._ram) == 1
    together = pickle.loads(pickle.dumps([memory, cached]))
    assert together[0]._ram is together[1]._ram


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_is_forked_while_a_thread_uses_the_tier(memory):
    cached = memory.cache(number)
    cached(1)
    with memory._ram._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if cached(1) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads(tmp_path):
    memory = Memory(tmp_path, verbose=0, ram_entries=5)
    cached = memory.cache(make)
    wrong = []

    def call(seed):
        order = random.Random(seed)
        try:
            for _ in range(300):
                x = order.randrange(10)
                got = cached(x)
                if got != {"x": [x]}:
                    wrong.append(got)
                spoil(got)
                if order.random() < 0.02:
                    memory.reduce_size(items_limit=8)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(memory._ram) <= 5


def test_coroutines(memory, loads):
    @memory.cache
    async def wait(x):
        await asyncio.sleep(0)
        return [x]

    async def main():
        for _ in range(3):
            got = await wait(1)
            assert got == [1]
            got.clear()

    asyncio.run(main())
    assert loads == []
    assert len(memory._ram) == 1


def test_references_look_into_the_store(tmp_path, memory):
    cached = memory.cache(make)
    cached(1)
    reference = cached.call_and_shelve(1)
    shutil.rmtree(next(tmp_path.rglob("output.pkl")).parent)
    with pytest.raises(KeyError):
        reference.get()


def test_with_other_options(tmp_path):
    memory = Memory(tmp_path, verbose=0, ram_entries=5, lock=False, compress=True)
    cached = memory.cache(make, ignore=[])
    assert [cached(1), cached(1)] == [{"x": [1]}] * 2
    held = memory.cache(functools.partial(make, 2))
    assert [held(), held()] == [{"x": [2]}] * 2
    assert CALLS["make"] == 2


def test_it_says_what_is_in_memory(tmp_path, capsys):
    memory = Memory(tmp_path, verbose=2, ram_entries=5)
    cached = memory.cache(make)
    cached(1)
    capsys.readouterr()
    cached(1)
    assert capsys.readouterr().out == "[Memory]: make(1) is in RAM\n"


@pytest.mark.parametrize("location", ["a", "a/", "./a//b/"])
def test_paths_of_every_spelling(tmp_path, monkeypatch, location):
    monkeypatch.chdir(tmp_path)
    memory = Memory(location, verbose=0, ram_entries=5)
    cached = memory.cache(number)
    cached(1)
    memory.reduce_size(items_limit=0)
    assert len(memory._ram) == 0
