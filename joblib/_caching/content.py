"""What a value consists of, as text: functions by their code, the rest by content.

Two values with the same text are the same to a function that works with them, in any
process. What cannot be looked into (a lock, an open file) is known by its type alone.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import pathlib
import re
import types
import uuid
from typing import Any

from .. import hashing
from .closures import Usage, usage_of
from .codetext import class_text, function_text, functions_of

_SHOWN_IN_FULL = frozenset(
    (type(None), type(...), bool, int, float, complex, str, bytes, range)
)
_IMMUTABLE = frozenset(
    (
        re.Pattern,
        uuid.UUID,
        pathlib.PosixPath,
        pathlib.WindowsPath,
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        decimal.Decimal,
        fractions.Fraction,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
    )
)
# Where things are cached and run is not what they are.
_PLACES = frozenset((("joblib.memory", "Memory"), ("joblib.parallel", "Parallel")))
_UNASSIGNED = "unassigned"


class Content:
    """The content of a value as it is now.

    Parameters
    ----------
    value : object
        Any object.
    with_classes : bool, default=False
        Count classes by their code even where they can be imported.
    opened : bool, default=False
        Look at the attributes of the value one by one, for functions among them to
        count by their code even where they can be imported.

    Attributes
    ----------
    text : str
    """

    __slots__ = ("_around", "_fixed", "_watched", "_with_classes", "text")

    def __init__(
        self, value: Any, with_classes: bool = False, opened: bool = False
    ) -> None:
        self._fixed = True
        self._watched: list[tuple[types.FunctionType, tuple[Any, ...]]] = []
        self._around: list[int] = []  # ids of what contains what is looked at
        self._with_classes = with_classes
        try:
            self.text = (self._describe_callable if opened else self._describe)(value)
        except RecursionError:
            # Like nothing else: computed anew rather than taken for another.
            self.text = f"endless:{uuid.uuid4()}"

    def can_hold(self) -> bool:
        """Tell whether it is worth asking whether this still holds."""
        return self._fixed

    def has_seen(self, func: Any) -> bool:
        """Tell whether a function was looked at."""
        return any(seen is func for seen, _ in self._watched)

    def still_holds(self) -> bool:
        """Tell whether the same value surely has the same content, without looking."""
        return self._fixed and all(
            _same(_parts(func), parts) for func, parts in self._watched
        )

    def _describe(self, value: Any) -> str:
        kind = type(value)
        if kind in _SHOWN_IN_FULL:
            return f"{kind.__name__}:{value!r}"
        if kind in _IMMUTABLE or isinstance(value, enum.Enum):
            return self._hash(value)
        if id(value) in self._around:
            return f"around:{self._around.index(id(value))}"
        self._around.append(id(value))
        try:
            return self._describe_compound(value, kind)
        finally:
            self._around.pop()

    def _describe_compound(self, value: Any, kind: type) -> str:
        if kind is types.FunctionType:
            return self._describe_function(value)
        if kind is types.MethodType:
            return f"of:{self._describe_all(value.__func__, value.__self__)}"
        if kind in (types.BuiltinFunctionType, types.MethodWrapperType):
            owner = value.__self__
            if owner is None or isinstance(owner, types.ModuleType):
                return f"builtin:{value.__module__}.{value.__qualname__}"
            return f"builtin:{value.__qualname__}:{self._describe(owner)}"
        if isinstance(value, types.ModuleType):
            return f"module:{value.__name__}"
        if isinstance(value, type):
            return self._describe_class(value)
        if getattr(kind, "_is_cached_function", False):
            return self._describe(value.func)
        if kind is functools.partial:
            keywords = [part for item in value.keywords.items() for part in item]
            # Its keywords are a dict, and its arguments any objects.
            self._fixed = False
            return f"partial:{self._describe_all(value.func, *value.args, *keywords)}"
        if kind in (tuple, frozenset):
            return self._describe_members(value)
        self._fixed = False
        if "__wrapped__" in (getattr(value, "__dict__", None) or ()):
            return self._describe_callable(value)  # as of functools.lru_cache
        return self._describe_object(value)

    def _describe_callable(self, value: Any) -> str:
        attributes = getattr(value, "__dict__", None)
        kinds = (types.FunctionType, types.MethodType, type, functools.partial)
        if not isinstance(attributes, dict) or isinstance(value, kinds):
            return self._describe(value)
        self._fixed = False
        texts = [
            f"{name}={self._describe(attributes[name])}"
            for name in sorted(attributes)
            if name == "__wrapped__" or not name.startswith("__")
        ]
        return f"{self._describe(type(value))}:({','.join(texts)})"

    def _describe_all(self, *values: Any) -> str:
        return f"({','.join(map(self._describe, values))})"

    def _describe_members(self, value: Any) -> str:
        texts = list(map(self._describe, value))
        if not isinstance(value, (tuple, list)):
            texts.sort()  # their order depends on the salt of hashes
        return f"{type(value).__name__}:({','.join(texts)})"

    def _describe_function(self, func: types.FunctionType) -> str:
        self._watched.append((func, _parts(func)))
        by_name = sorted((func.__kwdefaults__ or {}).items())
        if by_name:
            self._fixed = False  # a dict
        defaults = [
            f"{name}={self._describe(value)}"
            for name, value in (*enumerate(func.__defaults__ or ()), *by_name)
        ]
        closure = [
            f"{name}={self._describe(value)}"
            for name, value in closed_over(func)
            if usage_of(func, name, value) is not Usage.WRITTEN
        ]
        wrapped = func.__dict__.get("__wrapped__")
        if wrapped is not None:
            closure.append(self._describe(wrapped))
        return (
            f"function:{func.__module__}.{func.__qualname__}:{function_text(func)}:"
            f"({','.join(defaults)}):({','.join(closure)})"
        )

    def _describe_class(self, cls: type) -> str:
        if not (self._with_classes or _is_local(cls)):
            return f"class:{cls.__module__}.{cls.__qualname__}"
        self._fixed = False
        functions = [function for _, function in functions_of(cls)]
        return f"{class_text(cls)}:{self._describe_all(*functions)}"

    def _describe_object(self, value: Any) -> str:
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if any((base.__module__, base.__name__) in _PLACES for base in kind.__mro__):
            return f"object:{name}"
        try:
            return self._hash(value)
        except Exception:
            pass  # a function within, or what no process can hand to another
        if kind in (list, set):
            return self._describe_members(value)
        if kind is dict:
            return self._describe_items(value)
        if _is_local(kind):
            name = self._describe(kind)
        return f"object:{name}:{self._describe_state(value)}"

    def _describe_items(self, value: dict[Any, Any]) -> str:
        items = [
            f"{self._describe(key)}:{self._describe(item)}"
            for key, item in value.items()
        ]
        return f"dict:({','.join(sorted(items))})"

    def _describe_state(self, value: Any) -> str:
        """Describe what pickle would take an object apart into, before it failed."""
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:
            # A lock, an open file; or an object that holds one and says so.
            attributes = getattr(value, "__dict__", None)
            return self._describe(attributes) if isinstance(attributes, dict) else ""
        if isinstance(reduced, str):
            return reduced
        maker, arguments, state, members, items = (*reduced, None, None, None)[:5]
        return ":".join(
            (
                getattr(maker, "__qualname__", ""),
                # The first is the class itself, as a rule.
                self._describe_all(
                    *(one for one in arguments if one is not type(value))
                ),
                self._describe(state),
                self._describe_members(list(members or ())),
                self._describe_items(dict(items or ())),
            )
        )

    def _hash(self, value: Any) -> str:
        kind = type(value)
        digest = hashing.hash(value, coerce_mmap=True)
        return f"{kind.__module__}.{kind.__qualname__}:{digest}"


def closed_over(func: Any) -> list[tuple[str, Any]]:
    """Return the variables that a function closes over, with what they hold.

    The class that ``super()`` needs is left out: it says where a method stands, not
    what it does.
    """
    names = getattr(getattr(func, "__code__", None), "co_freevars", ())
    found = []
    for name, cell in zip(
        names, getattr(func, "__closure__", None) or (), strict=False
    ):
        if name != "__class__":
            try:
                found.append((name, cell.cell_contents))
            except ValueError:  # not assigned yet
                found.append((name, _UNASSIGNED))
    return found


def digest_of(text: str) -> str:
    """Return 32 hexadecimal digits that stand for a text."""
    content = text.encode("utf-8", "backslashreplace")
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _is_local(cls: type) -> bool:
    """Tell whether a class is made by a function, perhaps each time another."""
    return "<locals>" in cls.__qualname__


def _parts(func: types.FunctionType) -> tuple[Any, ...]:
    """Return what can be replaced in a function."""
    values = [value for _, value in closed_over(func)]
    return (func.__code__, func.__defaults__, *values)


def _same(parts: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(parts) == len(others) and all(
        part is other for part, other in zip(parts, others, strict=True)
    )
