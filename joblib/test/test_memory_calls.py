"""What a cached function returns, stores, loads and says."""

import asyncio
import json
import logging
import os
import pickle

import pytest

from joblib import MemorizedResult, Memory, expires_after
from joblib.memory import (
    AsyncMemorizedFunc,
    MemorizedFunc,
    NotMemorizedFunc,
    NotMemorizedResult,
)

RUNS = []


def add(x, y=1):
    RUNS.append((x, y))
    return x + y


async def add_later(x, y=1):
    RUNS.append((x, y))
    return x + y


@pytest.fixture(autouse=True)
def runs():
    RUNS.clear()
    return RUNS


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "cache", verbose=0)


def entry_of(func, *args, **kwargs):
    """Return the directory of a call's entry."""
    store = func.store_backend
    return os.path.join(
        store.location, func.func_id, func._get_args_id(*args, **kwargs)
    )


@pytest.mark.parametrize(
    "args, kwargs", [((1,), {}), ((1, 1), {}), ((), {"x": 1}), ((1,), {"y": 1})]
)
def test_equal_calls_are_one_however_they_are_written(memory, args, kwargs):
    cached = memory.cache(add)
    assert cached(1) == 2
    assert cached(*args, **kwargs) == 2
    assert RUNS == [(1, 1)]


def test_other_arguments_are_computed(memory):
    cached = memory.cache(add)
    assert [cached(1), cached(2), cached(1, 5), cached(1.0)] == [2, 3, 6, 2.0]
    assert len(RUNS) == 4


def test_another_process_would_hit(memory, tmp_path):
    memory.cache(add)(3)
    pickled = pickle.dumps(memory.cache(add))
    assert Memory(str(tmp_path / "cache"), verbose=0).cache(add)(3) == 4
    assert pickle.loads(pickled)(3) == 4
    assert RUNS == [(3, 1)]


def test_two_caches_of_one_function_do_not_answer_for_each_other(tmp_path):
    first = Memory(tmp_path / "a", verbose=0).cache(add)
    second = Memory(tmp_path / "b", verbose=0).cache(add)
    assert first(1) == second(1) == 2
    assert len(RUNS) == 2
    assert second.check_call_in_cache(1)


def test_none_and_false_are_results_too(memory):
    calls = []
    for value in (None, False, 0, ()):
        cached = memory.cache(lambda v: calls.append(v) or v)
        assert cached(value) == value
        assert cached(value) == value
    assert len(calls) == 4


def test_call_computes_in_any_case_and_tells_about_it(memory):
    cached = memory.cache(add)
    cached(1)
    value, metadata = cached.call(1)
    assert (value, RUNS) == (2, [(1, 1), (1, 1)])
    assert set(metadata) == {"duration", "input_args", "time"}
    assert metadata["input_args"] == {"x": "1", "y": "1"}
    with open(os.path.join(entry_of(cached, 1), "metadata.json")) as stream:
        assert json.load(stream) == metadata


def test_call_makes_the_entry_that_later_calls_hit(memory):
    cached = memory.cache(add)
    cached.call(5)
    assert cached(5) == 6
    assert RUNS == [(5, 1)]


def test_shelving_loads_nothing_until_asked(memory, monkeypatch):
    cached = memory.cache(add)
    cached(1)
    reference = cached.call_and_shelve(1)
    assert isinstance(reference, MemorizedResult)
    assert reference.func_id == reference.func == cached.func_id
    assert reference.args_id == cached._get_args_id(1)
    assert reference.duration == reference.metadata["duration"]
    assert pickle.loads(pickle.dumps(reference)).get() == 2
    reference.clear()
    with pytest.raises(KeyError, match="may have been cleared"):
        reference.get()
    reference.clear()


def test_shelving_computes_what_is_missing(memory):
    reference = memory.cache(add).call_and_shelve(8)
    assert isinstance(reference, MemorizedResult)
    assert reference.get() == 9


def test_shelving_what_cannot_be_stored_keeps_the_value(memory):
    with pytest.warns(FutureWarning, match="cannot be pickled"):
        reference = memory.cache(make_unpicklable).call_and_shelve(1)
    assert isinstance(reference, NotMemorizedResult)
    assert reference.get()() == 1


def make_unpicklable(x):
    return lambda: x


def test_a_result_that_cannot_be_pickled_is_returned(memory):
    cached = memory.cache(make_unpicklable)
    with pytest.warns(FutureWarning, match="cannot be pickled"):
        assert cached(4)() == 4
    assert not cached.check_call_in_cache(4)
    assert not os.path.exists(os.path.join(entry_of(cached, 4), "metadata.json"))


def test_check_call_in_cache_changes_nothing(memory, tmp_path):
    cached = memory.cache(add)
    assert cached.check_call_in_cache(1) is False
    before = sorted(tmp_path.rglob("*"))
    assert cached.check_call_in_cache(1) is False
    assert sorted(tmp_path.rglob("*")) == before
    cached(1)
    assert cached.check_call_in_cache(1) is True
    assert RUNS == [(1, 1)]


def test_clear_is_for_one_function_and_memory_clear_for_all(memory):
    cached, other = memory.cache(add), memory.cache(len)
    cached(1), other("ab")
    cached.clear()
    assert not cached.check_call_in_cache(1)
    assert other.check_call_in_cache("ab")
    memory.clear(warn=False)
    assert not other.check_call_in_cache("ab")
    assert os.listdir(memory.store_backend.location) == []
    assert cached(1) == 2 and cached(1) == 2
    assert len(RUNS) == 2


def test_eval_is_a_cached_call(memory):
    assert memory.eval(add, 1, y=2) == memory.eval(add, 1, y=2) == 3
    assert len(RUNS) == 1
    assert Memory(None).eval(add, 1, y=2) == 3


def test_without_location_nothing_is_stored():
    memory = Memory(None, verbose=0)
    cached = memory.cache(add)
    assert isinstance(cached, NotMemorizedFunc)
    assert [cached(1), cached(1)] == [2, 2]
    assert len(RUNS) == 2
    assert cached.call(1) == (2, {})
    assert cached.check_call_in_cache(1) is False
    reference = cached.call_and_shelve(1)
    assert pickle.loads(pickle.dumps(reference)).get() == 2
    reference.clear()
    with pytest.raises(KeyError, match="cleared"):
        reference.get()
    cached.clear()
    memory.clear(warn=False)
    memory.reduce_size(items_limit=0)
    assert pickle.loads(pickle.dumps(memory)).store_backend is None


def test_decorating_twice_caches_once(memory):
    once = memory.cache(add)
    twice = memory.cache(once, verbose=3)
    assert twice.func is add
    assert twice._verbose == 3
    assert Memory(None).cache(Memory(None).cache(add)).func is add


@pytest.mark.parametrize("ignore", [["y"], ("y",)])
def test_ignored_arguments_do_not_tell_calls_apart(memory, ignore):
    cached = memory.cache(add, ignore=ignore)
    assert cached(1, y=1) == cached(1, y=2) == 2
    assert len(RUNS) == 1


def test_an_ignored_argument_costs_no_hash_and_no_repr(memory):
    class Costly:
        def __reduce__(self):
            raise AssertionError("it was pickled")

        def __repr__(self):
            raise AssertionError("it was represented")

    cached = memory.cache(len_of_first, ignore=["other"])
    assert cached("abc", Costly()) == cached("abc", Costly()) == 3


def len_of_first(first, other):
    return len(first)


@pytest.mark.parametrize(
    "kwargs, error, words",
    [
        ({"ignore": ["z"]}, ValueError, "'z' is not defined"),
        ({"ignore": "y"}, ValueError, "must be a list"),
        ({"cache_validation_callback": 3}, ValueError, "needs to be callable. Got 3"),
    ],
)
def test_bad_options(memory, kwargs, error, words):
    with pytest.raises(error, match=words):
        memory.cache(add, **kwargs)(1)


def test_bad_function_and_location(tmp_path):
    with pytest.raises(TypeError, match="needs a function, got 3"):
        Memory(tmp_path, verbose=0).cache(3)
    with pytest.warns(UserWarning, match="nothing will be cached"):
        assert Memory(3).store_backend is None
    with pytest.raises(TypeError, match="registered are"):
        Memory(str(tmp_path), backend="nowhere")
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OSError):
        Memory(blocker, verbose=0)


def test_an_argument_that_cannot_be_hashed_is_named(memory):
    with pytest.raises(TypeError, match="Argument 'y' of .*add cannot be hashed"):
        memory.cache(add)(1, y=(i for i in ()))
    with pytest.raises(pickle.PicklingError, match="Argument 'x'.*ignore"):
        memory.cache(add)(lambda: 1)


def test_exceptions_are_the_functions_own_and_not_stored(memory):
    @memory.cache
    def divide(x):
        RUNS.append(x)
        return 1 / x

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            divide(0)
    assert len(RUNS) == 2


# ----------------------------------------------------------------------- validation
def test_validation_callback_sees_metadata_and_decides(memory):
    seen = []

    def judge(metadata):
        seen.append(metadata)
        return verdict

    verdict = True
    cached = memory.cache(add, cache_validation_callback=judge)
    assert (cached(1), seen) == (2, [])
    assert cached(1) == 2
    assert seen[0]["input_args"] == {"x": "1", "y": "1"}
    assert len(RUNS) == 1
    verdict = False
    assert cached.check_call_in_cache(1) is False
    assert cached(1) == 2
    assert len(RUNS) == 2


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_a_result_without_metadata_is_not_accepted_blindly(memory, content):
    cached = memory.cache(add, cache_validation_callback=expires_after(days=1))
    cached(1)
    path = os.path.join(entry_of(cached, 1), "metadata.json")
    if content is None:
        os.remove(path)
        assert cached(1) == 2
    else:
        with open(path, "w") as stream:
            stream.write(content)
        with pytest.warns(match="metadata of the cache entry .* cannot be read"):
            assert cached(1) == 2
    assert len(RUNS) == 2
    assert cached(1) == 2
    assert len(RUNS) == 2


def test_expires_after(memory, monkeypatch):
    accept = expires_after(minutes=1, seconds=30)
    now = 1000.0
    monkeypatch.setattr("time.time", lambda: now)
    assert accept({"time": 1000.0 - 89})
    assert not accept({"time": 1000.0 - 91})


# --------------------------------------------------------------------- asynchronous
def test_coroutine_functions(memory):
    cached = memory.cache(add_later)
    assert isinstance(cached, AsyncMemorizedFunc)

    async def use():
        assert await cached(1) == await cached(1) == 2
        assert len(RUNS) == 1
        assert (await cached.call(1))[0] == 2
        assert len(RUNS) == 2
        assert (await cached.call_and_shelve(1)).get() == 2
        assert (await cached.call_and_shelve(2)).get() == 3
        assert await memory.eval(add_later, 2) == 3
        assert len(RUNS) == 3

    asyncio.run(use())


def test_coroutine_functions_without_location():
    async def use():
        cached = Memory(None).cache(add_later)
        assert await cached(1) == 2
        assert await cached.call(1) == (2, {})
        assert (await cached.call_and_shelve(1)).get() == 2

    asyncio.run(use())


# ------------------------------------------------------------------ arrays, options
@pytest.mark.parametrize("compress", [False, True, ("gzip", 3)])
def test_compression(tmp_path, compress):
    memory = Memory(tmp_path, compress=compress, verbose=0)
    cached = memory.cache(repeat)
    assert cached(3000) == cached(3000) == "ab" * 3000
    size = os.path.getsize(os.path.join(entry_of(cached, 3000), "output.pkl"))
    assert (size < 1000) == bool(compress)


def repeat(n):
    return "ab" * n


def make_array(n):
    import numpy as np

    RUNS.append(n)
    return np.arange(n)


def test_arrays_come_back_mapped_from_the_first_call_on(tmp_path):
    np = pytest.importorskip("numpy")
    plain = Memory(tmp_path, verbose=0)
    cached = plain.cache(make_array, mmap_mode="r")
    for _ in range(2):
        result = cached(5)
        assert isinstance(result, np.memmap) and result.mode == "r"
    assert not isinstance(plain.cache(make_array)(5), np.memmap)
    mapping = Memory(tmp_path, mmap_mode="c", verbose=0)
    assert mapping.cache(make_array)(5).mode == "c"
    assert RUNS == [5]
    reference = MemorizedResult(
        plain.store_backend.location,
        (cached.func_id, cached._get_args_id(5)),
        mmap_mode="r",
    )
    assert isinstance(reference.get(), np.memmap)


def test_a_small_result_that_mentions_arrays_is_loaded_all_the_same(memory):
    cached = memory.cache(mention)
    assert cached() == cached() == "joblib.numpy_pickle"


def mention():
    return "joblib.numpy_pickle"


# --------------------------------------------------------------------- what is said
def test_silence(memory, capfd):
    cached = memory.cache(add)
    cached(1), cached(1), cached.clear()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "verbose, on_miss, on_hit",
    [
        (1, ["[Memory] Calling", "add(1)"], []),
        (2, ["[Memory] Calling"], ["Loading add..."]),
        (5, ["[Memory] Calling"], ["Loading add...", "add cache loaded -"]),
        (10, ["[Memory] Calling"], ["Loading add from "]),
        (11, ["[Memory] Calling", "Persisting in "], ["Loading add from "]),
    ],
)
def test_messages(tmp_path, capsys, verbose, on_miss, on_hit):
    cached = Memory(tmp_path, verbose=verbose).cache(add)
    cached(1)
    out = capsys.readouterr().out
    assert all(words in out for words in on_miss)
    assert out.splitlines()[-1].endswith("min") and len(out.splitlines()[-1]) == 80
    cached(1)
    out = capsys.readouterr().out
    assert all(words in out for words in on_hit)
    assert bool(out) == bool(on_hit)


def test_log_messages(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cached = Memory(tmp_path, verbose=20).cache(add)
    cached(1)
    assert "Querying add with signature\nadd(1)." in caplog.text
    assert "Computing func add" in caplog.text
    cached.clear()
    assert "Clearing function cache" in caplog.text


def test_the_message_of_a_reference_shows_the_arguments(tmp_path, capsys):
    cached = Memory(tmp_path, verbose=3).cache(add)
    reference = cached.call_and_shelve(1)
    capsys.readouterr()
    reference.get()
    assert "Loading add(y=1, x=1)..." in capsys.readouterr().out.replace(
        "x=1, y=1", "y=1, x=1"
    )


def test_a_slow_representation_is_reported(memory, monkeypatch):
    import joblib._caching.metadata as metadata

    monkeypatch.setattr(metadata, "_SLOW", 0.0)
    with pytest.warns(UserWarning, match="Noting the arguments of .*add took"):
        memory.cache(add)(1)


class Grumpy:
    def __repr__(self):
        raise RuntimeError("no")


def test_a_failing_representation_loses_no_result(memory):
    cached = memory.cache(kind_of)
    assert cached(Grumpy()) == cached(Grumpy()) == "Grumpy"


def kind_of(x):
    RUNS.append(1)
    return type(x).__name__


# -------------------------------------------------------------- pickles, subclasses
def test_pickles_name_public_modules(memory):
    cached = memory.cache(add)
    for obj in (memory, cached, cached.call_and_shelve(1), memory.store_backend):
        data = pickle.dumps(obj)
        assert b"_caching" not in data
        assert repr(pickle.loads(data)) == repr(obj)
    assert MemorizedFunc.__module__ == "joblib.memory"


def test_subclasses_may_have_their_own_key_and_code_check(tmp_path):
    class ByFirst(MemorizedFunc):
        checks = 0

        def _get_args_id(self, *args, **kwargs):
            return f"{args[0]:032x}"

        def _check_previous_func_code(self, stacklevel=2):
            type(self).checks += 1
            return True

    cached = ByFirst(add, str(tmp_path), verbose=0)
    assert cached(1, 1) == cached(1, 2) == 2
    assert len(RUNS) == 1
    assert ByFirst.checks == 2
    assert (tmp_path / cached.func_id / f"{1:032x}" / "output.pkl").exists()


def documented(x: int = 1):
    """Title.

    More.
    """


@pytest.mark.parametrize(
    "func, text",
    [
        (documented, "documented(x: int = 1)\n\n    Title.\n    \n    More.\n"),
        (kind_of, "kind_of(x)\n\n"),
        (add_later, "async add_later(x, y=1)\n\n"),
        (lambda x, y=1: x, "<lambda> lambda x, y=1\n\n"),
        (Grumpy().__repr__, "None"),
    ],
)
def test_the_docstring_is_part_of_hashes(memory, func, text):
    assert memory.cache(func).__doc__ == f"Memoized version of {text}"


def test_a_cached_function_shows_what_it_is(memory):
    cached = memory.cache(add)
    assert cached.__name__ == "add"
    assert cached.__doc__.startswith("Memoized version of add(x, y=1)")
    assert repr(cached).startswith("MemorizedFunc(func=<function add at ")
    assert repr(memory) == f"Memory(location={memory.store_backend.location})"
    assert cached.func_code_info[1] == __file__
