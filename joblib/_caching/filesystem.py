"""The store that `Memory` uses by default: directories on a file system."""

from __future__ import annotations

import datetime
import os
import pickle
import re
import shutil
import warnings
from typing import TYPE_CHECKING, Any

from ..backports import concurrency_safe_rename
from ..disk import delete_folder, mkdirp
from .callers import user_stacklevel
from .items import CODE_FILE, METADATA_FILE, OUTPUT_FILE, StoreBackendMixin
from .store import CacheItemInfo, MissingItemError, StoreBackendBase
from .writing import unique_suffix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ENTRY_NAME = re.compile(r"[0-9a-f]{32,}")
_REMOVED_PREFIX = ".removed-"
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_SMALL = 32 * 1024  # bytes
# In a file with arrays these follow the pickle, and the pickle names the class that
# reads them.
_ARRAY_MARK = b"numpy_pickle"
_GITIGNORE = "# Created by joblib automatically.\n*\n"


class FileSystemStoreBackend(StoreBackendBase, StoreBackendMixin):
    """Store of results in a local or shared file system."""

    __module__ = "joblib._store_backends"

    # The calls themselves, not methods around them: these are what a hit consists of.
    _open_item = staticmethod(open)  # type: ignore[assignment]
    _item_exists = staticmethod(os.path.exists)  # type: ignore[assignment]
    _move_item = staticmethod(concurrency_safe_rename)

    def clear_location(self, location: str) -> None:
        """Remove a location, at once for all who look.

        A tree gets another name first, an entry loses its output first: who reads a
        file of it goes on reading, who writes into it notices, and nobody finds
        something that is half gone.

        Raises
        ------
        OSError
            When it is still there afterwards.
        """
        if location != self.location:
            _remove(location)
            return
        try:
            with os.scandir(location) as entries:
                inside = [entry.path for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return
        for path in inside:
            _remove(path)

    def lock_location(self) -> str | None:
        """Return the root: files in it are neither entries nor in the way of them."""
        return self.location

    def create_location(self, location: str) -> None:
        """Make a directory and its parents."""
        try:
            os.mkdir(location)
        except OSError:
            # It is there, or its parents are not, or this says what is wrong.
            mkdirp(location)

    def load_item(
        self,
        call_id: Sequence[str],
        verbose: int = 1,
        timestamp: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Load a result; small ones in one go.

        Parameters
        ----------
        call_id : sequence of str
            Function and hash of the arguments.
        verbose : int, default=1
            Above 1, print what is loaded; from 10 on, from where.
        timestamp : float, optional
            The time, in seconds since the epoch, from which the message counts.
        metadata : mapping, optional
            Metadata of the call, to show its arguments in the message.

        Returns
        -------
        object

        Raises
        ------
        KeyError
            When there is no such result.
        """
        # Whoever replaced the way of opening files wants it to be used.
        if verbose <= 1 and self._open_item is open:
            content = _read_small_pickle(self._path(call_id, OUTPUT_FILE))
            if content is not None:
                try:
                    return pickle.loads(content)
                except (pickle.UnpicklingError, EOFError):
                    pass  # damaged: what is below says how
        return super().load_item(call_id, verbose, timestamp, metadata)

    def _write_bytes(self, content: bytes, filename: str) -> None:
        if self._open_item is not open or len(content) > _SMALL:
            super()._write_bytes(content, filename)
            return
        descriptor = os.open(filename, _CREATE, 0o666)
        try:
            written = os.write(descriptor, content)
        finally:
            os.close(descriptor)
        if written < len(
            content
        ):  # a full disk takes what it can, and says so next time
            super()._write_bytes(content, filename)

    def get_items(self) -> list[CacheItemInfo]:
        """List all results, with the time that the file system holds for each."""
        return [_item_info(entry) for entry in self._walk() if _is_entry(entry)]

    def enforce_store_limits(
        self,
        bytes_limit: int | str | None,
        items_limit: int | None = None,
        age_limit: datetime.timedelta | None = None,
    ) -> None:
        """Remove the least recently used results until all limits are kept.

        Parameters
        ----------
        bytes_limit : int or str or None
            Bytes that may stay; text such as ``"10G"``.
        items_limit : int, optional
            Number of results that may stay.
        age_limit : datetime.timedelta, optional
            Time since the last access after which a result does not stay.
        """
        super().enforce_store_limits(bytes_limit, items_limit, age_limit)
        # What a process renamed and did not live to remove.
        for entry in self._walk():
            if entry.name.startswith(_REMOVED_PREFIX):
                shutil.rmtree(entry.path, ignore_errors=True)

    def _walk(self) -> Iterator[os.DirEntry[str]]:
        """Yield entries and removed directories, looking into neither."""
        pending = [self.location or os.curdir]
        while pending:
            try:
                with os.scandir(pending.pop()) as found:
                    directories = [entry for entry in found if entry.is_dir()]
            except OSError:
                continue  # evicted since its parent was read
            for entry in directories:
                if _is_entry(entry) or entry.name.startswith(_REMOVED_PREFIX):
                    yield entry
                else:
                    pending.append(entry.path)

    def _code_stamp(self, call_id: Sequence[str]) -> object:
        try:
            stat = os.stat(f"{self.location}{os.sep}{call_id[0]}{os.sep}{CODE_FILE}")
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def configure(
        self,
        location: str,
        verbose: int = 1,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Set the root and the options, and make the root.

        Parameters
        ----------
        location : str
            The root.
        verbose : int, default=1
            Above 10, print what is evicted.
        backend_options : mapping, optional
            ``compress`` (as in `joblib.dump`) and ``mmap_mode`` (as in `joblib.load`).
        """
        options = backend_options or {}
        mkdirp(location)
        self.location = location
        self.compress = options.get("compress", False)
        self.mmap_mode = options.get("mmap_mode")
        if self.compress and self.mmap_mode is not None:
            warnings.warn(
                "Compressed items cannot be memmapped in a filesystem store: mmap_mode="
                f"{self.mmap_mode!r} will be ignored as compress={self.compress!r}.",
                stacklevel=user_stacklevel(),
            )
        self.verbose = verbose
        _write_gitignore(location)


def _remove(location: str) -> None:
    """Remove a directory, at once for all who look; nothing there is no error."""
    location = location.rstrip(os.sep)
    parent, _, name = location.rpartition(os.sep)
    if os.path.islink(location):
        os.unlink(location)  # what it points to is not ours
    elif _ENTRY_NAME.fullmatch(name):
        _remove_entry(location)
    elif name.startswith(_REMOVED_PREFIX):
        shutil.rmtree(location, ignore_errors=True)
    else:
        removed = os.path.join(parent or os.curdir, _REMOVED_PREFIX + unique_suffix())
        try:
            os.rename(location, removed)
        except FileNotFoundError:
            return
        except OSError:
            # A file of it is open (Windows), or the place is read-only: the slow way,
            # which says what the matter is.
            delete_folder(location)
            return
        shutil.rmtree(removed, ignore_errors=True)  # eviction sweeps up what is left


def _remove_entry(location: str) -> None:
    """Remove an entry: gone with its output, whatever else is still there then."""
    for name in (OUTPUT_FILE, METADATA_FILE):
        try:
            os.unlink(f"{location}{os.sep}{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(location)
    except FileNotFoundError:
        pass
    except OSError:
        # Left behind by a writer that was killed, or just being written: that writer
        # notices, and starts again.
        delete_folder(location)


def _is_entry(entry: os.DirEntry[str]) -> bool:
    return _ENTRY_NAME.fullmatch(entry.name) is not None


def _item_info(entry: os.DirEntry[str]) -> CacheItemInfo:
    size = 0
    last_access = None
    try:
        with os.scandir(entry.path) as files:
            for file in files:
                stat = file.stat(follow_symlinks=False)
                size += stat.st_size
                if file.name == OUTPUT_FILE:
                    last_access = stat.st_atime
    except OSError:
        pass  # it is being evicted; what is known of it will do
    if last_access is None:
        try:
            last_access = os.stat(entry.path).st_atime
        except OSError:
            last_access = 0.0
    return CacheItemInfo(entry.path, size, datetime.datetime.fromtimestamp(last_access))


def _read_small_pickle(filename: str) -> bytes | None:
    """Read a file that is a small pickle without arrays; None for all others."""
    try:
        descriptor = os.open(filename, _READ)
    except FileNotFoundError:
        raise MissingItemError(filename) from None
    except OSError:
        return None
    try:
        content = os.read(descriptor, _SMALL)
    finally:
        os.close(descriptor)
    if (
        len(content) < _SMALL
        and content.startswith(pickle.PROTO)
        and _ARRAY_MARK not in content
    ):
        return content
    return None


def _write_gitignore(location: str) -> None:
    """Keep git from the results, unless the user has decided otherwise."""
    root, name = os.path.split(os.path.normpath(location))
    directory = root if name == "joblib" else location
    try:
        with open(os.path.join(directory, ".gitignore"), "x") as stream:
            stream.write(_GITIGNORE)
    except OSError:
        pass  # there is one, or the place is read-only: no reason not to read from it
