"""The bytes in a cache, counted by all processes that write to it.

A file of lines: the first says what was counted, and when; each other is a number of
bytes that was added since. Everybody appends a line for each result and reads those of
the others; who counts anew puts another file in its place::

    joblib 1048576 1767225600.0 0.0021 <token>
    +1200
    +98304

Nothing is ever wrong for long: a process that is killed between storing a result and
telling it is corrected by the next count, and where two meet in replacing the file,
some bytes are counted twice rather than not at all.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

from .usage import USAGE_DIRECTORY, make_directory
from .writing import unique_suffix

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE = "sizes"
_HEADER_LENGTH = 100  # bytes
_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
_CHUNK = 256 * 1024  # bytes
_ATTEMPTS = 5

# Seconds after which what other versions added or removed is looked for.
_LONGEST_TRUST = 600.0
# A count that takes less, in seconds, is made by each new process.
_QUICK_COUNT = 0.1


class Ledger:
    """What this process knows of the bytes in a store on a file system.

    Not to be used by two threads at a time.

    Parameters
    ----------
    location : str
        Root of the store.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._path = os.path.join(location, USAGE_DIRECTORY, _FILE)
        self._header = b""
        self._offset = 0
        self._total = 0
        self._is_new = True

    def add(self, size: int) -> int | None:
        """Tell all that bytes were added; return how many there are now.

        Returns
        -------
        int or None
            None when they have to be counted.
        """
        line = b"%+d\n" % size
        for _ in range(_ATTEMPTS):
            try:
                descriptor = os.open(self._path, _FLAGS)
            except OSError:
                return None
            try:
                os.write(descriptor, line)
                known = self._read(descriptor)
                there = os.stat(self._path)
                is_there = os.path.samestat(os.fstat(descriptor), there)
            except OSError:
                return None
            finally:
                os.close(descriptor)
            if not known:
                return None
            if is_there:
                return self._total
            # Replaced at this very moment: what was written may be lost with it.
        return None

    def total(self) -> int | None:
        """Return how many bytes there are by now; None when that is not known."""
        try:
            descriptor = os.open(self._path, _FLAGS)
        except OSError:
            return None
        try:
            return self._total if self._read(descriptor) else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Read what was added since the last time; tell whether it can be trusted."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        header = os.read(descriptor, _HEADER_LENGTH)
        if header != self._header or os.fstat(descriptor).st_size < self._offset:
            self._header = b""
            fields = header.split()
            if len(header) < _HEADER_LENGTH or len(fields) != 5:
                return False
            try:
                counted, when, took = int(fields[1]), float(fields[2]), float(fields[3])
            except ValueError:
                return False
            self._total, self._counted, self._took = counted, when, took
            self._offset = _HEADER_LENGTH
            self._header = header
        os.lseek(descriptor, self._offset, os.SEEK_SET)
        while chunk := os.read(descriptor, _CHUNK):
            whole = chunk.rpartition(b"\n")[0]
            if not whole:
                break  # somebody is just writing it
            self._total += sum(map(_parse, whole.split(b"\n")))
            self._offset += len(whole) + 1
            os.lseek(descriptor, self._offset, os.SEEK_SET)
        is_new, self._is_new = self._is_new, False
        if is_new and self._took < _QUICK_COUNT:
            return False  # others may have been killed before they told
        return abs(time.time() - self._counted) < _LONGEST_TRUST

    def count(self, count: Callable[[], int]) -> int:
        """Count anew, and let others know.

        Parameters
        ----------
        count : callable
            Returns the bytes that there are. What others add while it runs may be in
            its result or not: it counts as added since.

        Returns
        -------
        int
            The bytes that there are now.
        """
        mark = self._mark()
        start = time.perf_counter()
        counted = count()
        took = time.perf_counter() - start
        token = uuid.uuid4().hex
        text = b"joblib %d %.1f %.4f %s" % (counted, time.time(), took, token.encode())
        header = text.ljust(_HEADER_LENGTH - 1) + b"\n"
        temporary = f"{self._path}.{unique_suffix()}"
        added = self._added_since(mark)
        try:
            if not make_directory(self._location):
                return counted
            with open(temporary, "wb") as stream:
                stream.write(header + added)
            os.replace(temporary, self._path)
        except OSError:
            try:
                os.unlink(temporary)
            except OSError:
                pass
        self._is_new = False
        return counted + sum(map(_parse, added.split(b"\n")))

    def _mark(self) -> tuple[bytes, int]:
        try:
            with open(self._path, "rb") as stream:
                header = stream.read(_HEADER_LENGTH)
                return header, stream.seek(0, os.SEEK_END)
        except OSError:
            return b"", 0

    def _added_since(self, mark: tuple[bytes, int]) -> bytes:
        try:
            with open(self._path, "rb") as stream:
                if stream.read(_HEADER_LENGTH) == mark[0]:
                    stream.seek(mark[1])
                return stream.read()
        except OSError:
            return b""


class OwnLedger:
    """The same for a store of another kind: what this process adds, and no other.

    Parameters
    ----------
    step : int
        Bytes after whose addition they are counted anew, to see what others did.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._total: int | None = None
        self._added = 0

    def add(self, size: int) -> int | None:
        """Add bytes; return how many there are, None when they have to be counted."""
        self._added += size
        if self._total is None or self._added > self._step:
            return None
        return self._total + self._added

    def total(self) -> int | None:
        """Return how many bytes there are; None when that is not known."""
        return None if self._total is None else self._total + self._added

    def count(self, count: Callable[[], int]) -> int:
        """Count anew; see `Ledger.count`."""
        self._total, self._added = count(), 0
        return self._total


def _parse(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        return 0  # empty, or what a full disk made of it
