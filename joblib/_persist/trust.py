"""The allow-list of `load`: which names a file may use, and for what.

A name is judged before anything is imported for it. Names of the list are taken as
they are; patterns take types whose own module is really in the package, and the few
functions that such packages rebuild their objects with; Python's and numpy's own are
in tables of their own, which come first.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

from . import trust_libraries
from .trust_numpy import rule_for_numpy
from .trust_values import Context, Grant, Rule, calling, rule_for_python

_DESCRIPTIONS = {
    "joblib.numpy_pickle.NumpyArrayWrapper": "NumpyArrayWrapper",
    "joblib.numpy_pickle.NDArrayWrapper": "NDArrayWrapper",
    "joblib.numpy_pickle.ZNDArrayWrapper": "ZNDArrayWrapper",
    "joblib.numpy_pickle_compat.NDArrayWrapper": "NDArrayWrapper",
    "joblib.numpy_pickle_compat.ZNDArrayWrapper": "ZNDArrayWrapper",
}
_ALLOWED = (
    'types and functions, full names ("package.module.Name") and patterns of packages '
    '("package.*"), or an iterable of these'
)


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _parse_text(item: str) -> tuple[str, str]:
    """Return ("module", name) for a pattern, ("name", name) for a full name."""
    bare, star, rest = item.partition(".*")
    if not item or "." not in item or rest or not _is_dotted_name(bare):
        raise ValueError(
            f"trusted= got {item!r}; allowed are {_ALLOWED}. To trust everything, "
            "leave trusted out: loading then runs whatever the file says."
        )
    if not star:
        return "name", bare
    top = bare.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise ValueError(
            f"trusted= got {item!r}, a pattern of Python's own modules, which hold "
            "much that runs code; what is safe of them is always trusted. Name the "
            f'types instead, such as "{bare}.Name".'
        )
    return "module", bare


def _name_of(obj: Any) -> str | None:
    module = getattr(obj, "__module__", None)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return f"{module}.{name}"


def _look_up(module: Any, path: str) -> Any:
    """Return what a module has under a path, running none of its code; else None."""
    found: Any = module
    for part in path.split("."):
        if found is not module and not isinstance(found, type):
            return None
        found = inspect.getattr_static(found, part, None)
    if isinstance(found, (staticmethod, classmethod)):
        return None
    return found


def _find(module_name: str, path: str) -> Any:
    """Import a module that is trusted, and return what it has under a path."""
    module = importlib.import_module(module_name)
    first, _, rest = path.partition(".")
    try:
        found = getattr(module, first)
    except AttributeError:
        # Of the file, not of the module: it may be of another version.
        raise AttributeError(f"{module_name} has no {first!r}") from None
    for part in rest.split(".") if rest else ():
        if not isinstance(found, type):
            return None
        found = inspect.getattr_static(found, part, None)
    return found


def _find_full(name: str) -> Any:
    module, _, last = name.rpartition(".")
    if module.startswith("numpy._core") and not hasattr(
        importlib.import_module("numpy"), "_core"
    ):
        module = module.replace("numpy._core", "numpy.core", 1)
    return getattr(importlib.import_module(module), last)


def _has_own_reduction(cls: Any) -> bool:
    import copyreg

    return (
        cls in copyreg.dispatch_table
        or cls.__reduce__ is not object.__reduce__
        or cls.__reduce_ex__ is not object.__reduce_ex__
    )


def _is_array_class(cls: type) -> bool:
    np: Any = sys.modules.get("numpy")
    return np is not None and issubclass(cls, (np.ndarray, np.generic))


def _member(cls: Any) -> Callable[..., Any]:
    """The call of an enumeration: one of its members, never a new enumeration."""

    def call(context: Context, value: Any) -> Any:
        return cls(value)

    return call


def _rule_for_type(cls: type, in_full: bool) -> Rule | None:
    """What may be done with a type of the list; None if nothing.

    Parameters
    ----------
    cls : type
        The type.
    in_full : bool
        It stands in the list by itself, not by a pattern. Then it may be called.
    """
    if issubclass(cls, type) or _is_array_class(cls):
        # Types of types make types with any methods; arrays are made otherwise.
        return Rule() if in_full or not issubclass(cls, type) else None
    if issubclass(cls, enum.Enum):
        return Rule(call=_member(cls))
    if in_full:
        return Rule(make=True, call=calling(cls))
    if hasattr(cls, "__del__") or issubclass(cls, io.IOBase):
        # A finalizer runs on whatever state the file has given the object.
        return None
    if trust_libraries.is_excluded(cls):
        return None
    # Only classes that are pickled as a call of theirs may be called: constructors
    # of others open files, start threads.
    called = calling(cls) if _has_own_reduction(cls) else None
    return Rule(make=True, call=called)


class Policy:
    """What a call of `load` trusts.

    Parameters
    ----------
    trusted : str, type, function or iterable of these
        As given to `load`.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """

    def __init__(self, trusted: Any) -> None:
        self._names: set[str] = set()
        self._modules: set[str] = set()
        self._objects: dict[str, list[Any]] = {}
        items: Iterable[Any]
        if isinstance(trusted, (str, type)) or callable(trusted):
            items = (trusted,)
        else:
            try:
                items = tuple(trusted)
            except TypeError:
                items = ()
                self._reject(trusted)
            if isinstance(trusted, (bytes, bytearray)):
                self._reject(trusted)
        for item in items:
            self._add(item)

    @staticmethod
    def _reject(item: Any) -> None:
        raise TypeError(
            f"trusted= got {item!r} of type {type(item).__name__}; allowed are "
            f"{_ALLOWED}."
        )

    def _add(self, item: Any) -> None:
        if isinstance(item, str):
            kind, text = _parse_text(item)
            (self._modules if kind == "module" else self._names).add(text)
            return
        name = _name_of(item) if callable(item) else None
        bound = getattr(item, "__self__", None)
        if name is None and type(item).__name__ == "ufunc":
            name = f"numpy.{item.__name__}"
        if name is None or (bound is not None and not inspect.ismodule(bound)):
            self._reject(item)
        else:
            self._objects.setdefault(name, []).append(item)

    def _covers(self, module: Any) -> bool:
        """Whether a pattern covers a module."""
        if not isinstance(module, str):
            return False
        return any(
            module == one or module.startswith(one + ".") for one in self._modules
        )

    def judge(self, module: str, path: str) -> Grant | None:
        """Return the object that a file names, and what it may do with it.

        Parameters
        ----------
        module, path : str
            As the file has them.

        Returns
        -------
        Grant or None
            None if it is not trusted. Nothing was imported for it then.
        """
        name = f"{module}.{path}"
        if not _is_dotted_name(name):
            return None
        grant = rule_for_python(name, _find_full) or rule_for_numpy(name, _find_full)
        if grant is None and name in _DESCRIPTIONS:
            value = _find_full(f"joblib.numpy_pickle.{_DESCRIPTIONS[name]}")
            grant = Grant(name, value, Rule(make=True))
        if grant is None:
            grant = self._by_object(name, module, path)
        if grant is None and name in self._names:
            value = _find(module, path)
            grant = None if value is None else self._in_full(name, value)
        # Running a package's __main__ is what importing it does.
        if grant is None and "__main__" not in module.split(".")[1:]:
            home = trust_libraries.full_name_of(module)
            grant = self._by_pattern(name, home, path)
        return grant

    def _in_full(self, name: str, value: Any) -> Grant:
        if isinstance(value, type):
            return Grant(name, value, _rule_for_type(value, True) or Rule())
        rule = Rule(call=calling(value)) if callable(value) else Rule()
        return Grant(name, value, rule)

    def _by_object(self, name: str, module: str, path: str) -> Grant | None:
        named = self._objects.get(name)
        if named is not None and len(named) == 1:
            return self._in_full(name, named[0])
        if not self._objects or module not in sys.modules:
            return None
        # By another name: what is imported can be looked at, and no code runs.
        found = _look_up(sys.modules[module], path)
        for objects in self._objects.values():
            for obj in objects:
                if obj is found:
                    return self._in_full(name, obj)
        return None

    def _by_pattern(self, name: str, module: str, path: str) -> Grant | None:
        covered = self._covers(module)
        scipy = not covered and (
            trust_libraries.is_scipy_of_estimators(module, path)
            or trust_libraries.is_stored_scipy_function(name)
        )
        if not covered and not scipy:
            return None
        value = _find(module, path)
        if not isinstance(value, type):
            home = getattr(value, "__module__", None)
            home = trust_libraries.full_name_of(home)
            if "." in path or not (scipy or self._covers(home) or home is None):
                return None
            return trust_libraries.rule_for_function(name, value)
        if not self._is_defined(value, scipy):
            return None
        rule = _rule_for_type(value, False)
        return None if rule is None else Grant(name, value, rule)

    def _is_defined(self, cls: type, scipy: bool) -> bool:
        """Whether a type is defined where patterns cover it, not just imported there."""
        home = trust_libraries.full_name_of(cls.__module__)
        if not isinstance(home, str) or not _is_dotted_name(cls.__qualname__):
            return False
        if scipy:
            return home.startswith("scipy.") and trust_libraries.may_serve_estimators(
                cls
            )
        if not self._covers(home) or home not in sys.modules:
            return False
        return _look_up(sys.modules[home], cls.__qualname__) is cls
