"""How tasks and results are pickled: plainly where that will do, else by cloudpickle."""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import cloudpickle

Reducers = Mapping[type, Callable[[Any], Any]]
#: what an object is called in pickles instead of being in them; None for most
NameOf = Callable[[Any], "str | None"]

_MAIN_NAMES = ("__main__", "__mp_main__")
_IN_FULL = tuple(name.encode() for name in _MAIN_NAMES)


def _reachable_in_main(obj: Any) -> bool:
    """Whether the main module has `obj` under its own name."""
    found: Any = sys.modules.get(obj.__module__)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


class _PlainPickler(pickle.Pickler):
    """Pickles what has a name by its name."""

    name_of: NameOf

    def persistent_id(self, obj: Any) -> Any:
        return self.name_of(obj)


class TaskPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what travels between processes.

    Parameters
    ----------
    file : file object
        Where the pickle is written.
    reducers : mapping of type to callable
        How to reduce objects of certain types, before any other way.
    main_by_reference : bool, default=False
        Whether the workers have the caller's main module, so that functions
        and classes of it are named and not sent. It keeps the module's globals
        (which may be large) out of the pickle.
    """

    def __init__(
        self, file: io.BytesIO, reducers: Reducers, main_by_reference: bool = False
    ) -> None:
        # read by the base class when it is initialised, hence set before
        self.dispatch_table = ChainMap(
            dict(reducers), _shared_reducers(), cloudpickle.Pickler.dispatch_table
        )
        self._main_by_reference = main_by_reference
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)

    def reducer_override(self, obj: Any) -> Any:
        if (
            self._main_by_reference
            and isinstance(obj, (FunctionType, type))
            and obj.__module__ in _MAIN_NAMES
            and _reachable_in_main(obj)
        ):
            return NotImplemented
        return super().reducer_override(obj)


class _NamingTaskPickler(TaskPickler):
    """Pickles what has a name by its name."""

    name_of: NameOf

    def persistent_id(self, obj: Any) -> Any:
        return self.name_of(obj)


def _shared_reducers() -> dict[type, Any]:
    """Return the reducers for pipes, sockets and the like, those of loky."""
    reduction = sys.modules.get("loky.backend.reduction")
    if reduction is not None:
        return getattr(reduction, "_dispatch_table", {})
    from multiprocessing.reduction import ForkingPickler

    return getattr(ForkingPickler, "_extra_reducers", {})


class _NotPlain(Exception):
    """Something has to be pickled by cloudpickle."""


class _CheckingPickler(pickle.Pickler):
    """Pickles plainly, and raises where that would name the main module."""

    name_of: NameOf | None = None

    def reducer_override(self, obj: Any) -> Any:
        # asked about functions, classes, and whatever is not of a built-in type
        if getattr(obj, "__module__", None) in _MAIN_NAMES:
            raise _NotPlain
        return NotImplemented


class _NamingCheckingPickler(_CheckingPickler):
    """Pickles what has a name by its name."""

    def persistent_id(self, obj: Any) -> Any:
        assert self.name_of is not None
        return self.name_of(obj)


def _dump_plainly(
    kind: type[pickle.Pickler],
    obj: Any,
    reducers: Reducers,
    name_of: NameOf | None,
) -> bytes | None:
    buffer = io.BytesIO()
    pickler: Any = kind(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {
        **copyreg.dispatch_table,
        **_shared_reducers(),
        **reducers,
    }
    if name_of is not None:
        pickler.name_of = name_of
    try:
        pickler.dump(obj)
    except Exception:  # told again by cloudpickle, if it can't do better
        return None
    return buffer.getvalue()


def _plainly(
    obj: Any, reducers: Reducers, main_by_reference: bool, name_of: NameOf | None
) -> bytes | None:
    """Pickle without cloudpickle, in a tenth of the time; None if that won't do.

    It won't if plain pickle fails, or names something that the other process
    would look for in vain: what lives in the main module, or in a module that
    the user wants sent by value.
    """
    global _names_main
    if cloudpickle.list_registry_pickle_by_value():
        return None
    if not _names_main or main_by_reference:
        plain = pickle.Pickler if name_of is None else _PlainPickler
        data = _dump_plainly(plain, obj, reducers, name_of)
        # Whatever is named is named in full.
        if main_by_reference or data is None or not _may_name_main(data):
            return data
    # It may be but a text that looks so, as filters of warnings have. Either way those
    # that come next will have it, too, and need not be pickled to know.
    checking = _CheckingPickler if name_of is None else _NamingCheckingPickler
    data = _dump_plainly(checking, obj, reducers, name_of)
    _names_main = data is None or _may_name_main(data)
    return data


def _may_name_main(data: bytes) -> bool:
    return any(name in data for name in _IN_FULL)


#: whether the last pickle had the main module's name in it
_names_main = False


def dumps(
    obj: Any,
    reducers: Reducers,
    main_by_reference: bool = False,
    name_of: NameOf | None = None,
) -> bytes:
    """Pickle `obj`, with the pickler that `loky.set_loky_pickler` asked for.

    Parameters
    ----------
    obj : object
    reducers, main_by_reference
        See `TaskPickler`.
    name_of : callable, optional
        Asked about each object; what it has a name for is pickled as that name, to
        be read by an unpickler that knows it. The user's own pickler never asks.

    Returns
    -------
    bytes
    """
    reduction = sys.modules.get("loky.backend.reduction")
    if reduction is not None and reduction.get_loky_pickler_name() != "cloudpickle":
        buffer = io.BytesIO()
        reduction.dump(obj, buffer, dict(reducers), pickle.HIGHEST_PROTOCOL)
        return buffer.getvalue()
    data = _plainly(obj, reducers, main_by_reference, name_of)
    if data is None:
        buffer = io.BytesIO()
        if name_of is None:
            pickler = TaskPickler(buffer, reducers, main_by_reference)
        else:
            pickler = _NamingTaskPickler(buffer, reducers, main_by_reference)
            pickler.name_of = name_of
        pickler.dump(obj)
        data = buffer.getvalue()
    return data
