"""The key of a call: a hash of what tells its result from others."""

from __future__ import annotations

import functools
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from .. import hashing
from ..func_inspect import filter_args
from . import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Call:
    """One call of a cached function.

    Parameters
    ----------
    call_id : tuple of two str
        Location of the function in the store, and key of the call.
    args, kwargs
        The arguments.
    """

    __slots__ = ("args", "id", "kwargs")

    def __init__(
        self, call_id: tuple[str, str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.id = call_id
        self.args = args
        self.kwargs = kwargs


class CallKeys:
    """How the calls of one function are told apart.

    Parameters
    ----------
    func : callable
    func_id : str
        What the function is called in an error.
    ignore : list of str
        Parameters whose values do not tell calls apart.
    coerce_mmap : bool
        Whether memory-mapped arrays count as equal to arrays in memory.
    """

    __slots__ = (
        "_closure",
        "_coerce_mmap",
        "_func_id",
        "_needs_more",
        "func",
        "ignore",
    )

    def __init__(
        self, func: Any, func_id: str, ignore: Sequence[str], coerce_mmap: bool
    ) -> None:
        self.func = func
        self.ignore = ignore
        self._func_id = func_id
        self._coerce_mmap = coerce_mmap
        self._needs_more = identity.needs_more_key(func)
        # What was closed over when it was looked at, and its part of the key.
        self._closure: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the values that count, by parameter."""
        return filter_args(self.func, self.ignore, args, kwargs)

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the key of a call, a name for its place in the store."""
        parts = filter_args(self.func, self.ignore, args, kwargs)
        if self._needs_more:
            parts.update(self._more())
        return hash_key(parts, self._coerce_mmap, self._func_id)

    def _more(self) -> dict[str, Any]:
        """Return what else tells results apart, by names that no parameter can have."""
        if isinstance(self.func, functools.partial):
            return identity.more_key(self.func)  # what it holds may be changed in place
        closed_over = identity.closed_over(self.func)
        known = self._closure
        if known is not None and len(known[0]) == len(closed_over):
            pairs = zip(known[0], closed_over, strict=True)
            if all(before is now for before, now in pairs):
                return known[1]
        more = identity.more_key(self.func)
        self._closure = (closed_over, more)
        return more


def hash_key(key: Mapping[str, Any], coerce_mmap: bool, func_id: str) -> str:
    """Hash what tells a call from others.

    Parameters
    ----------
    key : mapping
        Values by parameter.
    coerce_mmap : bool
        Whether memory-mapped arrays count as equal to arrays in memory.
    func_id : str
        What the function is called in an error.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    PicklingError, TypeError, AttributeError, ValueError
        Of the kind that the argument caused which cannot be hashed; it names it.
    """
    try:
        return str(hashing.hash(key, coerce_mmap=coerce_mmap))
    except Exception as error:
        _raise_naming_argument(key, coerce_mmap, func_id, error)
        raise


def _raise_naming_argument(
    key: Mapping[str, Any], coerce_mmap: bool, func_id: str, error: Exception
) -> None:
    def fails(value: Any) -> bool:
        try:
            hashing.hash(value, coerce_mmap=coerce_mmap)
        except Exception:
            return True
        return False

    name = next((name for name, value in key.items() if fails(value)), None)
    if name is None:
        return
    message = (
        f"Argument {name!r} of {func_id} cannot be hashed, which caching needs: it is of "
        f"type {type(key[name]).__name__} ({error}). Arguments that do not change the "
        "result can be named in Memory.cache(ignore=[...])."
    )
    for kind in (PicklingError, TypeError, AttributeError, ValueError):
        if isinstance(error, kind):
            raise kind(message) from error
