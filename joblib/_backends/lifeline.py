"""A pipe by whose end the kernel ends the workers of a process that is gone.

A thread of the worker that waits for that does not come to run while a task is in
compiled code that keeps Python's lock, nor in a worker that was stopped. So each worker
has, on Linux, a pipe open for reading that only its parent can write to, which it never
does, and has asked to be sent SIGKILL when anything happens there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NamedTuple


class Lifeline(NamedTuple):
    """Where another process finds a process' end of its pipe, and what tells it."""

    path: str
    device: int
    inode: int


# the descriptor for writing, and the line that is made of it
_held: tuple[int, Lifeline] | None = None
_lock = threading.Lock()


def _is(descriptor: int, line: Lifeline) -> bool:
    """Whether a descriptor is of that line; programs close what they don't know."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (line.device, line.inode)


def hold() -> Lifeline | None:
    """Return the line of this process, which is there as long as the process is.

    Returns
    -------
    Lifeline or None
        None on a system where the kernel does not send such signals, or without
        a descriptor to spare.
    """
    global _held
    if sys.platform != "linux":
        return None
    with _lock:
        if _held is None or not _is(*_held):
            try:
                reader, writer = os.pipe()
            except OSError:
                return None
            os.close(reader)
            status = os.fstat(writer)
            path = f"/proc/{os.getpid()}/fd/{writer}"
            _held = writer, Lifeline(path, status.st_dev, status.st_ino)
        return _held[1]


def _let_go() -> None:
    """In a forked child: the line is the parent's, and ends with that alone."""
    global _held, _lock
    _lock = threading.Lock()  # another thread may have had it
    if _held is not None and _is(*_held):
        os.close(_held[0])
    _held = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def die_with(line: Lifeline) -> bool:
    """Have this process killed when the line ends.

    Returns
    -------
    bool
        Whether that will be done. If not, the line may have ended already, or the
        system keeps its processes from looking at each other.
    """
    import fcntl

    try:
        descriptor = os.open(line.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        if not _is(descriptor, line):
            raise OSError("The descriptor is of another file by now.")
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except OSError:
        os.close(descriptor)
        return False
    return True  # and open it stays
