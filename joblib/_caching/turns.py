"""Turns: what one process at a time does for a cache, while the others go on.

A turn is the operating system's lock on a file, so that it ends with the process that
has it, however that ends. Nobody waits for one: who does not get it leaves the work to
who has it. Where there can be no locks everybody has a turn, and some work is done
twice.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOINHERIT", 0)
_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}

# The lock is the process's: these tell its threads apart.
_among_threads: dict[str, threading.Lock] = {}


@contextlib.contextmanager
def turn(path: str) -> Iterator[bool]:
    """Have a turn, if nobody else has.

    Parameters
    ----------
    path : str
        The file of the lock. Nothing else of this process may open it.

    Yields
    ------
    bool
        Whether it is the caller's turn.
    """
    among_threads = _among_threads.setdefault(path, threading.Lock())
    if not among_threads.acquire(blocking=False):
        yield False
        return
    try:
        try:
            descriptor = os.open(path, _FLAGS, 0o666)
        except OSError:
            yield True  # of another user, or on a disk that is full or read-only
            return
        try:
            yield _lock(descriptor)
        finally:
            os.close(descriptor)  # and with it the lock
    finally:
        among_threads.release()


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Not flock: a child that is forked meanwhile would have the lock as well.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _after_fork_in_child() -> None:
    _among_threads.clear()  # the threads that have a turn are not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
