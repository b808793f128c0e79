"""Which items go when a store must shrink: one pure function."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime
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
    """
    if bytes_limit is not None and bytes_limit < 0:
        raise ValueError(
            f"bytes_limit has to be a positive number of bytes, got {bytes_limit}."
        )
    if items_limit is not None and items_limit < 0:
        raise ValueError(
            f"items_limit has to be a positive number of items, got {items_limit}."
        )
    if age_limit is not None and age_limit.total_seconds() < 0:
        raise ValueError(f"age_limit has to be a positive duration, got {age_limit}.")

    oldest_first = sorted(items, key=attrgetter("last_access"))
    n_delete = 0
    if items_limit is not None:
        n_delete = max(0, len(oldest_first) - items_limit)
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
