"""Find the part of an object that keeps it from being pickled: ``args[0]['a'].lock``."""

from __future__ import annotations

import copyreg
import functools
import time
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

#: seconds that the search may take, for objects that are slow to pickle
PATIENCE = 2.0
#: parts within parts
DEEPEST = 50

Part = tuple[str, Any]


def find_culprit(
    parts: Iterator[Part], fails: Callable[[Any], bool], patience: float = PATIENCE
) -> Part | None:
    """Return the innermost part that can't be pickled, with the path to it.

    Parameters
    ----------
    parts : iterator of tuple
        The outermost parts, each a path and an object.
    fails : callable
        Tells whether an object can't be pickled.
    patience : float, default=2.0
        Seconds after which what was found by then has to do.

    Returns
    -------
    tuple or None
        The path and the object; None if each part by itself can be pickled.
    """
    deadline = time.monotonic() + patience
    found: Part | None = None
    seen: set[int] = set()
    for _ in range(DEEPEST):
        inner = None
        for path, obj in parts:
            if time.monotonic() > deadline:
                return found
            if id(obj) not in seen and fails(obj):
                inner = path, obj
                break
        if inner is None:
            return found
        found = inner
        seen.add(id(found[1]))
        parts = _parts(*found)
    return found


def parts_of_tasks(tasks: Any) -> Iterator[Part]:
    """Yield what tasks are made of: ``(function, args, kwargs)`` each."""
    for function, args, kwargs in tasks:
        for index, arg in enumerate(args):
            yield f"args[{index}]", arg
        for name, arg in kwargs.items():
            yield f"kwargs[{name!r}]", arg
        yield "the function", function


def parts_of_results(results: Any) -> Iterator[Part]:
    """Yield the results of a batch."""
    if not isinstance(results, list):
        yield "the result", results
        return
    for result in results:
        yield "the result", result


def _parts(path: str, obj: Any) -> Iterator[Part]:
    """Yield the parts of an object as a pickler would come upon them."""
    if isinstance(obj, (list, tuple)):
        for index, part in enumerate(obj):
            yield f"{path}[{index}]", part
    elif isinstance(obj, dict):
        for key, part in obj.items():
            yield f"{path}[{key!r:.40}]", part
        for key in obj:
            yield f"a key of {path}", key
    elif isinstance(obj, (set, frozenset)):
        for part in obj:
            yield f"an element of {path}", part
    elif isinstance(obj, FunctionType):
        yield from _parts_of_function(path, obj)
    elif isinstance(obj, MethodType):
        yield f"{path}.__self__", obj.__self__
        yield f"{path}.__func__", obj.__func__
    elif isinstance(obj, functools.partial):
        yield f"{path}.func", obj.func
        yield from _parts(f"{path}.args", obj.args)
        yield from _parts(f"{path}.keywords", obj.keywords)
    elif not isinstance(obj, type):
        yield from _parts_of_state(path, obj)


def _parts_of_function(path: str, function: FunctionType) -> Iterator[Part]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"{name!r} in the closure of {path}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from _parts(f"{path}.__defaults__", function.__defaults__ or ())
    yield from _parts(f"{path}.__kwdefaults__", function.__kwdefaults__ or {})
    for name in code.co_names:
        if name in function.__globals__:
            yield f"{name!r} in the globals of {path}", function.__globals__[name]


def _parts_of_state(path: str, obj: Any) -> Iterator[Part]:
    reduce = copyreg.dispatch_table.get(type(obj))
    try:
        reduced = obj.__reduce_ex__(4) if reduce is None else reduce(obj)
    except Exception:  # it is the culprit itself
        return
    if not isinstance(reduced, tuple):
        return
    known: tuple[Any, ...] = (*reduced, None, None, None, None)
    args, state, items, pairs = known[1:5]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state = {**(state[0] or {}), **state[1]}  # of __slots__
    if isinstance(state, dict):
        for name, part in state.items():
            yield f"{path}.{name}" if isinstance(name, str) else path, part
    elif state is not None:
        yield f"the state of {path}", state
    for index, part in enumerate(items or ()):
        yield f"{path}[{index}]", part
    for key, part in pairs or ():
        yield f"{path}[{key!r:.40}]", part
    for part in args or ():
        yield f"what {path} is made from", part
