"""What is shared though it is inside of something else, found while that is pickled.

A bound method, a partial function or a tuple is often made anew for each task, around
the same estimator or array. It is not known by identity, but what is inside of it is.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

WEIGHTLESS = frozenset({bool, complex, float, int, range, slice, type(None)})

#: containers of up to so many items may have been made for one task
FEW = 16
#: parts of parts are looked at, but no further
DEPTH = 3


def parts_of(value: Any) -> list[Any]:
    """Return what is inside of something that may have been made for one task.

    >>> parts_of([].append), parts_of((1, "a")), parts_of({"X": 2})
    ([], [1, 'a'], [2])
    """
    kind = type(value)
    if kind in (tuple, list, dict):
        if len(value) > FEW:
            return []
        return list(value.values() if kind is dict else value)
    if kind is types.MethodType:
        return [value.__self__]
    if kind is functools.partial:
        return [value.func, *value.args, *value.keywords.values()]
    if kind is types.FunctionType:
        return [part for cell in value.__closure__ or () for part in _content(cell)]
    return []


def _content(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # it is empty
        return []


class Finder:
    """Finds the objects that are shared while a batch is pickled, and numbers them.

    Parameters
    ----------
    future_of : callable
        Returns the future of an object, if it is shared.
    given : sequence of distributed.Future
        Arguments whose results are meant.
    """

    def __init__(
        self, future_of: Callable[[Any], Any], given: Sequence[Any] = ()
    ) -> None:
        self._future_of = future_of
        self._given = {id(future): future for future in given}
        self._numbers: dict[int, int] = {}
        #: those that were found, by their numbers
        self.futures: list[Any] = []

    def find(self, obj: Any) -> int | None:
        """Return the number of an object; None if it is not shared."""
        if type(obj) in WEIGHTLESS:
            return None
        key = id(obj)
        number = self._numbers.get(key)
        if number is None:
            future = self._given.get(key) or self._future_of(obj)
            if future is not None:
                number = self._numbers[key] = len(self.futures)
                self.futures.append(future)
        return number


def is_copied(value: Any) -> bool:
    """Tell whether each batch gets its own copy of a large argument.

    So it is with lists, dicts and the like, which tasks may change, and nobody expects
    to see that: joblib has always shared what can be referred to weakly, such as arrays.
    (So can sets be, but that is hardly known.)
    """
    if isinstance(value, (str, bytes)):
        return False
    if type(value) in (set, frozenset):
        return True
    try:
        weakref.ref(value)
    except TypeError:
        return True
    return False
