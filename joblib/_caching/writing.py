"""Writing a file beside the one it will replace, under a name that nobody else uses."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import threading
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = itertools.count()
_process_token: tuple[int, str] = (0, "")
_SUFFIX = re.compile(r".*\.([0-9a-f]{12})[0-9a-f]{20}-([0-9]+)-[0-9]+-[0-9]+")


def unique_suffix() -> str:
    """Return text that no other thread, process or machine returns.

    Returns
    -------
    str
        Usable in a file name.
    """
    global _process_token
    pid = os.getpid()
    if _process_token[0] != pid:  # the first time, or the first time after a fork
        _process_token = (pid, machine() + uuid.uuid4().hex[12:])
    # The thread is for those who look for the owner of a file that was left behind.
    return f"{_process_token[1]}-{pid}-{threading.get_ident()}-{next(_numbers)}"


@functools.cache
def machine() -> str:
    """Name the machine on which process ids mean what they mean here.

    Returns
    -------
    str
        12 hexadecimal digits: a digest of its name, of its start and of what keeps
        the processes of containers apart.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as stream:
            known = [os.uname().nodename, stream.read()]
        known.append(os.readlink("/proc/self/ns/pid"))
    except (OSError, AttributeError):
        return uuid.uuid4().hex[:12]  # no Linux: nobody is taken for a neighbour
    return hashlib.sha256("\0".join(known).encode()).hexdigest()[:12]


def is_owner_gone(filename: str) -> bool:
    """Tell whether the process that wrote a temporary file is surely dead.

    Parameters
    ----------
    filename : str
        A name that ends with what `unique_suffix` returned.

    Returns
    -------
    bool
        False also where that cannot be told.
    """
    match = _SUFFIX.fullmatch(filename)
    # Windows has no way to ask without consequences.
    if match is None or match[1] != machine() or os.name == "nt":
        return False
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def concurrency_safe_write(
    object_to_write: Any, filename: str, write_func: Callable[[Any, str], Any]
) -> str:
    """Write an object to a new file beside the one it is meant for.

    Parameters
    ----------
    object_to_write : object
    filename : str
        The file it is meant for; not touched.
    write_func : callable
        Called as ``write_func(object_to_write, temporary_filename)``.

    Returns
    -------
    str
        The temporary file, which the caller is to rename.
    """
    temporary = f"{filename}.{unique_suffix()}"
    try:
        write_func(object_to_write, temporary)
    except BaseException:
        discard(temporary)  # half a file is of use to nobody
        raise
    return temporary


def discard(temporary: str) -> None:
    """Remove a file that will not be needed; stores elsewhere have none of the name."""
    try:
        os.unlink(temporary)
    except (OSError, ValueError):
        pass


# As for the classes: tools that look functions up by module find it where it is public.
concurrency_safe_write.__module__ = "joblib._store_backends"
