"""``Memory(max_size=)``: what is stored stays within it, by what was used last.

::

    a result was stored -> its size into the ledger -> more than max_size?
      -> list the store, remove what was used least recently down to 90 % of it
      -> what remains into the ledger

A store is so listed once for each tenth of its size that is written, by one process at
a time. The others go on until the size is reached, and then wait until there is room.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import math
import os
import threading
import time
import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

from .callers import user_stacklevel
from .eviction import select_items_to_delete
from .ledger import Ledger, OwnLedger
from .store import CacheWarning
from .turns import turn
from .usage import USAGE_DIRECTORY, make_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_KEPT = 0.9  # part of max_size that stays when something must go
# Seconds: for another process to make room, and between two looks whether it has.
_LONGEST_WAIT = 10.0
_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05
_TURN = "turn-sizes"

# Kind and location of a store -> its ledger, to be used under the lock beside it.
_ledgers: dict[tuple[Any, ...], tuple[threading.Lock, Ledger | OwnLedger]] = {}
_warned: set[tuple[Any, ...]] = set()


def parse_size(size: Any, name: str = "max_size") -> int:
    """Convert a size into bytes.

    Parameters
    ----------
    size : int or float or str
        Bytes, or text: a number and K, M, G or T (powers of 1024), or bytes.
    name : str
        What it is called in an error.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        When it is no size, or not positive.
    TypeError
        When it is neither a number nor text.
    """
    allowed = (
        "a positive number of bytes, or text such as '10G', '500M' or '50K' (units "
        "are K, M, G and T)"
    )
    if isinstance(size, bool) or not isinstance(size, (str, Real)):
        raise TypeError(
            f"{name} has to be {allowed}, got {size!r} of type {type(size).__name__}."
        )
    number: float = math.nan
    if isinstance(size, str):
        text = size.strip().upper()
        unit = _UNITS.get(text[-1:], 1)
        try:
            number = float(text[:-1] if unit > 1 else text) * unit
        except ValueError:
            pass
    else:
        number = float(size)
    if not 1 <= number < math.inf:
        raise ValueError(f"{name} has to be {allowed}, got {size!r}.")
    return int(number)


def settle(store: Any, call_id: Sequence[str]) -> bool:
    """Keep a store within its ``max_size``, now that a result was stored.

    Parameters
    ----------
    store : StoreBackendBase
        Without an attribute ``max_size``, or with None, nothing is done.
    call_id : sequence of str
        Function and key of the result. It stays, unless it is too big by itself.

    Returns
    -------
    bool
        Whether it stays.
    """
    limit = getattr(store, "max_size", None)
    if limit is None:
        return True
    try:
        size = _size_of(store, call_id)
        if size is not None and size > limit:
            store.clear_item(call_id)
            _warn_of_big(store, call_id, size)
            return False
        _make_room(store, call_id, size, limit)
    except Exception as error:
        # The result is there: it must not be lost because others cannot go.
        _warn_not_kept(store, error)
    return True


def _size_of(store: Any, call_id: Sequence[str]) -> int | None:
    """Tell the bytes of a result just stored, None where that is not known."""
    ask = getattr(store, "_item_size", None)
    size: int | None = None if ask is None else ask(call_id)
    return size


def _make_room(
    store: Any, call_id: Sequence[str], size: int | None, limit: int
) -> None:
    place = _place_of(store)
    lock, ledger = _ledger_of(store, place, limit)
    with lock:
        total = None if size is None else ledger.add(size)
    deadline = time.monotonic() + _LONGEST_WAIT
    pause = _SHORTEST_PAUSE
    while total is None or total > limit:
        with _turn(place) as mine:
            if mine:
                with lock:
                    latest = ledger.total()
                    if total is None or latest is None or latest > limit:
                        # Else somebody else has just done it.
                        goal = limit if total is None else int(limit * _KEPT)
                        shrink = functools.partial(_shrink, store, call_id, limit, goal)
                        if ledger.count(shrink) > limit:
                            return  # what is left cannot go
        if not mine:
            if total is None or time.monotonic() > deadline:
                return  # somebody is counting; or very slow, or stopped
            # Without waiting, many who write would be faster than one who removes.
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        with lock:
            total = ledger.total() or 0


def _shrink(store: Any, call_id: Sequence[str], limit: int, goal: int) -> int:
    """Remove the least recently used results; return the bytes that remain."""
    items = store.get_items()
    total = sum(item.size for item in items)
    if total > limit:
        goal = int(limit * _KEPT)
    if total <= goal:
        return int(total)
    own = os.sep.join(call_id)
    others = [item for item in items if not item.path.endswith(own)]
    own_size = total - sum(item.size for item in others)
    victims = select_items_to_delete(
        others, max(0, goal - own_size), None, None, datetime.datetime.now()
    )
    for item in victims:
        if getattr(store, "verbose", 0) > 10:
            print(f"Deleting item {item}")
        try:
            getattr(store, "_evict", store.clear_location)(item.path)
        except OSError as error:
            _warn_not_kept(store, error)
        else:
            total -= item.size
    sweep = getattr(store, "_sweep", None)
    if sweep is not None:
        sweep()
    return int(total)


def _place_of(store: Any) -> str | None:
    """Return the directory where processes tell each other, None if there is none."""
    ask = getattr(store, "lock_location", None)
    place: str | None = None if ask is None else ask()
    if place is not None and not make_directory(place):
        raise OSError(f"{os.path.join(place, USAGE_DIRECTORY)} cannot be made")
    return place


def _ledger_of(
    store: Any, place: str | None, limit: int
) -> tuple[threading.Lock, Ledger | OwnLedger]:
    key = type(store), store.location
    known = _ledgers.get(key)
    if known is None:
        # A tenth is what other processes may exceed the limit by until this one sees.
        ledger = OwnLedger(limit // 10) if place is None else Ledger(place)
        known = _ledgers.setdefault(key, (threading.Lock(), ledger))
    return known


def _turn(place: str | None) -> contextlib.AbstractContextManager[bool]:
    if place is None:
        return contextlib.nullcontext(True)
    return turn(os.path.join(place, USAGE_DIRECTORY, _TURN))


def _warn_of_big(store: Any, call_id: Sequence[str], size: int) -> None:
    key = "big", store.location, call_id[0]
    if key in _warned:
        return
    _warned.add(key)
    warnings.warn(
        f"A result of {call_id[0]} is not kept: its {size} bytes are more than the "
        f"max_size of the cache in {store.location}, which is {store.max_size} bytes. "
        "It is returned, and computed again at the next call. This is said once for "
        "each function.",
        CacheWarning,
        stacklevel=user_stacklevel(),
    )


def _warn_not_kept(store: Any, error: Exception) -> None:
    key = "not kept", store.location, type(error)
    if key in _warned:
        return
    _warned.add(key)
    warnings.warn(
        f"The cache in {store.location} may grow beyond its max_size of "
        f"{store.max_size} bytes: {type(store).__name__} cannot list or remove its "
        f"results ({type(error).__name__}: {error}). This is said once.",
        CacheWarning,
        stacklevel=user_stacklevel(),
    )


def _after_fork_in_child() -> None:
    _ledgers.clear()  # a thread that is not here may hold the lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
