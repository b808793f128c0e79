"""Temporary names beside a file, and what killed processes left under them.

Each file has one temporary name, so that whoever writes the file next finds what is
left there. A living writer holds a lock on its file, which the system lets go of when
the writer dies; what nobody holds is removed. A second writer at the same time, and
all on systems without such locks, take names that are drawn.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

try:
    fcntl: Any = importlib.import_module("fcntl")
except ImportError:
    fcntl = None  # Windows

T = TypeVar("T")


def _name(directory: str, token: str) -> str:
    return os.path.join(directory, f".joblib-{token}.tmp")


def _own_name(target: str) -> str:
    directory, name = os.path.split(target)
    return _name(directory, hashlib.sha256(os.fsencode(name)).hexdigest()[:16])


def is_named(descriptor: int, name: str) -> bool:
    """Whether `name` is the open file's name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except OSError:
        return False


def hold(descriptor: int) -> bool | None:
    """Mark an open file as that of a living writer.

    False if another has done so, None if the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_leftover(name: str) -> None:
    """Remove the file of that name if its writer is dead."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(OSError):
        descriptor = os.open(name, flags)
        try:
            # Once we hold it, only a file that is replaced loses this name: and such
            # a file is held by its writer until then.
            if hold(descriptor) and is_named(descriptor, name):
                os.unlink(name)
        finally:
            os.close(descriptor)


def with_temporary_name(target: str, take: Callable[[str], T]) -> tuple[T, str]:
    """Call `take` with names beside `target` until one is free.

    Parameters
    ----------
    target : str
        The file that is to be replaced.
    take : callable
        Takes a name; raises FileExistsError if it is taken.

    Returns
    -------
    result : object
        What `take` returned.
    name : str
        The name.
    """
    if fcntl is not None:
        own = _own_name(target)
        for _ in range(2):
            try:
                return take(own), own
            except FileExistsError:
                _remove_leftover(own)
    drawn = _name(os.path.dirname(target), secrets.token_hex(8))
    return take(drawn), drawn
