"""Jobs on caches, done by either release, and the functions they cache."""

from __future__ import annotations

import asyncio
import datetime
import functools
import importlib.util
import inspect
import os
import pickle
import sys
from pathlib import Path

import numpy as np

import joblib.memory
from joblib.test.describing import describe

CALLS = []  # names of the functions that really ran


def plain(x, y=1):
    CALLS.append("plain")
    return x, y


def nothing():
    CALLS.append("nothing")


def with_defaults(a, b=2, c=(1, 2), d=None, e="text", f=[1], g={"k": 1}):  # noqa: B006
    CALLS.append("with_defaults")
    return a, b, c, d, e, f, g


def keywords_only(*, a, b=2, **others):
    CALLS.append("keywords_only")
    return a, b, others


def positions_only(a, b=2, /, c=3):
    CALLS.append("positions_only")
    return a, b, c


def everything(a, *args, b=1, **kwargs):
    CALLS.append("everything")
    return a, args, b, kwargs


def annotated(x: int, y: str = "a") -> tuple:
    """Have a docstring."""
    CALLS.append("annotated")
    return x, y


def ignoring(x, verbose=0, *args, **kwargs):
    CALLS.append("ignoring")
    return x


def of_array(array, factor=2):
    CALLS.append("of_array")
    return {"product": array * factor, "sum": float(array.sum())}


def arrays_made(n):
    CALLS.append("arrays_made")
    return [np.arange(n), np.eye(n, order="F"), {"inner": np.full((n, 2), 1.5)}]


async def asynchronous(x, y=1):
    CALLS.append("asynchronous")
    return x, y


def _hidden(x):
    CALLS.append("_hidden")
    return x


def été(x):  # noqa: N802 - the name matters
    CALLS.append("été")
    return "é" * x


def calls_itself(n):
    CALLS.append("calls_itself")
    return 1 if n < 2 else n * calls_itself(n - 1)


def decorator(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@decorator
def decorated(x):
    CALLS.append("decorated")
    return x


def _make_closure(offset):
    def closure(x):
        CALLS.append("closure")
        return x + offset

    return closure


def _make_local():
    def local(x):
        CALLS.append("local")
        return x

    return local


def _called_by_lambda(x):
    CALLS.append("lambda")
    return x


a_lambda = lambda x: _called_by_lambda(x)  # noqa: E731


class Base:
    def __init__(self, value):
        self.value = value

    def method(self, x, y=1):
        CALLS.append("method")
        return self.value, x, y

    def overridden(self, x):
        CALLS.append("overridden")
        return x

    @classmethod
    def of_class(cls, x):
        CALLS.append("of_class")
        return cls.__name__, x

    @staticmethod
    def static(x):
        CALLS.append("static")
        return x

    async def later(self, x):
        CALLS.append("later")
        return self.value, x

    class Inner:
        def method(self, x):
            CALLS.append("Inner.method")
            return x


class Derived(Base):
    def overridden(self, x):
        return super().overridden(x), "derived"


class WithCache:
    def __init__(self, memory, value):
        self.value = value
        self.compute = memory.cache(self.compute, ignore=["self"])

    def compute(self, x):
        CALLS.append("WithCache.compute")
        return x


def _cube():
    return np.arange(24.0).reshape(2, 3, 4)


def _frame():
    import pandas as pd

    return pd.DataFrame({"a": [1, 2], "b": ["x", None]})


def _cached(function, *args, **kwargs):
    """A call on a cache; options of the cache are named with a bar behind."""
    options = {k[:-1]: kwargs.pop(k) for k in list(kwargs) if k.endswith("_")}
    return lambda memory: memory.cache(function, **options)(*args, **kwargs)


ARGUMENTS = {
    "number": lambda: 3,
    "float": lambda: 2.5,
    "text": lambda: "é",
    "bytes": lambda: b"b",
    "nothing": lambda: None,
    "list": lambda: [1, [2, "a"]],
    "dictionary": lambda: {"b": 1, "a": {2: 3}},
    "set": lambda: {3, 1, 2},
    "date": lambda: datetime.date(2020, 1, 2),
    "function": lambda: plain,
    "class": lambda: Base,
    "method": lambda: Base(1).method,
    "instance": lambda: Base([1, {"a"}]),
    "array": _cube,
    "array transposed": lambda: _cube().T,
    "array part": lambda: _cube()[:, ::2, ::-1],
    "array of integers": lambda: np.arange(3, dtype=">i2"),
    "array of objects": lambda: np.array([1, "a", None], dtype=object),
    "array of texts": lambda: np.array(["a", "bc"]),
    "array without dimension": lambda: np.array(3.5),
    "array of records": lambda: np.zeros(2, "i4,f8"),
    "array empty": lambda: np.zeros((0, 3)),
    "arrays": lambda: {"a": [_cube(), _cube()], "b": (np.eye(2),)},
    "scalar": lambda: np.float32(1.5),
    "dtype": lambda: np.dtype("f4"),
    "frame": _frame,
}

#: calls whose keys are the same in both releases
CALLS_ALIKE = {
    **{
        f"argument {name}": lambda memory, make=make: memory.cache(plain)(make())
        for name, make in ARGUMENTS.items()
    },
    "plain": _cached(plain, 1),
    "plain by position": _cached(plain, 1, 7),
    "plain by name": _cached(plain, y=7, x=2),
    "plain, default given": _cached(plain, 33, y=1),
    "nothing": _cached(nothing),
    "defaults": _cached(with_defaults, 1),
    "defaults, some": _cached(with_defaults, 1, d=4, e="other"),
    "keywords only": _cached(keywords_only, a=1),
    "keywords only, others": _cached(keywords_only, z=3, a=1, c=[2]),
    "everything": _cached(everything, 1),
    "everything, more": _cached(everything, 1, 2, [3], b=4, c=5, d={"x": 1}),
    "annotated": _cached(annotated, 1),
    "ignoring": _cached(ignoring, 1, verbose=3, ignore_=["verbose"]),
    "ignoring more": _cached(ignoring, 1, 2, 3, k=4, ignore_=["*", "**", "verbose"]),
    "array": _cached(of_array, np.arange(6.0).reshape(2, 3)),
    "array in Fortran order": _cached(of_array, np.arange(6).reshape(2, 3).T, factor=3),
    "arrays made": _cached(arrays_made, 3),
    "asynchronous": _cached(asynchronous, 4),
    "asynchronous by name": _cached(asynchronous, y=4, x=1),
    "hidden": _cached(_hidden, 5),
    "named with accents": _cached(été, 2),
    "calls itself": _cached(calls_itself, 3),
    "method": _cached(Base(10).method, 7),
    "method by name": _cached(Base([1]).method, y=7, x=3),
    "method of arrays": _cached(Base(np.arange(3)).method, np.eye(2)),
    "method, ignoring self": _cached(Base(np.arange(3)).method, 9, ignore_=["self"]),
    "method inherited": _cached(Derived(1).method, 3),
    "method, asynchronous": _cached(Base(1).later, 3),
    "method of class": _cached(Base.of_class, 3),
    "method of derived class": _cached(Derived.of_class, 3),
    "method of instance's class": _cached(Base(1).of_class, 5),
    "method, static": _cached(Base.static, 3),
    "method of inner class": _cached(Base.Inner().method, 3),
    "method with super": _cached(Derived(1).overridden, 3),
    "method unbound": _cached(Base.method, Base(2), 3),
    "method cached by itself": lambda memory: WithCache(memory, 3).compute(4),
    "local": _cached(_make_local(), 3),
    "by eval": lambda memory: memory.eval(plain, 1, y="eval"),
    "by call": lambda memory: memory.cache(plain).call(1, y="call")[0],
    "shelved": lambda memory: memory.cache(plain).call_and_shelve(1, y="s").get(),
    "validated": _cached(
        plain, 1, y="validated", cache_validation_callback_=lambda metadata: True
    ),
    "twice": lambda memory: [memory.cache(plain)(k, y="twice") for k in (1, 1, 1)],
}
#: calls whose keys hold more than upstream's, as CHANGES.rst has it
CALLS_OF_OUR_OWN = {
    "lambda": _cached(a_lambda, 3),
    "closure": _cached(_make_closure(10), 3),
    "decorated": _cached(decorated, 3),
    "partial": _cached(functools.partial(plain, 3), y=4),
    # Upstream takes arguments for others here, or refuses them.
    "positions only": _cached(positions_only, 1),
}
EVERY_CALL = {**CALLS_ALIKE, **CALLS_OF_OUR_OWN}


def _memory(location, **options):
    """Make a cache as a new process would."""
    # Upstream looks at a function's code but once, whichever caches it is put into.
    joblib.memory._FUNCTION_HASHES.clear()
    return joblib.Memory(location, verbose=0, **options)


async def _wait(awaitable):
    return await awaitable


def _finished(result):
    return asyncio.run(_wait(result)) if inspect.isawaitable(result) else result


def perform(location, names, **options):
    """Do calls; return, by name, which functions ran and what came back."""
    found = {}
    for name in names:
        CALLS.clear()
        memory = _memory(location, **options)
        result = describe(_finished(EVERY_CALL[name](memory)))
        found[name] = [list(CALLS), result]
    return found


def entries(location):
    """Return the paths of entries below a cache, and the code that is kept."""
    root = Path(location)
    return {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        if path.name == "func_code.py"
        else ""
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".gitignore"
    }


def is_cached(location):
    """Ask of some calls whether they are in the cache."""
    memory = _memory(location)
    cached = memory.cache(plain)
    CALLS.clear()
    asked = [
        cached.check_call_in_cache(1),
        cached.check_call_in_cache(1, y=1),
        cached.check_call_in_cache("not there"),
        memory.cache(Base(10).method).check_call_in_cache(7),
        memory.cache(Base(11).method).check_call_in_cache(7),
        memory.cache(asynchronous).check_call_in_cache(4),
        memory.cache(ignoring, ignore=["verbose"]).check_call_in_cache(1, 55),
    ]
    return [asked, list(CALLS)]


def shelve(location, path, how):
    """Pickle a reference to a result, or what makes one, into a file."""
    memory = _memory(location)
    function = memory.cache(arrays_made)
    made = {
        "reference": lambda: function.call_and_shelve(3),
        "function": lambda: function,
        "asynchronous function": lambda: memory.cache(asynchronous),
        "memory": lambda: memory,
    }[how]()
    if "function" in how:
        _finished(made(3))
    Path(path).write_bytes(pickle.dumps(made))


def unshelve(path):
    """Use what `shelve` pickled; return what ran and what came back."""
    CALLS.clear()
    made = pickle.loads(Path(path).read_bytes())
    if hasattr(made, "get"):
        result = [made.get(), made.func_id, made.args_id, made.duration >= 0]
    elif hasattr(made, "cache"):
        result = made.cache(arrays_made)(3)
    else:
        result = _finished(made(3))
    return [list(CALLS), describe(result)]


def clear(location, what):
    """Remove what there is, or a part of it."""
    memory = _memory(location)
    if what == "all":
        memory.clear(warn=False)
    elif what == "function":
        memory.cache(plain).clear(warn=False)
    elif what == "entry":
        memory.cache(plain).call_and_shelve(1).clear()
    elif what == "items":
        memory.reduce_size(items_limit=3)
    elif what == "bytes":
        memory.reduce_size(bytes_limit=0)
    elif what == "age":
        memory.reduce_size(age_limit=datetime.timedelta(days=1))
    elif what == "old":
        memory.reduce_size(age_limit=datetime.timedelta(0))
    else:
        raise ValueError(what)


def grow_old(location, days):
    """Make entries look as if they were last used long ago."""
    for path in Path(location).rglob("*.*"):
        then = path.stat().st_mtime - days * 86400
        os.utime(path, (then, then))


def perform_source(location, path, argument):
    """Cache the function `work` of a source file; return what came and if it ran."""
    name = "cached_from_source"
    # As a new process would see it.
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    source = Path(path).read_text("utf-8")
    exec(compile(source, path, "exec"), module.__dict__)
    return [_memory(location).cache(module.work)(argument), len(module.RAN)]
