"""The contract of a store: what a place for cached results must be able to do."""

from __future__ import annotations

import datetime
from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class CacheWarning(Warning):
    """A result could not be stored; it was computed and returned all the same."""

    __module__ = "joblib._store_backends"


class MissingItemError(KeyError):
    """There is no such result: never stored, or removed since."""

    def __init__(self, filename: str) -> None:
        super().__init__(
            "Non-existing item (may have been cleared).\n"
            f"File {filename} does not exist"
        )

    def __reduce__(self) -> tuple[type[KeyError], tuple[Any, ...]]:
        return KeyError, self.args


class CacheItemInfo(NamedTuple):
    """One stored result, as eviction sees it.

    Parameters
    ----------
    path : str
        Where it is.
    size : int
        Bytes taken by its files.
    last_access : datetime.datetime
        When it was last read or written, in local time.
    """

    path: str
    size: int
    last_access: datetime.datetime


# Pickles of other versions, and of this one for them, name these modules.
CacheItemInfo.__module__ = "joblib._store_backends"


class StoreBackendBase(metaclass=ABCMeta):
    """Base class of all stores, for `joblib.register_store_backend`.

    A store holds *items* at *locations*: strings, joined by ``os.path.join`` from the
    location of the store and a call id, a sequence such as
    ``("module/function", "hash of the arguments")``. The logic above (what an item
    consists of, what is read and written when) is that of `StoreBackendMixin`, from
    which a store derives as well.

    All methods may be called from several threads and, where the place is shared,
    from several processes at once.

    Attributes
    ----------
    location : str or None
        The root; set by `configure`.
    """

    __module__ = "joblib._store_backends"

    location: str | None = None

    @abstractmethod
    def _open_item(self, f: str, mode: str) -> Any:
        """Open a file of an item.

        Parameters
        ----------
        f : str
            Its location.
        mode : str
            ``"rb"`` or ``"wb"``.

        Returns
        -------
        file-like
            Usable as a context manager.
        """

    @abstractmethod
    def _item_exists(self, location: str) -> bool:
        """Tell whether there is something at a location."""

    @abstractmethod
    def _move_item(self, src: str, dst: str) -> None:
        """Rename a file within the store, replacing `dst`.

        A reader must find the old or the new file, never none and never a part: that
        is what keeps entries whole while several processes write.
        """

    @abstractmethod
    def create_location(self, location: str) -> None:
        """Make sure that items can be put below a location."""

    @abstractmethod
    def clear_location(self, location: str) -> None:
        """Remove a location and all below it; nothing there is no error.

        For the root of the store, what is below it.
        """

    @abstractmethod
    def get_items(self) -> list[CacheItemInfo]:
        """List all items of the store."""

    def lock_location(self) -> str | None:
        """Tell where files can be locked, for ``Memory(lock=True)``.

        Returns
        -------
        str or None
            A directory on a file system, the same for all who use this place; None
            where there is none. Unless overridden, None.
        """
        return None

    @abstractmethod
    def configure(
        self,
        location: str,
        verbose: int = 0,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare the store for use.

        Parameters
        ----------
        location : str
            The root.
        verbose : int, default=0
            How much to tell on stdout.
        backend_options : mapping, optional
            What the user gave as `backend_options`, with ``compress`` and
            ``mmap_mode`` of the `Memory` added. Options that the store does not know
            are ignored.
        """
