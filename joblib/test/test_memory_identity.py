"""Which results are whose: code, closures, lambdas, partial objects, collisions."""

import functools
import importlib
import os
import sys
import textwrap
import threading
import warnings

import pytest

from joblib import Memory
from joblib._store_backends import CacheWarning
from joblib.memory import (
    _FUNCTION_HASHES,
    JobLibCollisionWarning,
    _build_func_identifier,
    extract_first_line,
)


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "cache", verbose=0)


@pytest.fixture
def load_module(tmp_path, monkeypatch):
    """Return a function that imports a module anew with the given source."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "edited_module", raising=False)

    def load(source):
        (folder / "edited_module.py").write_text(textwrap.dedent(source))
        sys.modules.pop("edited_module", None)
        importlib.invalidate_caches()
        return importlib.import_module("edited_module")

    yield load
    sys.modules.pop("edited_module", None)


# -------------------------------------------------------------------------- lambdas
def test_two_lambdas_on_one_line(memory, recwarn):
    plus, minus = memory.cache(lambda x: x), memory.cache(lambda x: -x)
    assert [plus(1), minus(1), plus(1), minus(1)] == [1, -1, 1, -1]
    assert not recwarn.list


def test_lambdas_do_not_evict_each_other(memory):
    calls = []
    one = memory.cache(lambda x: calls.append(1) or x)
    two = memory.cache(lambda x: calls.append(2) or x + 1)
    with pytest.warns(JobLibCollisionWarning, match="Cannot detect"):
        with pytest.warns(JobLibCollisionWarning, match="kept apart"):
            assert [one(1), two(1), one(1), two(1)] == [1, 2, 1, 2]
    assert calls == [1, 2]


def test_lambdas_that_differ_in_a_constant_name_or_nested_code(memory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JobLibCollisionWarning)
        pairs = [
            (eval("lambda x: x + 1"), eval("lambda x: x + 2")),
            (eval("lambda x: x + 1"), eval("lambda x: x + 1.0")),
            (eval("lambda x: abs(-x)"), eval("lambda x: float(-x)")),
            (eval("lambda x: [i for i in [x]]"), eval("lambda x: [-i for i in [x]]")),
            (eval("lambda x: x in {1, 2}"), eval("lambda x: x in {1, 3}")),
            (eval("lambda x, y=1: x + y"), eval("lambda x, y=2: x + y")),
        ]
        for first, second in pairs:
            for func in (first, second, first):
                result = memory.cache(func)(3)
                assert result == func(3) and type(result) is type(func(3))


# ------------------------------------------------------------------- partial objects
def subtract(x, y, z=0):
    return x - y - z


def test_partial_objects_are_told_apart(memory, recwarn):
    partials = [
        functools.partial(subtract, 10),
        functools.partial(subtract, 20),
        functools.partial(subtract, y=10),
        functools.partial(subtract, 10, z=1),
        functools.partial(functools.partial(subtract, 10), z=2),
    ]
    for _ in range(2):
        assert [memory.cache(p)(4) for p in partials] == [6, 16, -6, 5, 4]
    assert memory.cache(subtract)(10, 4) == 6
    assert not recwarn.list
    assert len(memory.store_backend.get_items()) == 6


def test_a_partial_object_is_hit_by_an_equal_one(memory):
    calls = []

    def note(x, y):
        calls.append((x, y))
        return x, y

    assert memory.cache(functools.partial(note, 1))(2) == (1, 2)
    assert memory.cache(functools.partial(note, 1))(2) == (1, 2)
    assert len(calls) == 1
    assert _build_func_identifier(functools.partial(note, 1)).endswith("note-partial")


def test_a_change_of_what_a_partial_object_holds_is_seen(memory):
    held = [1]
    cached = memory.cache(functools.partial(first_of, held))
    assert cached(0) == 1
    held[0] = 2
    assert cached(0) == 2


def first_of(values, index):
    return values[index]


# -------------------------------------------------------------------------- closures
def make_scaler(factor, calls):
    def scale(x):
        calls.append(x)
        return factor * x

    return scale


class Choice:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    "one, two", [(2, 3), (2, 2.0), ("a", "b"), ((1, 2), (1, 3)), (True, None)]
)
def test_closed_over_constants_belong_to_the_function(memory, one, two):
    calls = []
    for factor in (one, two, one, two):
        if factor is not None:
            result = memory.cache(make_scaler(factor, calls))(2)
            assert result == 2 * factor and type(result) is type(2 * factor)
    assert len(calls) == (1 if two is None else 2)


def test_closed_over_functions_belong_to_the_function(memory, recwarn):
    def apply(func):
        def call(x):
            return func(x)

        return memory.cache(call)

    def up(x):
        return x + 1

    def down(x):
        return x - 1

    results = [apply(func)(5) for func in (up, down, functools.partial(max, 9), up)]
    assert results == [6, 4, 9, 6]
    assert not recwarn.list


def test_closed_over_arrays_belong_to_the_function(memory):
    np = pytest.importorskip("numpy")
    calls = []
    for values in ([1, 2], [1, 3], [1, 2]):
        result = memory.cache(make_scaler(np.array(values), calls))(10)
        np.testing.assert_array_equal(result, np.array(values) * 10)
    assert len(calls) == 2


def test_closed_over_state_does_not(memory):
    state, choice, calls = [], Choice(1), {}

    def work(x):
        state.append(x)
        calls[x] = choice
        return x

    cached = memory.cache(work)
    assert cached(1) == cached(1) == 1
    assert state == [1]


def test_a_closed_over_variable_that_is_given_another_value(memory):
    factor = 2

    def scale(x):
        return factor * x

    cached = memory.cache(scale)
    assert cached(5) == 10
    factor = 3
    assert cached(5) == 15


def test_a_function_that_closes_over_itself(memory):
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    assert memory.cache(factorial)(5) == 120


def test_the_functions_a_decorator_wraps_are_told_apart(memory):
    def twice(func):
        @functools.wraps(func)
        def wrapper(x):
            return 2 * func(x)

        return wrapper

    @twice
    def work(x):
        return x

    before = work

    @twice
    def work(x):
        return x + 1

    assert memory.cache(before)(1) == 2
    assert memory.cache(work)(1) == 4
    assert memory.cache(before)(1) == 2


def test_methods_with_super_keep_the_key_of_their_arguments(memory):
    class Base:
        def get(self, x):
            return x

    class Derived(Base):
        def get(self, x):
            return super().get(x) + 1

    from joblib.func_inspect import filter_args
    from joblib.hashing import hash

    method = Derived.get
    assert method.__closure__ is not None
    cached = memory.cache(method)
    expected = hash(filter_args(method, [], (3, 1)))
    assert cached._get_args_id(3, 1) == expected


# ------------------------------------------------------------------- changes of code
def test_new_code_drops_old_results(memory, load_module, recwarn):
    old = memory.cache(load_module("def f(x):\n    return x\n").f)
    assert [old(1), old(2)] == [1, 2]
    new = memory.cache(load_module("def f(x):\n    return -x\n").f)
    assert [new(1), new(1)] == [-1, -1]
    assert len(memory.store_backend.get_items()) == 1
    assert not recwarn.list


def test_new_code_of_a_closure_drops_old_results(memory, load_module):
    source = "def make(k):\n    def f(x):\n        return x + k\n    return f\n"
    assert memory.cache(load_module(source).make(3))(1) == 4
    changed = load_module(source.replace("+", "-"))
    assert memory.cache(changed.make(3))(1) == -2


def test_new_code_of_a_partial_objects_function_drops_old_results(memory, load_module):
    source = "def f(x, y):\n    return x + y\n"
    assert memory.cache(functools.partial(load_module(source).f, 3))(1) == 4
    changed = load_module(source.replace("+", "-"))
    assert memory.cache(functools.partial(changed.f, 3))(1) == 2


def test_moved_code_keeps_results(memory, load_module):
    memory.cache(load_module("RUNS = []\ndef f(x):\n    return x\n").f)(1)
    moved = load_module("RUNS = []\n\n\n\ndef f(x):\n    return x\n").f
    assert memory.cache(moved).check_call_in_cache(1)


@pytest.mark.parametrize(
    "changed",
    [
        'def f(x):\n    """Other words."""\n    return x + 1\n',
        "def f(x):\n    # A comment.\n    return x + 1\n",
        "def f(x):\n\n    return x+1\n",
    ],
)
def test_other_comments_docstring_or_layout_keep_results(memory, load_module, changed):
    old = memory.cache(load_module('def f(x):\n    """Words."""\n    return x + 1\n').f)
    old(1)
    (item,) = memory.store_backend.get_items()
    stamp = os.stat(os.path.join(item.path, "output.pkl")).st_mtime_ns
    new = memory.cache(load_module(changed).f)
    assert new.check_call_in_cache(1)
    assert new(1) == 2
    assert os.stat(os.path.join(item.path, "output.pkl")).st_mtime_ns == stamp
    stored = memory.store_backend.get_cached_func_code([new.func_id])
    assert extract_first_line(stored) == (changed, 1)


def test_a_changed_string_that_is_no_docstring_drops_results(memory, load_module):
    memory.cache(load_module("def f():\n    x = 'a'\n    return x\n").f)()
    assert memory.cache(load_module("def f():\n    x = 'b'\n    return x\n").f)() == "b"


def test_code_given_to_a_living_function(memory):
    def target(x):
        return x

    def other(x):
        return x * 100

    cached = memory.cache(target)
    assert cached(2) == 2
    target.__code__ = other.__code__
    with pytest.warns(JobLibCollisionWarning):
        assert cached(2) == 200


def test_a_process_with_old_code_does_not_write_into_new_codes_place(
    memory, load_module
):
    begun, go_on = threading.Event(), threading.Event()
    source = "def f(x, wait=None):\n    wait and wait()\n    return x\n"
    old = memory.cache(load_module(source).f, ignore=["wait"])

    def wait():
        begun.set()
        assert go_on.wait(10)

    results = []
    slow = threading.Thread(target=lambda: results.append(old(1, wait)))
    slow.start()
    assert begun.wait(10)
    new = memory.cache(load_module(source.replace("x\n", "-x\n")).f, ignore=["wait"])
    assert new(2) == -2
    go_on.set()
    slow.join(10)
    assert results == [1]
    assert new(1) == -1, "the old code's result must not be found"


# ------------------------------------------------------------------------- collisions
def define(version, memory):
    if version == 1:

        def colliding(x):
            return x

    else:

        def colliding(x):
            return -x

    return memory.cache(colliding)


def test_two_functions_of_one_name_never_get_each_others_results(memory):
    one, two = define(1, memory), define(2, memory)
    with pytest.warns(JobLibCollisionWarning, match="rename one of them") as caught:
        results = [one(1), two(1), one(2), two(2), one(1)]
    assert results == [1, -1, 2, -2, 1]
    assert caught[0].filename == __file__


def test_a_cleared_memory_of_codes_is_read_again_from_the_store(memory):
    cached = define(1, memory)
    cached(1)
    _FUNCTION_HASHES.clear()
    assert cached.check_call_in_cache(1)
    assert cached._check_previous_func_code()


def test_damaged_code_is_a_miss_with_one_warning(memory):
    calls = []

    def work(x):
        calls.append(x)
        return x

    cached = memory.cache(work)
    cached(1)
    path = os.path.join(memory.store_backend.location, cached.func_id, "func_code.py")
    with open(path, "w") as stream:
        stream.write("gar")
    with pytest.warns(match="code that belongs to .*work.* is damaged") as caught:
        assert [cached(1), cached(1)] == [1, 1]
    assert len(caught) == 1
    assert calls == [1, 1]


def test_missing_code_is_a_miss(memory):
    calls = []

    def work(x):
        calls.append(x)
        return x

    cached = memory.cache(work)
    cached(1)
    path = os.path.join(memory.store_backend.location, cached.func_id, "func_code.py")
    os.remove(path)
    with pytest.warns(CacheWarning, match="missing"):
        assert cached(1) == 1
    assert cached(1) == 1
    assert calls == [1, 1]
    assert os.path.exists(path)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("# first line: 12\nab\ncd\n", ("ab\ncd\n", 12)),
        ("# first line: -1\n", ("", -1)),
        ("# first line: x\nab", ("ab", -1)),
        ("ab\ncd", ("ab\ncd", -1)),
        ("", ("", -1)),
    ],
)
def test_extract_first_line(text, expected):
    assert extract_first_line(text) == expected
