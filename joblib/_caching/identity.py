"""Which function a result belongs to: its location, and what of it goes into the key.

The key of an ordinary function is made of its arguments alone. Where functions share a
location and yet compute different things, what tells them apart joins the key:

========================  ====================================================
lambda                    its code, as all lambdas of a module have one name
`functools.partial`       the arguments it holds
closure                   the values it closes over, as far as they are constant
========================  ====================================================

A closed-over list, dict or object is taken for state that the function works on, not
for part of the function: it does not count. Arrays do, with their contents at the time
of the first call.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import os
import pathlib
import re
import sys
import types
import uuid
import weakref
from typing import Any

from .._func_source import code_digest, get_func_code
from ..func_inspect import get_func_name

_CONSTANT_TYPES = (
    type(None),
    type(...),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    re.Pattern,
    enum.Enum,
    uuid.UUID,
    pathlib.PurePath,
    decimal.Decimal,
    fractions.Fraction,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
)
_LAMBDA = "<lambda>"

CodeInfo = tuple[str, "str | None", int]

# Source is read once: the file may change while the function lives on as it was.
_code_infos: weakref.WeakKeyDictionary[Any, tuple[Any, CodeInfo]] = (
    weakref.WeakKeyDictionary()
)


def _build_func_identifier(func: Any) -> str:
    """Build the location of a function below the root of a store.

    Parameters
    ----------
    func : callable

    Returns
    -------
    str
        Module, classes and name as a relative path. Partial objects of one function
        share a location beside its own.
    """
    if isinstance(func, functools.partial):
        return f"{_build_func_identifier(func.func)}-partial"
    path, name = get_func_name(func)
    return os.path.join(*path, name)


def get_code_info(func: Any) -> CodeInfo:
    """Get code, file and first line of a function, of a partial object's function.

    Parameters
    ----------
    func : callable

    Returns
    -------
    code : str
    source_file : str or None
    first_line : int
        As by `joblib.func_inspect.get_func_code`.
    """
    if isinstance(func, functools.partial):
        return get_code_info(func.func)
    code = getattr(func, "__code__", None)
    try:
        known = _code_infos.get(func)
        if known is not None and known[0] is code:
            return known[1]
    except TypeError:  # cannot be hashed, or has no weak references
        return get_func_code(func)
    info = get_func_code(func)
    try:
        _code_infos[func] = (code, info)
    except TypeError:
        pass
    return info


def needs_more_key(func: Any) -> bool:
    """Tell whether more than the arguments may belong to the keys of a function."""
    return (
        getattr(func, "__closure__", None) is not None
        or getattr(func, "__name__", None) == _LAMBDA
        or isinstance(func, functools.partial)
    )


def has_code_in_key(func: Any) -> bool:
    """Tell whether the code itself belongs to the keys of a function."""
    if isinstance(func, functools.partial):
        return has_code_in_key(func.func)
    return getattr(func, "__name__", None) == _LAMBDA


def more_key(func: Any) -> dict[str, Any]:
    """Collect what belongs to the keys of a function besides the arguments.

    Parameters
    ----------
    func : callable

    Returns
    -------
    dict
        By names that no parameter can have; empty for an ordinary function.
    """
    more: dict[str, Any] = {}
    if isinstance(func, functools.partial):
        more.update(more_key(func.func))
        more["<partial>"] = [list(func.args), func.keywords]
        return more
    if getattr(func, "__name__", None) == _LAMBDA:
        more["<code>"] = _code_text(func)
    closure = _closure_text(func, set())
    if closure:
        more["<closure>"] = hashlib.md5(
            closure.encode("utf-8", "backslashreplace"), usedforsecurity=False
        ).hexdigest()
    return more


def closed_over(func: Any) -> tuple[Any, ...]:
    """Return the objects that a function closes over, to compare them by identity."""
    values = []
    for cell in getattr(func, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            values.append(cell)
    return tuple(values)


def _code_text(func: Any) -> str:
    """Return the code of a function: its source where that is all there is to it."""
    code, _, first_line = get_code_info(func)
    if func.__name__ == _LAMBDA and (first_line == -1 or code.count("lambda") != 1):
        # Several on one line have one source: what they were compiled to differs.
        return code_digest(func.__code__)
    return code


def _closure_text(func: Any, seen: set[int]) -> str:
    names = getattr(getattr(func, "__code__", None), "co_freevars", ())
    parts = []
    for name, value in zip(names, closed_over(func), strict=False):
        if (
            name == "__class__"
        ):  # of `super()`: where the method stands, not what it does
            continue
        text = _constant_text(value, seen)
        if text is not None:
            parts.append(f"{name}={text}")
    return ";".join(parts)


def _constant_text(value: Any, seen: set[int]) -> str | None:
    """Write a value such that equal constants give equal text; None for the rest."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, _CONSTANT_TYPES):
        return f"{kind}:{value!r}"
    if isinstance(value, (tuple, frozenset)):
        texts = [_constant_text(part, seen) for part in value]
        known = [text for text in texts if text is not None]
        if len(known) < len(texts):
            return None
        if isinstance(value, frozenset):  # their order depends on the hash salt
            known.sort()
        return f"{kind}:({','.join(known)})"
    if isinstance(value, type):
        return f"class:{value.__module__}.{value.__qualname__}"
    if isinstance(value, (types.FunctionType, types.MethodType)):
        return _function_text(value, seen)
    if isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
        return f"{kind}:{getattr(value, '__module__', '')}.{value.__name__}"
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, *sorted(value.keywords.items()))
        return _constant_text(parts, seen)
    return _array_text(value, kind)


def _function_text(func: Any, seen: set[int]) -> str:
    plain = getattr(func, "__func__", func)
    name = f"{plain.__module__}.{plain.__qualname__}"
    if id(plain) in seen:  # it closes over itself
        return f"function:{name}"
    seen.add(id(plain))
    defaults = [
        f"{key}={_constant_text(value, seen)}"
        for key, value in (
            *enumerate(plain.__defaults__ or ()),
            *sorted((plain.__kwdefaults__ or {}).items()),
        )
    ]
    return (
        f"function:{name}:{_code_text(plain)}:{','.join(defaults)}:"
        f"{_closure_text(plain, seen)}"
    )


def _array_text(value: Any, kind: str) -> str | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    if value.dtype.hasobject:
        return None
    from .. import hashing

    return f"{kind}:{hashing.hash(value, coerce_mmap=True)}"
