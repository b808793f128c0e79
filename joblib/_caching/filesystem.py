"""The store that `Memory` uses by default: directories on a file system."""

from __future__ import annotations

import datetime
import os
import pickle
import warnings
from typing import TYPE_CHECKING, Any

from .._persist.shortcuts import plain_pickle
from ..backports import concurrency_safe_rename
from ..disk import delete_folder, mkdirp
from . import ram
from .callers import user_stacklevel
from .items import CODE_FILE, OUTPUT_FILE, StoreBackendMixin
from .scanning import (
    ENTRY_NAME,
    REMOVED_PREFIX,
    Found,
    look_at,
    remove_entry,
    sweep_entry,
    sweep_removed,
    walk,
)
from .store import CacheItemInfo, MissingItemError, StoreBackendBase
from .usage import Uses, note_use, note_write, read_uses, write_notes
from .writing import unique_suffix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    # Paths of what the last listing found unfinished.
    _left: Sequence[str] = ()

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
        except FileExistsError:
            mkdirp(location)  # is it a directory?
            if ENTRY_NAME.fullmatch(os.path.basename(location)):
                sweep_entry(location)
        except OSError:
            # Its parents are not there, or this says what is wrong.
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
        filename = self._path(call_id, OUTPUT_FILE)
        # Whoever replaced the way of opening files wants it to be used.
        if verbose <= 1 and self._open_item is open:
            content = _read_small_pickle(filename)
            if content is not None:
                try:
                    output = pickle.loads(content)
                except (pickle.UnpicklingError, EOFError):
                    pass  # damaged: what is below says how
                else:
                    note_use(self.location, filename)  # type: ignore[arg-type]
                    return output
        output = super().load_item(call_id, verbose, timestamp, metadata)
        note_use(self.location or os.curdir, filename)
        return output

    def dump_item(self, call_id: Sequence[str], item: Any, verbose: int = 1) -> bool:
        """Store a result; warn where that is not possible.

        Parameters
        ----------
        call_id : sequence of str
            Function and hash of the arguments.
        item : object
            The result.
        verbose : int, default=1
            Above 10, print where it is stored.

        Returns
        -------
        bool
            Whether it is stored now.
        """
        stored = super().dump_item(call_id, item, verbose)
        if stored:
            note_write(self.location or os.curdir, self._path(call_id, OUTPUT_FILE))
        return stored

    def note_item_use(self, call_id: Sequence[str]) -> None:
        """Note that a result was used though it was not loaded: it is not to go."""
        note_use(self.location or os.curdir, self._path(call_id, OUTPUT_FILE))

    def _write_output(self, item: Any, filename: str) -> int:
        if self.compress or self._open_item is not open:
            return super()._write_output(item, filename)
        from .. import numpy_pickle

        # What is small and holds no array goes out in one write, as it comes in.
        parts = plain_pickle(item, pickle.DEFAULT_PROTOCOL)
        if parts is not None and sum(map(len, parts)) <= _SMALL:
            content = b"".join(parts)
            self._write_bytes(content, filename)
            return len(content)
        with open(filename, "wb") as stream:
            if parts is None:
                numpy_pickle.NumpyPickler(stream).dump(item)
            else:
                stream.writelines(parts)
            return stream.tell()

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
        """List all results, with the time at which each was last used."""
        from_timestamp = datetime.datetime.fromtimestamp
        return [
            CacheItemInfo(found.path, found.size, from_timestamp(found.last_use))
            for found in self._find_entries()[0]
        ]

    def _find_entries(self) -> tuple[list[Found], dict[str, Uses]]:
        """List all results, and what is noted about their use, by their path."""
        root = self.location or os.curdir
        write_notes()
        entries = []
        left = []
        for is_entry, path in walk(root):
            if is_entry:
                found = look_at(path)
                entries.append(found)
            if not (is_entry and found.whole):
                left.append(path)
        self._left = left
        uses = read_uses(root)
        if any(use.last for use in uses.values()):
            # Files of another user, which do not show when they were used.
            start = len(root) + 1
            for i, found in enumerate(entries):
                use = uses.get(found.path[start:])
                if use is not None and use.last > found.last_use:
                    entries[i] = found._replace(last_use=use.last)
        return entries, uses

    def _evict(self, path: str) -> None:
        removing = getattr(self.clear_location, "__func__", None)
        if removing is not FileSystemStoreBackend.clear_location:
            super()._evict(path)  # which has a way of its own to remove things
            return
        try:
            # What was listed is no link: that question can be spared.
            if not remove_entry(path):
                delete_folder(path)
        finally:
            ram.forget(path, below=False)

    def _sweep(self) -> None:
        """Remove what killed processes left, as far as the last listing came by it."""
        left, self._left = self._left, []
        for path in left:
            if os.path.basename(path).startswith(REMOVED_PREFIX):
                sweep_removed(path)
            else:
                sweep_entry(path)

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
            Time since the last use after which a result does not stay.
        """
        super().enforce_store_limits(bytes_limit, items_limit, age_limit)
        self._sweep()

    def _note_size(self, directory: str, size: int) -> None:
        pass  # asked for when it matters

    def _item_size(self, call_id: Sequence[str]) -> int | None:
        return look_at(self._path(call_id)).size

    def _has_results(self, call_id: Sequence[str]) -> bool:
        try:
            with os.scandir(self._path(call_id)) as found:
                return any(ENTRY_NAME.fullmatch(entry.name) for entry in found)
        except OSError:
            return False

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
    elif ENTRY_NAME.fullmatch(name):
        if not remove_entry(location):
            delete_folder(location)
    elif name.startswith(REMOVED_PREFIX):
        sweep_removed(location)
    else:
        removed = os.path.join(parent or os.curdir, REMOVED_PREFIX + unique_suffix())
        try:
            os.rename(location, removed)
        except FileNotFoundError:
            return
        except OSError:
            # A file of it is open (Windows), or the place is read-only: the slow way,
            # which says what the matter is.
            delete_folder(location)
            return
        sweep_removed(removed)  # eviction removes what is left


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
