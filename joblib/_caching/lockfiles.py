"""Locks between processes: a file for each result that one of them is computing.

The lock is the operating system's, on the open file, so that it ends with the process
that holds it, however that ends. The file is removed by who holds the lock, or next
holds it: who gets a lock looks whether the file is still the one of that name, and
starts again if it is not. In the file stands who holds it, for the others to read.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .store import StoreBackendBase

# Files in the root of a store: what removes entries, here or in other versions, looks
# at directories only.
LOCK_PREFIX = ".lock-"

_OPEN = (
    os.O_RDWR
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_BINARY", 0)
)
_ATTEMPTS = 20  # to lock a file before it is removed
_NOTE_START = 1  # the first byte is what is locked: Windows lets nobody read it
_NOTE_SIZE = 64 * 1024  # bytes, of what is read of a note
_WINDOWS = os.name == "nt"

# Held around opening a file and noting it down, and while the process forks: no child
# has a descriptor that it does not know of. Re-entrant, as the collection of garbage
# may close one at any time.
_guard = threading.RLock()
_open_locks: set[LockFile] = set()


class Owner(NamedTuple):
    """Who holds a lock.

    Parameters
    ----------
    pid : int
        Its process.
    host : str
        The machine of that.
    waits : tuple of str
        The paths of the locks that it waits for meanwhile.
    """

    pid: int
    host: str
    waits: tuple[str, ...]


class LockFile:
    """A lock that this process holds; made by `try_lock`."""

    __slots__ = ("__weakref__", "_descriptor", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def _take(self) -> tuple[bool, bool]:
        """Lock the file. Is it locked now? And is it, still, the one of that name?"""
        from filelock import lock_descriptor

        descriptor = self._descriptor
        if descriptor is None or not lock_descriptor(descriptor, blocking=False):
            return False, False
        return True, _is_at(descriptor, self.path)

    def note(self, waits: Sequence[str] = ()) -> None:
        """Write down who holds the lock, and which others it waits for."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        owner = json.dumps([os.getpid(), _host(), *waits]) + "\n"
        try:
            # Not cut off first, which some file systems pay for with a wait for the
            # disk: what stands after the line is of an earlier note.
            os.lseek(descriptor, _NOTE_START, os.SEEK_SET)
            os.write(descriptor, owner.encode())
        except OSError:
            pass  # a full disk, or the file of another user: it is for reading only

    def release(self) -> None:
        """Remove the file and let go of the lock; nothing when that was done."""
        from filelock import unlock_descriptor

        with _guard:
            descriptor, self._descriptor = self._descriptor, None
            _open_locks.discard(self)
        if descriptor is None:
            return
        try:
            # While it is surely ours. If all was removed meanwhile, another's is there.
            if not _WINDOWS:
                _unlink(self.path, descriptor)
            try:
                unlock_descriptor(descriptor)
            except OSError:
                pass  # closing it does that, too
        finally:
            os.close(descriptor)
        if _WINDOWS:
            _unlink(self.path)  # which the system refuses if somebody has opened it

    def _abandon(self) -> None:
        """Close a copy of the descriptor: the lock is the parent process's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def require_filelock() -> None:
    """Make sure that there can be locks.

    Raises
    ------
    ImportError
        When the package filelock is missing or too old.
    """
    try:
        from filelock import lock_descriptor  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "lock=True needs the package filelock, version 3.30 or newer "
            f"({error}): pip install 'filelock>=3.30', or 'joblib[lock]'."
        ) from error


def check_lockable(store: StoreBackendBase) -> None:
    """Make sure that the entries of a store can be locked.

    Raises
    ------
    ImportError
        When the package filelock is missing or too old.
    ValueError
        When the store has no place for the files.
    """
    if store.lock_location() is None:
        raise ValueError(
            "lock=True needs a store on a file system, as Memory has by default; got "
            f"{store!r}. Other stores can name a directory in lock_location()."
        )
    require_filelock()


def lock_path(root: str, call_id: Sequence[str]) -> str:
    """Return the path of the lock of an entry.

    Parameters
    ----------
    root : str
        Directory of the store.
    call_id : sequence of str
        Function and key of the call.
    """
    text = "\0".join(call_id).encode("utf-8", "surrogatepass")
    name = hashlib.blake2b(text, digest_size=16).hexdigest()
    return os.path.join(os.path.abspath(root), LOCK_PREFIX + name)


def try_lock(path: str, create: bool = True) -> LockFile | None:
    """Take a lock if nobody holds it.

    Parameters
    ----------
    path : str
        As by `lock_path`.
    create : bool, default=True
        Whether to make the file if it is not there.

    Returns
    -------
    LockFile or None

    Raises
    ------
    OSError
        When there can be no locks at this place.
    """
    for _ in range(_ATTEMPTS):
        with _guard:
            lock = LockFile(path, _open(path, create))
            _open_locks.add(lock)
        taken = valid = False
        try:
            taken, valid = lock._take()
        finally:
            if not valid:
                with _guard:
                    _open_locks.discard(lock)
                    lock._abandon()
        if valid:
            return lock
        if not taken:
            return None
    raise OSError(
        errno.ENOLCK, "a file that is opened is another than that of its name", path
    )


def read_owner(path: str) -> Owner | None:
    """Tell who holds a lock, as far as that can be read."""
    try:
        with open(path, "rb", buffering=0) as stream:
            stream.seek(_NOTE_START)
            line = stream.read(_NOTE_SIZE).partition(b"\n")[0]
        pid, host, *waits = json.loads(line)
        return Owner(int(pid), str(host), tuple(map(str, waits)))
    except (OSError, ValueError, TypeError):
        # Not there any more, or being written at this moment.
        return None


def sweep(root: str) -> None:
    """Remove the lock files that killed processes left behind.

    Parameters
    ----------
    root : str
        Directory of the store.
    """
    try:
        with os.scandir(root) as found:
            left = [entry.path for entry in found if entry.name.startswith(LOCK_PREFIX)]
        if left:
            require_filelock()
    except (OSError, ImportError):
        return
    for path in left:
        try:
            lock = try_lock(os.path.abspath(path), create=False)
        except OSError:
            continue  # just removed, or nothing that could be locked
        if lock is not None:
            lock.release()


def _open(path: str, create: bool) -> int:
    if not create:
        return os.open(path, _OPEN)
    try:
        # As all files of the cache: those whom the user lets write into it share it.
        return os.open(path, _OPEN | os.O_CREAT, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, _OPEN | os.O_CREAT, 0o666)
    except PermissionError as error:
        # The file of another user may be open to less, and be locked all the same.
        for flags in (_OPEN, _OPEN & ~os.O_RDWR | os.O_RDONLY):
            try:
                return os.open(path, flags)
            except OSError:
                continue
        raise error


def _is_at(descriptor: int, path: str) -> bool:
    """Tell whether an open file is the one of this name."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _unlink(path: str, descriptor: int | None = None) -> None:
    """Remove a file, with a descriptor only that one; if that is possible."""
    try:
        if descriptor is None or _is_at(descriptor, path):
            os.unlink(path)
    except OSError:
        pass  # of another user, who removes it; or what clears a directory was faster


@functools.cache
def _host() -> str:
    import platform

    return platform.node()


def _before_fork() -> None:
    _guard.acquire()


def _after_fork_in_parent() -> None:
    _guard.release()


def _after_fork_in_child() -> None:
    # With a copy of it, the child would keep the lock after the death of its owner.
    global _guard
    _guard = threading.RLock()
    for lock in _open_locks:
        lock._abandon()
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
