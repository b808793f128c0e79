"""Which function a result belongs to: its location, and what of it goes into the key.

The key of an ordinary function is made of its arguments alone. Where functions share a
location and yet compute different things, what tells them apart joins the key:

========================  ====================================================
lambda                    its code, as all lambdas of a module have one name
closure                   what the values it closes over consist of
`functools.partial`       its function, and the arguments it holds
bound builtin method,     what the object consists of
callable object
========================  ====================================================

Objects that are closed over, or held, may change. Changes count, but for those that
the function itself makes while it runs: these are what it does, not what it is. They
are told by looking at the objects before and after.
"""

from __future__ import annotations

import functools
import os
import types
import weakref
from typing import Any

from ..func_inspect import get_func_name
from .closures import Usage, usage_of
from .codetext import as_function, function_text, is_lambda
from .content import Content, closed_over

_OBJECT = "<object>"  # a name that no variable can have


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
    if not hasattr(func, "__name__"):
        func = as_function(func)
    path, name = get_func_name(func)
    return os.path.join(*path, name)


def has_code_in_key(func: Any) -> bool:
    """Tell whether the code itself belongs to the keys of a function."""
    if isinstance(func, functools.partial):
        return has_code_in_key(func.func)
    return is_lambda(func)


class _Held:
    """One value that a function closes over or holds."""

    __slots__ = ("_content", "_states", "_value")

    def __init__(self) -> None:
        self._value: Any = None
        self._content: Content | None = None
        # What it consisted of when last looked at, and what that counts as. Replaced
        # as a whole, for other threads.
        self._states: tuple[str, str] | None = None

    def look(self, value: Any, func: Any) -> str:
        """Return what counts of the value."""
        text = self._read(value, func)
        states = self._states
        if states is None or states[0] != text:
            states = self._states = (text, text)
        return states[1]

    def settle(self, value: Any, func: Any) -> None:
        """Take the changes since the last look for the function's own."""
        if self._states is not None:
            self._states = (self._read(value, func), self._states[1])

    def _read(self, value: Any, func: Any) -> str:
        content = self._content
        if content is not None and value is self._value and content.still_holds():
            return content.text
        content = Content(value, opened=value is func)
        # What refers to the function must not be kept: that would keep the function.
        keep = content.can_hold() and not content.has_seen(func)
        self._value, self._content = (value, content) if keep else (None, None)
        return content.text


class FunctionState:
    """What belongs to the keys of a function besides the arguments."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def text(self, func: Any) -> str:
        """Return what tells results apart, as things are now; empty if nothing does."""
        parts = [] if not _is_plain_lambda(func) else [function_text(func)]
        for name, value, _ in _values(func):
            held = self._held.setdefault(name, _Held())
            parts.append(f"{name}={held.look(value, func)}")
        return ";".join(parts)

    def settle(self, func: Any) -> None:
        """Take what changed while the function ran for its own doing."""
        for name, value, may_change in _values(func):
            held = self._held.get(name)
            if may_change and held is not None:
                held.settle(value, func)


_states: weakref.WeakKeyDictionary[Any, FunctionState] = weakref.WeakKeyDictionary()


def function_state(func: Any) -> FunctionState | None:
    """Return what of a function belongs to its keys, one for each function.

    Parameters
    ----------
    func : callable

    Returns
    -------
    FunctionState or None
        None for an ordinary function: the arguments are all there is.
    """
    if (
        getattr(func, "__closure__", None) is None
        and not is_lambda(func)
        and _held_object(func) is None
    ):
        return None
    plain = getattr(func, "__func__", func)
    if isinstance(plain, (types.FunctionType, functools.partial)):
        return _states.setdefault(plain, FunctionState())
    return FunctionState()  # cannot be relied on to be told from others by `==`


def _is_plain_lambda(func: Any) -> bool:
    return isinstance(func, types.FunctionType) and is_lambda(func)


def _values(func: Any) -> list[tuple[str, Any, bool]]:
    """List what is closed over or held, and whether the function may change it."""
    held = _held_object(func)
    if held is not None:
        return [(_OBJECT, held, True)]
    plain = getattr(func, "__func__", func)
    values = []
    for name, value in closed_over(plain):
        usage = usage_of(plain, name, value)
        if usage is not Usage.WRITTEN:
            values.append((name, value, usage is Usage.EITHER))
    return values


def _held_object(func: Any) -> Any:
    """Return the object that a callable which is no function works on; None if none."""
    if isinstance(func, (types.FunctionType, types.MethodType)):
        return None
    if isinstance(func, (types.BuiltinFunctionType, types.MethodWrapperType)):
        owner = func.__self__
        return None if isinstance(owner, types.ModuleType) else owner
    if isinstance(func, functools.partial) or as_function(func) is not func:
        return func
    if isinstance(func, type):
        return func if "<locals>" in func.__qualname__ else None
    return getattr(func, "__wrapped__", None)  # as of functools.lru_cache
