"""How arrays are pickled for workers, and how workers pickle them for the caller."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from .folders import is_temporary
from .results import ResultPlace, ResultWriter
from .store import ArrayStore, Dump, reduce_dumped
from .views import (
    Reduced,
    backing_memmap,
    reduce_into_pickle,
    reduce_mapped,
    reduce_plain,
)

Reduce = Callable[[Any], Any]

#: what `mmap_mode` may be; "w+" is taken as "r+"
MMAP_MODES = (None, "r", "r+", "w+", "c")


def touch_pages(filename: str) -> None:
    """Read a byte of each page of a file, so that it is in memory for the workers."""
    with open(filename, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            for position in range(0, len(pages), mmap.PAGESIZE):
                pages[position]


class ForwardReducer:
    """Reduces arrays for the workers: by file where they are large.

    Parameters
    ----------
    store : ArrayStore
        Writes the files.
    max_nbytes : float or None
        Arrays of more bytes go by file; none does if it is None.
    mmap_mode : str or None
        How workers open the files; None: no array goes by file.
    verbose : int, default=0
        Tell of files from 5 on, and of files used again from 50 on.
    prewarm : bool, default=False
        Read each file once when it is written.
    plain : callable
        How to reduce an array that goes by copy.
    """

    def __init__(
        self,
        store: ArrayStore,
        max_nbytes: float | None,
        mmap_mode: str | None,
        verbose: int = 0,
        prewarm: bool = False,
        plain: Reduce = reduce_into_pickle,
    ) -> None:
        if mmap_mode not in MMAP_MODES:
            raise ValueError(
                f"mmap_mode={mmap_mode!r} is not a mode in which arrays can be "
                f"mapped, expected one of {MMAP_MODES}."
            )
        self.store = store
        self.max_nbytes = None if mmap_mode is None else max_nbytes
        self.mmap_mode = mmap_mode
        self.verbose = verbose
        self.prewarm = prewarm
        self.plain = plain

    def reduce(self, array: Any, leases: list[Dump] | None = None) -> Any:
        """Reduce one array; see `ArrayStore.dump` for `leases`."""
        backing = backing_memmap(array)
        reduced = None if backing is None else reduce_mapped(array, backing)
        if reduced is not None:
            return reduced
        if (
            self.max_nbytes is None
            or self.mmap_mode is None
            or array.nbytes <= self.max_nbytes
            or array.dtype.hasobject
        ):
            return self.plain(array)
        dump, new = self.store.dump(array, leases)
        if new and self.prewarm:
            touch_pages(dump.filename)
        if self.verbose >= (5 if new else 50):
            said = "written to" if new else "already in"
            print(
                f"[Memmapping] array of shape {array.shape} and dtype {array.dtype}, "
                f"{array.nbytes} bytes: {said} {dump.filename}"
            )
        # what tasks could write to while it was in another file is to stay so
        was_copy = backing is not None and backing.mode == "c"
        return reduce_dumped(array, dump, "c" if was_copy else self.mmap_mode)


def reduce_backward(
    array: Any, plain: Reduce = reduce_plain, by_file: Reduce | None = None
) -> Any:
    """Reduce an array that a worker returns.

    A file of the user's is named, unless this process alone has changed the array;
    one of ours is gone when the call ends, so its content is copied, into an array
    that can be written to.
    """
    backing = backing_memmap(array)
    ours = backing is not None and is_temporary(str(backing.filename))
    reduced: Reduced | None = None
    if backing is not None and not ours:
        reduced = reduce_mapped(array, backing)
    if reduced is None and by_file is not None:
        reduced = by_file(array)
    if reduced is not None:
        return reduced
    return plain(array.copy(order="K") if ours else array)


def result_reducers(place: ResultPlace | None = None) -> dict[type, Reduce]:
    """Return the reducers of a worker, none while it has not imported numpy.

    Parameters
    ----------
    place : ResultPlace, optional
        Where to write large arrays; left out, they are pickled.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return {}
    by_file = None if place is None else ResultWriter(place).reduce
    reduce = partial(reduce_backward, plain=reduce_into_pickle, by_file=by_file)
    return dict.fromkeys((numpy.ndarray, numpy.memmap), reduce)
