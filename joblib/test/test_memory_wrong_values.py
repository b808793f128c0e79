"""No function gets another's results, nor its own from when it was another.

Each test makes functions that are easily taken for each other and compares what they
return through the cache with what they return without.
"""

import asyncio
import collections
import enum
import functools
import gc
import importlib
import operator
import os
import re
import sys
import threading
import types
import weakref

import pytest

from joblib import Memory

pytestmark = pytest.mark.filterwarnings("ignore::joblib.memory.JobLibCollisionWarning")


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "cache", verbose=0)


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def multiply(self, x):
        return x * self.factor

    def __call__(self, x):
        return x * self.factor


class Guarded(Scale):
    def __init__(self, factor):
        super().__init__(factor)
        self.lock = threading.Lock()


class Slotted:
    __slots__ = ("func",)

    def __init__(self, func):
        self.func = func


Pair = collections.namedtuple("Pair", ["one", "two"])


class Disguised(str):
    def __repr__(self):
        return "disguised"


class Wrapping:
    def __init__(self, func, times=1):
        functools.update_wrapper(self, func)
        self.func = func
        self.times = times

    def __call__(self, *args):
        return self.func(*args) * self.times


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


def get_factor(holder, x):
    return holder["factor"] * x


def close_over(value, how):
    """Return a function that works with a value in one of several ways."""
    return {
        "item": lambda x: value["factor"] * x,
        "get": lambda x: value.get("factor", 0) * x,
        "setdefault": lambda x: value.setdefault("factor", 9) * x,
        "passed": lambda x: get_factor(value, x),
        "nested": lambda x: [(lambda: value["factor"] * y)() for y in [x]][0],
        "attribute": lambda x: value.factor * x,
        "method": lambda x: value.multiply(x),
        "attribute of": lambda x: value.func(x),
        "called": lambda x: value(x),
        "first": lambda x: value[0](x),
        "first item": lambda x: value[0]["factor"] * x,
        "text": lambda x: str(value) + str(x),
        "pattern": lambda x: value.pattern[-1] * x,
        "number": lambda x: value * x,
        "length": lambda x: len(value) * x,
    }[how]


def make_local_class(factor):
    class Local:
        value = factor

        def get(self):
            return factor

    return Local


def with_default(value):
    def work(x, y=value):
        return x * y

    return work


def renamed(func):
    func.__name__ = func.__qualname__ = "renamed"
    return func


def from_text(text, **names):
    exec(f"def work(x):\n    return {text}", names)
    return names["work"]


def kept(factor):
    @functools.lru_cache
    def work(x):
        return x * factor

    return work


ALIKE = {
    "lambdas on one line": [lambda x: x, lambda x: -x],
    "renamed lambdas": [renamed(lambda x: x), renamed(lambda x: -x)],
    "lambdas in defaults": [
        functools.partial(lambda x, f: f(x), f=lambda x: x),
        functools.partial(lambda x, f: f(x), f=lambda x: -x),
    ],
    "no source": [from_text("x + 1"), from_text("x + 2")],
    "dict": [close_over({"factor": n}, "item") for n in (1, 2)],
    "dict, get": [close_over({"factor": n}, "get") for n in (1, 2)],
    "dict, setdefault": [close_over({"factor": n}, "setdefault") for n in (1, 2)],
    "dict, passed on": [close_over({"factor": n}, "passed") for n in (1, 2)],
    "dict, nested": [close_over({"factor": n}, "nested") for n in (1, 2)],
    "dict in a tuple": [close_over(({"factor": n},), "first item") for n in (1, 2)],
    "object": [close_over(Scale(n), "attribute") for n in (1, 2)],
    "object, method": [close_over(Scale(n), "method") for n in (1, 2)],
    "object, called": [close_over(Scale(n), "called") for n in (1, 2)],
    "bound method": [close_over(Scale(n).multiply, "called") for n in (1, 2)],
    "bound methods in a list": [
        close_over([Scale(n).multiply], "first") for n in (1, 2)
    ],
    "bound builtin": [close_over([1] * n, "length") for n in (1, 2)],
    "count": [close_over(([1] * n).count, "called") for n in (1, 2)],
    "lambdas in a list": [
        close_over([lambda x: x], "first"),
        close_over([lambda x: -x], "first"),
    ],
    "lambda in a namespace": [
        close_over(types.SimpleNamespace(multiply=lambda x: x), "method"),
        close_over(types.SimpleNamespace(multiply=lambda x: -x), "method"),
    ],
    "defaultdict": [
        close_over(collections.defaultdict(lambda: 0, factor=n), "item") for n in (1, 2)
    ],
    "default of a defaultdict": [
        close_over(collections.defaultdict(lambda: 1), "item"),
        close_over(collections.defaultdict(lambda: 2), "item"),
    ],
    "named tuple": [
        close_over(Pair(lambda x: x, 0), "first"),
        close_over(Pair(lambda x: -x, 0), "first"),
    ],
    "deque": [
        close_over(collections.deque([lambda x: x]), "first"),
        close_over(collections.deque([lambda x: -x]), "first"),
    ],
    "slots": [
        close_over(Slotted(lambda x: x), "attribute of"),
        close_over(Slotted(lambda x: -x), "attribute of"),
    ],
    "object that holds a lock": [close_over(Guarded(n), "method") for n in (1, 2)],
    "local class": [
        (lambda cls: lambda x: cls.value * x)(make_local_class(n)) for n in (1, 2)
    ],
    "closure of a local class": [
        (lambda one: lambda x: one.get() * x)(make_local_class(n)()) for n in (1, 2)
    ],
    "representation of a subclass": [
        close_over(Disguised(text), "number") for text in "ab"
    ],
    "long patterns": [
        close_over(re.compile("a" * 300 + end), "pattern") for end in "bc"
    ],
    "members of an enum": [close_over(level, "text") for level in Level],
    "equal numbers": [close_over(n, "text") for n in (1, True, 1.0, 1 + 0j)],
    "zeros": [close_over(n, "number") for n in (0.0, -0.0)],
    "partial of lambdas": [
        functools.partial(lambda x, y: x + y, 1),
        functools.partial(lambda x, y: x - y, 1),
    ],
    "partial of methods": [functools.partial(Scale(n).multiply) for n in (1, 2)],
    "partial of objects": [functools.partial(Scale(n)) for n in (1, 2)],
    "partial of builtins": [functools.partial(([3] * n).count) for n in (0, 1, 2)],
    "partial of defaults": [functools.partial(with_default(n)) for n in (1, 2, [1])],
    "partial with a lambda": [
        functools.partial(map_one, func)
        for map_one in [lambda f, x: f(x)]
        for func in (lambda x: x, lambda x: -x)
    ],
    "defaults": [with_default(n) for n in (1, 2, 2.0)],
    "objects that are called": [Scale(1), Scale(2)],
    "methods of two objects": [Scale(1).multiply, Scale(2).multiply],
    "bound builtins": [([3] * n).count for n in (0, 1, 2)],
    "method wrappers": [(1).__add__, (2).__add__],
    "functools.lru_cache": [
        functools.lru_cache(lambda x: x),
        functools.lru_cache(lambda x: -x),
    ],
    "functools.lru_cache of closures": [kept(1), kept(2)],
    "decorator that is a class": [
        Wrapping(lambda x: x),
        Wrapping(lambda x: -x),
        Wrapping(lambda x: -x, 2),
    ],
    "operator": [operator.add(1, 2).__add__, operator.methodcaller("__neg__")],
}


@pytest.mark.parametrize("name", ALIKE)
def test_functions_that_are_alike(memory, name):
    for _ in range(2):
        for func in ALIKE[name]:
            expected = func(3)
            result = memory.cache(func)(3)
            assert (type(result), repr(result)) == (type(expected), repr(expected))


# --------------------------------------------------------------- what changes meanwhile
def test_a_changed_dict_that_is_closed_over(memory):
    config = {"factor": 1}
    calls = []

    def work(x):
        calls.append(x)
        return config["factor"] * x

    cached = memory.cache(work)
    results = []
    for factor in (1, 2, 1, 2):
        config["factor"] = factor
        results.append(cached(3))
    assert results == [3, 6, 3, 6]
    assert len(calls) == 2


def test_a_changed_object_array_and_cell_that_are_closed_over(memory):
    np = pytest.importorskip("numpy")
    scale, weights, offset = Scale(1), np.ones(2), 0

    def add(x):
        return x + offset

    def work(x):
        return add(scale.multiply(x) + weights.sum())

    cached = memory.cache(work)
    assert cached(3) == work(3) == 5
    scale.factor = 2
    assert cached(3) == work(3) == 8
    weights[0] = 10
    assert cached(3) == work(3) == 17
    offset = 100  # a cell of a function that is closed over
    assert cached(3) == work(3) == 117


def test_code_and_defaults_given_to_a_function_that_is_closed_over(memory):
    def inner(x, y=1):
        return x + y

    def other(x, y=1):
        return x - y

    cached = memory.cache(lambda x: inner(x))
    assert cached(3) == 4
    inner.__code__ = other.__code__
    assert cached(3) == 2
    inner.__defaults__ = (2,)
    assert cached(3) == 1


def test_code_given_to_a_cached_function_again_and_again(memory):
    def work(x):
        return x

    cached = memory.cache(work)
    results = []
    for number in range(5):
        # The old code is gone: the id of the new one may be that of the old one.
        work.__code__ = from_text(f"x * {number} + {number}").__code__
        gc.collect()
        results.append(cached(2))
    assert results == [0, 3, 6, 9, 12]


def test_a_changed_attribute_of_an_object_that_is_called(memory):
    scale = Scale(1)
    cached, method = memory.cache(scale), memory.cache(scale.multiply)
    assert cached(3) == method(3) == 3
    scale.factor = 2
    assert cached(3) == method(3) == 6


def test_attributes_of_a_function_do_not_replace_those_of_the_cached_one(memory):
    def work(x, y):
        return x

    work.func, work.ignore, work._lock, work.clear, work.note = abs, ["y"], True, 1, 2
    cached = memory.cache(work)
    assert [cached(-1, 1), cached(-1, 2)] == [-1, -1]
    assert cached.func is work
    assert cached.ignore == []
    assert callable(cached.clear)
    assert cached.note == 2


def test_a_list_whose_method_is_cached(memory):
    values = [3]
    cached = memory.cache(values.count)
    assert cached(3) == 1
    values.append(3)
    assert cached(3) == 2


# ------------------------------------------------------------- what functions do, not are
def test_what_a_function_writes_down_does_not_count(memory):
    calls, seen, number, tallies = [], {}, 0, [0]

    def work(x):
        nonlocal number
        number += 1
        calls.append(x)
        seen[x] = True
        tallies[0] += 1
        return x

    for _ in range(2):
        cached = memory.cache(work)
        assert [cached(1), cached(1), cached(2), cached(1)] == [1, 1, 2, 1]
    assert (number, calls, seen, tallies) == (2, [1, 2], {1: True, 2: True}, [2])


def test_functions_that_write_into_one_list(memory):
    calls = []

    def one(x):
        calls.append(x)
        return x

    def two(x):
        return calls.append(x) or -x

    assert [memory.cache(func)(1) for func in (one, two) * 3] == [1, -1] * 3
    assert calls == [1, 1]


def test_state_that_the_function_reads_is_told_from_changes_of_others(memory):
    state = {"runs": 0, "factor": 1}

    def work(x):
        state["runs"] += 1
        return state["factor"] * x

    cached = memory.cache(work)
    assert [cached(3), cached(3), cached(4)] == [3, 3, 4]
    assert state["runs"] == 2
    state["factor"] = 2
    assert [cached(3), cached(4), cached(3)] == [6, 8, 6]
    assert state["runs"] == 4


def test_coroutine_functions(memory):
    calls, config = [], {"factor": 1}

    async def work(x):
        calls.append(x)
        await asyncio.sleep(0)
        return config["factor"] * x

    cached = memory.cache(work)

    async def run():
        first = asyncio.ensure_future(cached(3))
        await asyncio.sleep(0)
        config["factor"] = 2  # while it is running
        await first
        config["factor"] = 1
        return [await cached(4), await cached(4)]

    assert asyncio.run(run()) == [4, 4]
    config["factor"] = 2
    assert asyncio.run(cached(4)) == 8


def test_what_cannot_be_looked_into_does_no_harm(memory):
    lock, calls = threading.Lock(), []

    def work(x):
        with lock:
            calls.append(x)
        return x

    assert [memory.cache(work)(1) for _ in range(3)] == [1, 1, 1]
    assert calls == [1]


def test_cached_functions_and_caches_that_are_closed_over(memory):
    calls = []

    @memory.cache
    def fibonacci(n):
        calls.append(n)
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert [fibonacci(8), fibonacci(8)] == [21, 21]
    assert len(calls) == 9

    def work(x):
        return memory.eval(operator.neg, x)

    assert [memory.cache(work)(1), memory.cache(work)(1)] == [-1, -1]


def test_a_function_that_refers_to_itself_can_go(memory):
    def define():
        def factorial(n):
            return n * factorial(n - 1) if n else 1

        assert memory.cache(factorial)(3) == 6
        return weakref.ref(factorial)

    reference = define()
    gc.collect()
    assert reference() is None


def test_a_structure_without_a_bottom_is_computed_anew(memory):
    deep, calls = (lambda x: x,), []
    for _ in range(100_000):
        deep = [deep]

    def work(x):
        calls.append(x)
        return len(deep) * x

    assert [memory.cache(work)(3), memory.cache(work)(3)] == [3, 3]
    assert calls == [3, 3]


def test_a_structure_that_holds_itself(memory):
    loop = [lambda x: x]
    loop.append(loop)
    assert [memory.cache(lambda x: loop[0](x))(3) for _ in range(2)] == [3, 3]


# ----------------------------------------------------------------- who is who elsewhere
def test_an_object_that_is_called_is_found_by_an_equal_one(memory):
    assert memory.cache(Scale(2))(3) == 6
    assert memory.cache(Scale(2)).check_call_in_cache(3)
    assert not memory.cache(Scale(3)).check_call_in_cache(3)
    assert memory.cache(Scale(2)).func_id.endswith(os.path.join("Scale", "__call__"))


@pytest.mark.parametrize("name", ["lru_cache", "bound", "partial"])
def test_what_is_no_function_is_found_in_another_process(memory, name):
    made = {
        "lru_cache": lambda: kept(5),
        "bound": lambda: [3].count,
        "partial": lambda: functools.partial(Scale(2)),
    }[name]
    memory.cache(made())(3)
    assert memory.cache(made()).check_call_in_cache(3)


# --------------------------------------------------------------- files that are edited
@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a module, and one that imports it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "edited_later.py"

    def load():
        sys.modules.pop("edited_later", None)
        importlib.invalidate_caches()
        return importlib.import_module("edited_later")

    yield path.write_text, load
    sys.modules.pop("edited_later", None)


KINDS = {
    "function": ("def work(x):\n    '''Doc.'''\n    return x + 1\n", lambda m: m.work),
    "decorated": (
        "def same(func):\n    return func\n\n@same\ndef work(x):\n    return x + 1\n",
        lambda m: m.work,
    ),
    "method": (
        "class Work:\n    def work(self, x):\n        self.__x = x\n"
        "        super().__init__()\n        return self.__x + 1\n",
        lambda m: m.Work().work,
    ),
    "closure": (
        "def make(y):\n    def work(x):\n        return x + 1 * y\n    return work\n",
        lambda m: m.make(1),
    ),
    "in a block": (
        "if True:\n    def work(x):\n        return x + 1\n",
        lambda m: m.work,
    ),
    "lambda": ("work = lambda x: x + 1\n", lambda m: m.work),
    "lambda in a list": (
        "work = max([\n    lambda x: x + 1,\n], key=id)\n",
        lambda m: m.work,
    ),
    "imported": (
        "import os\n\ndef work(x):\n    os.getcwd()\n    return x + 1\n",
        lambda m: m.work,
    ),
    "wrapped": (
        "import functools\n\ndef same(func):\n    @functools.wraps(func)\n"
        "    def inner(x):\n        return func(x) - x + x + 1\n    return inner\n\n"
        "@same\ndef work(x):\n    return x\n",
        lambda m: m.work,
    ),
    "annotated": (
        "from __future__ import annotations\ndef work(x: Nothing):\n    return x + 1\n",
        lambda m: m.work,
    ),
    "nested": (
        "class Outer:\n    class Inner:\n        def make(self, y):\n"
        "            return lambda x: x + 1 + 0 * y\n",
        lambda m: m.Outer.Inner().make(1),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_old_code_does_not_pass_for_what_its_file_says_by_now(memory, module, kind):
    write, load = module
    source, pick = KINDS[kind]
    write(source)
    old = pick(load())
    write(source.replace("x + 1", "x - 1").replace("_x + 1", "_x - 1"))
    assert memory.cache(old)(5) == 6, "it is still what it was"
    new = pick(load())
    assert memory.cache(new)(5) == new(5) == 4
    assert memory.cache(pick(load())).check_call_in_cache(5)


@pytest.mark.parametrize("kind", KINDS)
def test_results_outlive_that_a_file_is_saved_again_unchanged(memory, module, kind):
    write, load = module
    source, pick = KINDS[kind]
    write(source)
    file = load().__file__
    os.utime(file, (1e9, 1e9))  # older than this process
    assert memory.cache(pick(load()))(5) == 6
    os.utime(file)
    assert memory.cache(pick(load())).check_call_in_cache(5)


@pytest.mark.parametrize("kind", KINDS)
def test_results_do_not_hang_on_equal_code_elsewhere(memory, module, kind):
    """Of a function whose file says something else by now, for as long as it lives."""
    write, load = module
    source, pick = KINDS[kind]
    write(source)
    old = pick(load())
    write(source.replace("x + 1", "x - 1").replace("_x + 1", "_x - 1"))
    assert memory.cache(old)(5) == 6
    write(source)
    os.utime(load().__file__, (1e9, 1e9))  # older than this process
    assert memory.cache(pick(load()))(7) == 8
    del old
    gc.collect()
    assert memory.cache(pick(load())).check_call_in_cache(7)


@pytest.mark.parametrize("kind", KINDS)
def test_source_that_is_the_functions_own_is_recognized(memory, module, kind):
    write, load = module
    source, pick = KINDS[kind]
    write(source)
    code, _, first_line = memory.cache(pick(load())).func_code_info
    assert first_line > 0
    assert code in source
