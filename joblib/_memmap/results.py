"""Large results: the worker writes their arrays to files, which the caller maps.

A file loses its name as soon as the caller has opened it, and its memory when the
array is gone. The mapping is private: to the array's owner it is ordinary memory,
also in that a process forked later does not share what is written to it.
"""

from __future__ import annotations

import mmap
import os
import sys
import uuid
import weakref
from functools import partial
from typing import Any, NamedTuple

from .placing import write_whole
from .store import is_fortran, write_elements
from .views import Reduced

#: mappings that one process has at a time; the system's limit is often 65,530
MOST_MAPPINGS = 8192
#: the part of the file descriptors a process may have that mappings may use up
SHARE_OF_DESCRIPTORS = 4


class ResultPlace(NamedTuple):
    """Where the workers of one call write large arrays."""

    folder: str
    #: how the names of the call's files begin
    prefix: str
    #: only arrays of more bytes go by file
    max_nbytes: float

    def write(self, array: Any) -> str | None:
        """Write an array; return the path, or None where that is not possible."""
        path = os.path.join(self.folder, f"{self.prefix}-{uuid.uuid4().hex}.array")
        try:
            return write_whole(path, partial(write_elements, array))
        except OSError:  # the place is full, or gone: the pipe does as well
            return None

    def sweep(self) -> None:
        """Remove the files that nobody has opened, those of an aborted call."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return
        for name in names:
            if name.startswith(self.prefix):
                try:
                    os.unlink(os.path.join(self.folder, name))
                except FileNotFoundError:
                    pass


class ResultWriter:
    """Reduces the arrays of one payload; pickled twice, an array is written once.

    Parameters
    ----------
    place : ResultPlace
        Where to write.
    """

    def __init__(self, place: ResultPlace) -> None:
        self._place = place
        # With the arrays, so that their ids stay theirs.
        self._written: dict[int, tuple[Any, str]] = {}

    def reduce(self, array: Any) -> Reduced | None:
        """Reduce an array to its file; None if it does not go by file."""
        if array.nbytes <= self._place.max_nbytes or array.dtype.hasobject:
            return None
        known = self._written.get(id(array))
        path = self._place.write(array) if known is None else known[1]
        if path is None:
            return None
        self._written[id(array)] = array, path
        order = "F" if is_fortran(array) else "C"
        return open_result, (path, array.dtype, array.shape, order)


_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def _most_mappings() -> int:
    if sys.version_info >= (3, 13):  # mappings need no descriptor there
        return MOST_MAPPINGS
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return MOST_MAPPINGS
    return min(MOST_MAPPINGS, allowed // SHARE_OF_DESCRIPTORS)


def _map(descriptor: int, n_bytes: int) -> Any:
    options = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    mapping = mmap.mmap(
        descriptor,
        n_bytes,
        flags=mmap.MAP_PRIVATE,
        prot=mmap.PROT_READ | mmap.PROT_WRITE,
        **options,
    )
    _mapped.add(mapping)
    return mapping


def open_result(path: str, dtype: Any, shape: Any, order: Any) -> Any:
    """Return the array whose elements are in a file, and remove the file's name.

    Parameters
    ----------
    path : str
        As `ResultPlace.write` returned it. It can be opened once.
    dtype, shape, order
        Of the array.
    """
    import numpy as np

    with open(path, "rb", buffering=0) as file:
        os.unlink(path)
        if len(_mapped) < _most_mappings():
            n_bytes = os.fstat(file.fileno()).st_size
            return np.ndarray(shape, dtype, _map(file.fileno(), n_bytes), order=order)
        elements = np.fromfile(file, dtype=dtype)
    return elements.reshape(shape, order=order)
