"""A line to a worker process that is read and written with an eye on the worker.

`multiprocessing.connection` waits in the middle of a message for as long as it takes. A
worker that dies there usually closes its end, but a process that it has forked may keep
that open; then nobody would ever say more.
"""

from __future__ import annotations

import os
import struct
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any

from .._engine.controls import TaskTimedOut

#: seconds between two looks at a worker of which nothing is heard
LOOK_INTERVAL = 1.0
#: bytes that are read or written at a time
_PIECE = 1 << 20
#: lengths as `Connection` writes them: a signed int, or -1 and a long one
_SHORT, _LONG = struct.Struct("!i"), struct.Struct("!Q")


class WorkerLost(Exception):
    """A worker ended before it had replied."""


class Line:
    """The caller's end of a line; the worker's is a plain `Connection`.

    Parameters
    ----------
    end : Connection
    process : Process
        The worker, started.
    """

    def __init__(self, end: Connection, process: Any) -> None:
        self._end = end
        self._process = process
        self._in_pieces = os.name == "posix"
        if self._in_pieces:
            os.set_blocking(end.fileno(), False)

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def tell(self, message: bytes) -> None:
        """Send a message; raise `WorkerLost` if there is nobody to take it."""
        try:
            if not self._in_pieces:
                self._end.send_bytes(message)
                return
            size = len(message)
            if size > 0x7FFFFFFF:
                self._write(_SHORT.pack(-1) + _LONG.pack(size))
            else:
                self._write(_SHORT.pack(size))
            self._write(message)
        except OSError as error:
            raise WorkerLost from error

    def hear(self, limit: float | None = None) -> bytes:
        """Return what the worker says next.

        Raises
        ------
        TaskTimedOut
            If nothing comes, or nothing more, once `limit` seconds are over.
        WorkerLost
            If it has ended.
        """
        deadline = None if limit is None else monotonic() + limit
        try:
            if not self._in_pieces:
                self._wait(deadline)
                return self._end.recv_bytes()
            (size,) = _SHORT.unpack(self._read(_SHORT.size, deadline))
            if size == -1:
                (size,) = _LONG.unpack(self._read(_LONG.size, deadline))
            return self._read(size, deadline)
        except (EOFError, OSError) as error:
            raise WorkerLost from error

    def _wait(self, deadline: float | None) -> None:
        """Wait until there is something to read."""
        while True:
            left = LOOK_INTERVAL if deadline is None else deadline - monotonic()
            # What tells of its end may be held by its children: so it is looked at,
            # and before the line, where its last words may be.
            pause = min(max(left, 0), LOOK_INTERVAL)
            wait([self._end, self._process.sentinel], pause)
            dead = self._process.exitcode is not None
            if self._end.poll(0):
                return
            if dead:
                raise WorkerLost
            if left <= 0:
                raise TaskTimedOut

    def _read(self, size: int, deadline: float | None) -> bytes:
        found = bytearray()
        while len(found) < size:
            try:
                piece = os.read(self._end.fileno(), min(size - len(found), _PIECE))
            except BlockingIOError:
                self._wait(deadline)
                continue
            if not piece:
                raise EOFError
            found += piece
        return bytes(found)

    def _write(self, message: bytes) -> None:
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(self._end.fileno(), rest[:_PIECE]) :]
            except BlockingIOError:
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        import select

        ready = select.poll()
        ready.register(self._end.fileno(), select.POLLOUT)
        if not ready.poll(LOOK_INTERVAL * 1000):
            if self._process.exitcode is not None:
                raise WorkerLost
