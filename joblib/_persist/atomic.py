"""Write a file so that its path shows the old content or the new, never a part.

The new content goes to a file without a name in the same directory (Linux), which
vanishes with the process however that ends; elsewhere to one with a temporary name.
Only when all of it is written does it take the path's place. To replace a file it
needs a name for a moment; what a process that is killed in that moment leaves there
goes with the next write to the same path.

Nothing is forced to the disk, which would take longer than all the rest: after a
power cut the path may show the old file, the new, or on some file systems an empty
one, which `load` refuses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

from .. import disk
from ..backports import concurrency_safe_rename
from . import leftovers

# Small writes are gathered; arrays larger than this are handed on as they are.
_BUFFER_BYTES = 1 << 18
_NEW_FILE_MODE = 0o666  # less the umask, as for open()
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DESCRIPTORS = "/proc/self/fd"
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", -1)}


def _open_nameless(directory: str) -> int | None:
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag or not os.path.isdir(_DESCRIPTORS):
        return None
    try:
        return os.open(directory, _FLAGS | flag, _NEW_FILE_MODE)
    except OSError:
        return None  # not on this file system, or not in this directory


def _open_named(name: str) -> int:
    """Open a new file that nobody takes for one whose writer is dead."""
    descriptor = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, _NEW_FILE_MODE)
    if leftovers.fcntl is None:
        return descriptor
    held = leftovers.hold(descriptor) is not False
    if not held or not leftovers.is_named(descriptor, name):
        # Someone took it so in the moment before.
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise FileExistsError(name)
    return descriptor


def _open_beside(target: str) -> tuple[int, str | None] | None:
    """Open a new file beside `target`; its descriptor, and its name if it has one."""
    descriptor = _open_nameless(os.path.dirname(target))
    if descriptor is not None:
        return descriptor, None
    try:
        return leftovers.with_temporary_name(target, _open_named)
    except OSError:
        return None


def _take_over_attributes(descriptor: int, old: os.stat_result) -> None:
    """Give the new file the owner and the permissions of the one it replaces."""
    if not hasattr(os, "fchown"):
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(OSError):  # ours to write, not ours to give away
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _name_it(descriptor: int, name: str) -> None:
    # With a directory descriptor, linkat(2) follows the symlink; it is not otherwise
    # needed, the source being absolute.
    os.link(
        f"{_DESCRIPTORS}/{descriptor}",
        name,
        src_dir_fd=descriptor,
        follow_symlinks=True,
    )


def _publish_nameless(descriptor: int, target: str, exists: bool) -> None:
    if not exists:
        try:
            _name_it(descriptor, target)
            return
        except FileExistsError:
            pass  # someone was quicker: replace theirs
    if leftovers.fcntl is not None:
        leftovers.hold(descriptor)
    _, name = leftovers.with_temporary_name(
        target, lambda name: _name_it(descriptor, name)
    )
    try:
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


@contextlib.contextmanager
def _held(path: str, size: int) -> Iterator[None]:
    """Keep the file to be replaced open while its place is taken, if it is large.

    The system frees a file with its last name or descriptor, whichever goes later,
    and that takes a while for a large one. Here it is the descriptor that goes last,
    in a thread which nobody waits for.

    Raises
    ------
    OSError
        If the file may not be written, as `open` raises it.
    """
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
    if size < disk.LARGE_FILE or os.name != "posix":  # Windows replaces no open file
        os.close(descriptor)
        yield
        return
    try:
        yield
    finally:
        disk.close_later([descriptor])


@contextlib.contextmanager
def _named_in_errors(path: str) -> Iterator[None]:
    """Tell of which file it is that the disk has no room for."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM and exc.filename is None:
            exc.filename = path
        raise


@contextlib.contextmanager
def replacing(path: str) -> Iterator[Any]:
    """Open a binary file that becomes `path` once the block ends without an error.

    An existing file keeps its permissions; a symbolic link keeps pointing where it
    did. What is no regular file (a device, a pipe), and a file in a directory that
    takes no new ones, is written in place.

    Parameters
    ----------
    path : str
        Where the file goes.

    Yields
    ------
    file object
        Opened for writing; it can seek and be truncated if `path` is a regular file.

    Raises
    ------
    OSError
        As `open` raises it, and when the disk is full. `path` is then unchanged.
    """
    target = os.path.realpath(path)
    old, regular = None, True
    try:
        old = os.stat(target)
        regular = stat.S_ISREG(old.st_mode)
    except FileNotFoundError:
        pass
    except OSError:
        regular = False  # links in a loop, and what else open() will say
    if not path or not regular or path.endswith(os.sep):
        # Devices and the like: open() either works or raises the error that fits.
        with open(path, "wb", buffering=_BUFFER_BYTES) as file:
            yield file
        return
    with (
        _named_in_errors(path),
        _held(path, old.st_size) if old is not None else contextlib.nullcontext(),
    ):
        beside = _open_beside(target)
        if beside is None:  # the directory takes no new file
            with open(path, "wb", buffering=_BUFFER_BYTES) as file:
                yield file
            return
        descriptor, name = beside
        try:
            with open(descriptor, "wb", buffering=_BUFFER_BYTES) as file:
                if old is not None:
                    _take_over_attributes(descriptor, old)
                yield file
                file.flush()
                if name is None:
                    _publish_nameless(descriptor, target, old is not None)
                elif os.name == "posix":  # as long as the file is known as ours
                    concurrency_safe_rename(name, target)
                    name = None
            if name is not None:
                concurrency_safe_rename(name, target)
                name = None
        finally:
            if name is not None:
                os.unlink(name)
