"""The files by which arrays go to workers: one for an array, and no longer than needed."""

from __future__ import annotations

import os
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from .._identity_map import WeakIdentityMap
from .folders import FILE_PERMISSIONS
from .placing import Writable
from .views import Reduced, open_contiguous

#: about as many bytes of a strided array are copied at a time
COPY_BYTES = 16_000_000


def write_elements(array: Any, path: str) -> None:
    """Write the elements of an array, as they lie in memory, to a new private file.

    Raises
    ------
    OSError
        If that is not possible; there may be a part of the file then.
    """
    descriptor = os.open(
        path,
        os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0),
        FILE_PERMISSIONS,
    )
    with os.fdopen(descriptor, "wb") as file:
        for part in _contiguous_parts(array):
            part.tofile(file)


class Dump:
    """One array's file, and who needs it.

    The file is needed while its array is alive, since it may be sent again,
    and while a batch that names it is on its way. A worker that has opened it
    needs it no more: the mapping outlives the name.
    """

    __slots__ = ("filename", "leases", "sendable")

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.leases = 0
        self.sendable = True


class ArrayStore:
    """Writes arrays to files, which go with their place at the latest.

    Parameters
    ----------
    place : Writable
        Where to write them.
    early : bool, default=True
        Whether a file goes as soon as nobody needs it. It takes somebody who
        tells of batches that have ended, by `give_back`; else files stay until
        the folder goes.
    """

    def __init__(self, place: Writable, early: bool = True) -> None:
        self._place = place
        self._early = early
        self._dumps = WeakIdentityMap()
        self._lock = threading.RLock()
        self._orphans: deque[Dump] = deque()
        self._closed = False

    def dump(self, array: Any, leases: list[Dump] | None = None) -> tuple[Dump, bool]:
        """Return the file of `array`, and whether it was written just now.

        With `leases` the file stays until it is given back.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError(
                    "The call that this array belongs to has ended: it can't be "
                    "sent to a worker any more."
                )
            try:
                dump, new = self._dumps.get(array), False
            except KeyError:
                dump, new = Dump(self._write(array)), True
                self._dumps.set(array, dump, on_gone=lambda: self._array_gone(dump))
            if leases is not None:
                dump.leases += 1
                leases.append(dump)
            return dump, new

    def _write(self, array: Any) -> str:
        name = f"{os.getpid()}-{uuid.uuid4().hex}.array"
        try:
            return self._place.write(name, partial(write_elements, array))
        except OSError as error:
            raise OSError(
                f"Could not write an array of {array.nbytes} bytes to "
                f"{self._place.path!r} for the workers to share ({error}). Choose another folder by "
                "`temp_folder` or the environment variable JOBLIB_TEMP_FOLDER, or "
                "raise `max_nbytes` to have arrays sent by copy."
            ) from error

    def give_back(self, leases: list[Dump]) -> None:
        """Say that a batch which named these files has ended."""
        with self._lock:
            for dump in leases:
                dump.leases -= 1
                self._drop_if_unneeded(dump)
            leases.clear()
            self._sweep()

    def _array_gone(self, dump: Dump) -> None:
        # Garbage collection gets here at any time, on any thread, with any lock
        # held: it may not wait. If the lock is taken, the next `give_back` sees
        # to the file.
        self._orphans.append(dump)
        if self._lock.acquire(blocking=False):
            try:
                self._sweep()
            finally:
                self._lock.release()

    def _sweep(self) -> None:
        while self._orphans:
            dump = self._orphans.popleft()
            dump.sendable = False
            self._drop_if_unneeded(dump)

    def _drop_if_unneeded(self, dump: Dump) -> None:
        if self._early and not self._closed and not dump.sendable and dump.leases == 0:
            # open in a worker, on Windows: then it goes with the folder
            with suppress(OSError):
                os.unlink(dump.filename)

    def close(self) -> None:
        """Write no more, as the folder is about to go."""
        with self._lock:
            self._closed = True


def _contiguous_parts(array: Any) -> Iterator[Any]:
    """Yield contiguous arrays that hold the elements of `array` in memory order."""
    if array.flags.c_contiguous:
        yield array
    elif array.flags.f_contiguous:
        yield array.T  # the same bytes; `tofile` writes in C order
    else:
        # copied piece by piece: `tofile` would write one element at a time, and
        # a copy of the whole would need the memory twice
        rows = max(COPY_BYTES * len(array) // array.nbytes, 1)
        for start in range(0, len(array), rows):
            yield array[start : start + rows].copy(order="C")


def is_fortran(array: Any) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def reduce_dumped(array: Any, dump: Dump, mode: str) -> Reduced:
    """Reduce an array to the file it was written to, opened in `mode`."""
    order = "F" if is_fortran(array) else "C"
    # "w+" would empty the file
    mode = "r+" if mode == "w+" else mode
    return open_contiguous, (
        dump.filename,
        mode,
        0,
        array.dtype,
        array.shape,
        order,
    )
