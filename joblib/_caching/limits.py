"""What a store removes so that it stays within limits: the least recently used."""

from __future__ import annotations

import datetime
import warnings
from typing import TYPE_CHECKING

from ..disk import memstr_to_bytes
from . import ram
from .callers import user_stacklevel
from .eviction import select_items_to_delete
from .lockfiles import sweep
from .store import CacheItemInfo, CacheWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StoreLimits:
    """The part of `StoreBackendMixin` that is about sizes and their limits."""

    __module__ = "joblib._store_backends"

    if TYPE_CHECKING:
        # The contract's half of a store.
        clear_location: Callable[[str], None]
        get_items: Callable[[], list[CacheItemInfo]]
        lock_location: Callable[[], str | None]
        _path: Callable[..., str]

    # Bytes, as given to `Memory`; which enforces it when a result has been stored.
    max_size: int | None = None
    # Location of a result that was just written -> bytes.
    _sizes: dict[str, int] = {}

    def _note_size(self, directory: str, size: int) -> None:
        self._sizes[directory] = self._sizes.get(directory, 0) + size

    def _item_size(self, call_id: Sequence[str]) -> int | None:
        """Tell the bytes of a result that was just stored; None when not known."""
        return self._sizes.pop(self._path(call_id), None)

    def enforce_store_limits(
        self,
        bytes_limit: int | str | None,
        items_limit: int | None = None,
        age_limit: datetime.timedelta | None = None,
    ) -> None:
        """Remove the least recently used results until all limits are kept.

        Parameters
        ----------
        bytes_limit : int or str or None
            Bytes that may stay; text such as ``"10G"``.
        items_limit : int, optional
            Number of results that may stay.
        age_limit : datetime.timedelta, optional
            Time since the last access after which a result does not stay.
        """
        for item in self._get_items_to_delete(bytes_limit, items_limit, age_limit):
            if getattr(self, "verbose", 0) > 10:
                print(f"Deleting item {item}")
            try:
                self._evict(item.path)
            except OSError as error:
                warnings.warn(
                    f"Unable to remove the cache entry {item.path}: {error}.",
                    CacheWarning,
                    stacklevel=user_stacklevel(),
                )
        self._sweep_locks()

    def _evict(self, path: str) -> None:
        """Remove the result at a location."""
        try:
            self.clear_location(path)
        finally:
            ram.forget(path, below=False)

    def _sweep_locks(self) -> None:
        """Remove what killed processes left of ``Memory(lock=True)``."""
        place = self.lock_location()
        if place is not None:
            sweep(place)

    def _get_items_to_delete(
        self,
        bytes_limit: int | str | None,
        items_limit: int | None = None,
        age_limit: datetime.timedelta | None = None,
    ) -> list[CacheItemInfo]:
        """Select what must go; all items are listed once for it."""
        n_bytes = (
            memstr_to_bytes(bytes_limit)
            if isinstance(bytes_limit, str)
            else bytes_limit
        )
        # The clock of a file system is coarser than this one, and never ahead of it.
        now = datetime.datetime.now()
        return select_items_to_delete(
            self.get_items(), n_bytes, items_limit, age_limit, now
        )
