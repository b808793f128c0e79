"""The RAM tier: the results that this process used last, in front of the store.

Who gets a result may change it; the next must not see that. What cannot be changed
(numbers, text, tuples of such) is kept as it is. Everything else is kept in a form of
its own, and made anew for each caller: arrays are copied, other objects are kept as the
bytes that a store would hold.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from .missing import MISS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_BYTES = 100 * 2**20  # of one result; larger ones are left to the store

_LONGEST = 100  # items of a tuple that is kept as it is
_SCALARS = frozenset({type(None), bool, int, float, complex, type(...)})
# In bytes with arrays these follow the pickle, and the pickle names the class that
# reads them.
_ARRAY_MARK = b"numpy_pickle"


class _Kept(NamedTuple):
    stamp: object
    form: Any
    restore: Callable[[Any], Any]


class RamTier:
    """The last results that a process used: of all functions of one `Memory`.

    May be used from several threads. A pickle of it holds no results.

    Parameters
    ----------
    n_entries : int
        How many results are kept; of each, at most `MOST_BYTES`.
    """

    def __init__(self, n_entries: int) -> None:
        self.n_entries = n_entries
        self._kept: dict[str, _Kept] = {}  # the least recently used first
        self._lock = threading.Lock()
        _tiers.add(self)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, location: str, call_id: Sequence[str], stamp: object) -> Any:
        """Make a result anew.

        Parameters
        ----------
        location : str
            Of the store.
        call_id : sequence of str
            Function and key of the call.
        stamp : object
            What must have been given to `put` for the result to count.

        Returns
        -------
        object
            The result, or MISS.
        """
        key = _key(os.sep.join((location, *call_id)))
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is None or kept.stamp != stamp:
                return MISS
            self._kept[key] = kept
        try:
            return kept.restore(kept.form)
        except Exception:  # its class has changed, or memory is short: ask the store
            return MISS

    def put(
        self, location: str, call_id: Sequence[str], stamp: object, result: Any
    ) -> None:
        """Keep a result, if it can be made anew; parameters as for `get`."""
        key = _key(os.sep.join((location, *call_id)))
        kept = _keep(stamp, result)
        with self._lock:
            self._kept.pop(key, None)
            if kept is not None:
                self._kept[key] = kept
                while len(self._kept) > self.n_entries:
                    del self._kept[next(iter(self._kept))]

    def forget(self, path: str, below: bool) -> None:
        """Drop the result at a path, or all results below it."""
        start = _key(path) + "/"
        with self._lock:
            if not below:
                self._kept.pop(_key(path), None)
                return
            for key in [key for key in self._kept if key.startswith(start)]:
                del self._kept[key]

    def __reduce__(self) -> tuple[type[RamTier], tuple[int]]:
        return RamTier, (self.n_entries,)


_tiers: weakref.WeakSet[RamTier] = weakref.WeakSet()


def forget(path: str, below: bool) -> None:
    """Drop what is removed from a store, in all tiers of this process.

    Parameters
    ----------
    path : str
        Of an entry, a function or the root of a store.
    below : bool
        Whether it is no entry: all entries below it go.
    """
    for tier in list(_tiers):
        if len(tier):
            tier.forget(path, below)


def _key(path: str) -> str:
    """Write a path as it is written elsewhere, too."""
    if os.sep != "/":
        path = path.replace(os.sep, "/")
    return path.rstrip("/").replace("//", "/")


def _keep(stamp: object, result: Any) -> _Kept | None:
    """Make the form in which a result is kept; None if there is none."""
    if is_immutable(result):
        return _Kept(stamp, result, _same)
    try:
        if _is_plain_array(result):
            if result.nbytes > MOST_BYTES:
                return None
            return _Kept(stamp, result.copy(order="A"), _copy)
        from .. import numpy_pickle

        stream = _Bounded()
        numpy_pickle.dump(result, stream)
        content = stream.getvalue()
    except Exception:  # it cannot be pickled, or is too large
        return None
    restore = _load_with_arrays if _ARRAY_MARK in content else pickle.loads
    return _Kept(stamp, content, restore)


def is_immutable(value: Any) -> bool:
    """Tell whether nobody can change a value, nor anything in it.

    Parameters
    ----------
    value : object

    Returns
    -------
    bool
        False also for what is too large, or too long to be looked through.
    """
    if type(value) is tuple or type(value) is frozenset:
        return len(value) <= _LONGEST and all(map(_is_scalar, value))
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) <= MOST_BYTES // _LONGEST
    return kind in _SCALARS


def _is_plain_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and type(value) is numpy.ndarray
        and not value.dtype.hasobject
        and bool(value.dtype.isnative)
    )


def _same(value: Any) -> Any:
    return value


def _copy(array: Any) -> Any:
    return array.copy(order="A")


def _load_with_arrays(content: bytes) -> Any:
    from .. import numpy_pickle

    return numpy_pickle.load(io.BytesIO(content))


class _Bounded(io.BytesIO):
    """A file in memory that takes no more than is kept of one result."""

    def write(self, content: Any, /) -> int:
        written = super().write(content)
        if self.tell() > MOST_BYTES:
            raise ValueError("too large to be kept in memory")
        return written


def _after_fork_in_child() -> None:
    # A thread that does not exist here may have held one.
    for tier in list(_tiers):
        tier._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
