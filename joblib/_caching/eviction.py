"""Which items go when a store must shrink: one pure function."""

from __future__ import annotations

import datetime
from numbers import Real
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .store import CacheItemInfo


def select_items_to_delete(
    items: Sequence[CacheItemInfo],
    bytes_limit: int | None,
    items_limit: int | None,
    age_limit: datetime.timedelta | None,
    now: datetime.datetime,
) -> list[CacheItemInfo]:
    """Select the least recently used items until all limits are kept.

    Parameters
    ----------
    items : sequence of CacheItemInfo
        All items of the store.
    bytes_limit : int or None
        Bytes that may stay.
    items_limit : int or None
        Number of items that may stay.
    age_limit : datetime.timedelta or None
        Time since the last access after which an item does not stay.
    now : datetime.datetime
        The time from which ages are counted.

    Returns
    -------
    list of CacheItemInfo
        The items to delete, the least recently used first.

    Raises
    ------
    ValueError
        When a limit is negative.
    TypeError
        When a limit is no number, or an age no duration.
    """
    _check_number("bytes_limit", bytes_limit, "bytes")
    _check_number("items_limit", items_limit, "items")
    if age_limit is not None:
        if not isinstance(age_limit, datetime.timedelta):
            raise TypeError(
                f"age_limit has to be a datetime.timedelta, got {age_limit!r} of type "
                f"{type(age_limit).__name__}."
            )
        if age_limit.total_seconds() < 0:
            raise ValueError(
                f"age_limit has to be a positive duration, got {age_limit}."
            )

    oldest_first = sorted(items, key=attrgetter("last_access"))
    n_delete = 0
    if items_limit is not None:
        n_delete = max(0, len(oldest_first) - int(items_limit))
    if age_limit is not None:
        deadline = now - age_limit
        while (
            n_delete < len(oldest_first)
            and oldest_first[n_delete].last_access < deadline
        ):
            n_delete += 1
    if bytes_limit is not None:
        size_left = sum(item.size for item in oldest_first[n_delete:])
        while size_left > bytes_limit and n_delete < len(oldest_first):
            size_left -= oldest_first[n_delete].size
            n_delete += 1
    return oldest_first[:n_delete]


def _check_number(name: str, limit: object, what: str) -> None:
    if limit is None:
        return
    if not isinstance(limit, Real):
        raise TypeError(
            f"{name} has to be a number of {what}, got {limit!r} of type "
            f"{type(limit).__name__}."
        )
    if not float(limit) >= 0:  # so that NaN is refused too
        raise ValueError(f"{name} has to be a positive number of {what}, got {limit}.")
