"""A mapping keyed by which object it is, and not by what it equals."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Callable
from typing import Any


class WeakIdentityMap:
    """Maps objects to values, by identity; an entry goes when its object does.

    Arrays are not hashable, which rules out a `weakref.WeakKeyDictionary`, and two
    pieces of compiled code can be equal though they come from different files. Ids
    are used again, so a weak reference stands beside each value to tell whether it
    is still about the same object.
    """

    def __init__(self) -> None:
        self._data: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def get(self, obj: Any) -> Any:
        """Return the value of `obj`; KeyError if it has none."""
        ref, value = self._data[id(obj)]
        if ref() is not obj:
            raise KeyError(obj)
        return value

    def set(
        self, obj: Any, value: Any, on_gone: Callable[[], None] | None = None
    ) -> None:
        """Set the value of `obj`; `on_gone` is called when `obj` is collected."""
        key = id(obj)

        def gone(ref: weakref.ref[Any], data: Any = self._data) -> None:
            entry = data.get(key)
            if entry is not None and entry[0] is ref:
                del data[key]
            if on_gone is not None:
                on_gone()

        self._data[key] = (weakref.ref(obj, gone), value)

    def __getstate__(self) -> Any:
        raise pickle.PicklingError(
            "A map keyed by the identity of objects has no meaning in another process."
        )
