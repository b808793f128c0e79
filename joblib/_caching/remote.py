"""The store behind locations that are URLs: object stores and servers, by fsspec.

Objects have the names that files have in a local cache, joined by slashes. Two things
are added, so that an ordinary hit is a single request and yet never of other code:

- ``output.pkl`` ends with a seal: the *epoch* of its function and a checksum. What is
  sealed with another epoch, or damaged, is no hit.
- the epoch of a function is a digest of the code by which its place was taken. When
  results outlive a change of the code (of a comment, say), ``func_code.py`` names the
  epoch in a last line.

A process reads ``func_code.py`` once for each function, and again when it finds another
epoch than it knew.
"""

from __future__ import annotations

import datetime
import io
import os
import posixpath
import re
import warnings
from typing import TYPE_CHECKING, Any

from . import ram
from .callers import user_stacklevel
from .connection import Connection
from .items import CODE_FILE, OUTPUT_FILE, StoreBackendMixin
from .locations import without_user
from .seals import (
    SEAL_LENGTH,
    Seal,
    epoch_of,
    find_seal,
    seal,
    split_code,
    unseal,
    with_epoch,
)
from .store import CacheItemInfo, CacheWarning, MissingItemError, StoreBackendBase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ENTRY = re.compile(r"(.*/[0-9a-f]{32,}(?:-[a-z0-9_]+)?)/([^/]+)")
_TO_BE_READ = ""


class UnreachableItemError(MissingItemError):
    """Whether there is such a result cannot be told: its place does not answer."""

    def __init__(self, filename: str, error: Exception) -> None:
        KeyError.__init__(
            self, f"{filename} cannot be read: {type(error).__name__}: {error}"
        )


class RemoteStoreBackend(StoreBackendBase, StoreBackendMixin):
    """Store of results at a URL, through fsspec.

    Requests on a file system that stores whole objects at once (``s3``, ``gcs``,
    ``az``, ``memory`` and their like): a hit 1; a miss 3 (read, result, metadata);
    the first call of a function in a process 2 more. With a validation callback a hit
    takes 3. On other file systems each file is written under another name and renamed.

    A result is in memory twice while it is stored or loaded. Options: see `configure`.
    """

    __module__ = "joblib._store_backends"

    _connection: Connection
    compress: Any = False

    def __init__(self) -> None:
        self._epochs: dict[str, str] = {}  # location of a function -> its epoch
        # Entries of which the present call has told that they cannot be looked for,
        # and those of which it has told that they were not stored.
        self._told: set[str] = set()
        self._failed: set[str] = set()

    def configure(
        self,
        location: str,
        verbose: int = 1,
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Set the root and the options, and see whether access is granted.

        Parameters
        ----------
        location : str
            A URL that fsspec knows, or a chain such as ``simplecache::s3://...``:
            what is read is then kept in local files as well.
        verbose : int, default=1
            Above 10, print what is evicted.
        backend_options : mapping, optional
            ``storage_options``: a dict for the file system (credentials, endpoint,
            timeouts), by protocol for a chain. ``compress`` as in `joblib.dump`.
            ``mmap_mode`` is ignored, with a warning.

        Raises
        ------
        ImportError
            When fsspec is missing, or the package for the protocol.
        ValueError
            When the protocol is unknown.
        TypeError
            When ``storage_options`` is no mapping.
        PermissionError
            When access is denied.
        """
        options = backend_options or {}
        self.location = without_user(location)
        self.compress = options.get("compress", False)
        self.mmap_mode = options.get("mmap_mode")
        self.verbose = verbose
        if self.mmap_mode is not None and not self.compress:
            warnings.warn(
                f"Results at {self.location} cannot be memory-mapped: mmap_mode="
                f"{self.mmap_mode!r} will be ignored, and results be read.",
                stacklevel=user_stacklevel(),
            )
        self._connection = Connection(location, options.get("storage_options"))
        try:
            self._connection.check_access()
        except PermissionError as error:
            raise PermissionError(
                f"No access to the cache at {self.location}: {error}. Credentials are "
                'given as Memory(..., backend_options={"storage_options": {...}}).'
            ) from error
        except OSError as error:
            self._warn(
                f"The cache at {self.location} cannot be reached now: "
                f"{type(error).__name__}: {error}. Results are computed while it "
                "cannot."
            )

    def __getstate__(self) -> dict[str, Any]:
        # Elsewhere and later others may have taken places over.
        return {**self.__dict__, "_epochs": {}, "_told": set(), "_failed": set()}

    # ------------------------------------------------------------------- the contract
    def _path(self, call_id: Sequence[str], *names: str) -> str:
        parts = [self.location or "", *call_id, *names]
        if os.sep != "/":
            parts[1:] = [part.replace(os.sep, "/") for part in parts[1:]]
        return "/".join(parts)

    def _inside(self, location: str) -> str:
        """Return a location relative to the root."""
        root = self.location or ""
        if location != root and not location.startswith(root + "/"):
            raise ValueError(f"{location} is not below {root}.")
        return location[len(root) :]

    def _open_item(self, f: str, mode: str) -> Any:
        """Open an object: all of it is read or, at the end, written at once."""
        if "w" in mode:
            return _Upload(lambda content: self._write(f, content))
        return io.BytesIO(self._connection.read(self._inside(f)))

    def _item_exists(self, location: str) -> bool:
        try:
            return self._connection.exists(self._inside(location))
        except OSError as error:
            self._warn(f"{location} cannot be looked for: {_describe(error)}.")
            return False

    def _move_item(self, src: str, dst: str) -> None:
        self._connection.move(self._inside(src), self._inside(dst))

    def create_location(self, location: str) -> None:
        """Make a directory, where the file system has directories."""
        self._connection.make_directory(self._inside(location))

    def clear_location(self, location: str) -> None:
        """Remove all objects below a location."""
        for known in list(self._epochs):
            if f"{known}/".startswith(f"{location}/"):
                self._epochs[known] = _TO_BE_READ
        self._connection.remove(self._inside(location))

    def get_items(self) -> list[CacheItemInfo]:
        """List all results, with the time of the last change as that of the last use.

        File systems behind URLs do not tell when an object was read: the limits of
        `Memory.reduce_size` go by the time at which results were stored.
        """
        sizes: dict[str, int] = {}
        times: dict[str, float] = {}
        for inside, size, changed in self._connection.list_files():
            match = _ENTRY.fullmatch(inside)
            if match is None:
                continue
            entry, name = match.groups()
            sizes[entry] = sizes.get(entry, 0) + size
            if name == OUTPUT_FILE or entry not in times:
                times[entry] = changed
        return [
            CacheItemInfo(
                f"{self.location}{entry}",
                size,
                datetime.datetime.fromtimestamp(times[entry]),
            )
            for entry, size in sizes.items()
        ]

    # ------------------------------------------------------------------------ entries
    def load_item(
        self,
        call_id: Sequence[str],
        verbose: int = 1,
        timestamp: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Load a result, by a single request.

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
            When there is no such result, it is of other code, or cannot be reached; a
            `CacheWarning` tells the latter.
        """
        from .. import numpy_pickle

        if verbose > 1:
            self._print_loading(call_id, verbose, timestamp, metadata)
        filename = self._path(call_id, OUTPUT_FILE)
        try:
            content = self._connection.read(self._inside(filename), keep=True)
        except FileNotFoundError as error:
            raise MissingItemError(filename) from error
        except OSError as error:
            self._tell(self._path(call_id), f"cannot be read: {_describe(error)}")
            raise UnreachableItemError(filename, error) from error
        payload, its_seal = unseal(content)
        # References, which have metadata, are to a result whatever the code is by now.
        if metadata is None and not self._is_of_present_code(call_id, its_seal):
            raise MissingItemError(filename)
        return numpy_pickle.load(io.BytesIO(payload))

    def contains_item(self, call_id: Sequence[str]) -> bool:
        """Tell whether there is a result for a call, by the end of it."""
        filename = self._path(call_id, OUTPUT_FILE)
        try:
            end = self._connection.read_end(self._inside(filename), SEAL_LENGTH)
        except FileNotFoundError:
            return False
        except OSError as error:
            entry = self._path(call_id)
            if entry in self._failed:  # as has been told when it was to be stored
                self._failed.discard(entry)
            else:
                self._tell(entry, f"cannot be looked for: {_describe(error)}")
            return False
        return self._is_of_present_code(call_id, find_seal(end))

    def clear_item(self, call_id: Sequence[str]) -> None:
        """Remove the result of a call, if there is one."""
        try:
            self.clear_location(self._path(call_id))
        finally:
            ram.forget(self._path(call_id), below=len(call_id) == 1)

    def dump_item(self, call_id: Sequence[str], item: Any, verbose: int = 1) -> bool:
        """Store a result, by a single request where the file system permits.

        As `StoreBackendMixin.dump_item`; what has been told of the entry when it could
        not be read is not told again.
        """
        entry = self._path(call_id)
        stored = super().dump_item(call_id, item, verbose)
        self._told.discard(entry)
        (self._failed.discard if stored else self._failed.add)(entry)
        return stored

    def _warn_not_stored(self, directory: str, error: Exception) -> None:
        if directory not in self._told:
            super()._warn_not_stored(directory, error)

    def _concurrency_safe_write(
        self, to_write: Any, filename: str, write_func: Callable[[Any, str], None]
    ) -> None:
        # What is opened for writing appears as a whole anyway.
        write_func(to_write, filename)

    def _write(self, filename: str, content: bytes) -> None:
        if posixpath.basename(filename) == OUTPUT_FILE:
            function = posixpath.dirname(posixpath.dirname(filename))
            epoch = self._epochs.get(function) or ""
            content = seal(content, epoch)
        self._connection.write(self._inside(filename), content)

    def _is_of_present_code(
        self, call_id: Sequence[str], its_seal: Seal | None
    ) -> bool:
        function = self._path(call_id[:1])
        known = self._epochs.get(function)
        if its_seal is None:
            # Copied from a local cache: right as long as the code beside it is.
            try:
                self.get_cached_func_code(call_id[:1])
            except OSError:
                return False
            return known is None or self._epochs[function] == known
        if known is None or its_seal.epoch == known:
            return True  # where none is known, nobody asked for the code
        self._epochs[function] = _TO_BE_READ
        return False

    # -------------------------------------------------------------- code of functions
    def store_cached_func_code(
        self, call_id: Sequence[str], func_code: str | None = None
    ) -> None:
        """Write the code of a function, or only make its location.

        Parameters
        ----------
        call_id : sequence of str
            The function.
        func_code : str, optional
            Its code.
        """
        function = self._path(call_id)
        if func_code is None:
            self.create_location(function)
            return
        own = epoch_of(func_code)
        # One that is known at this point was read just before, and its results stay.
        epoch = self._epochs.get(function) or own
        text = func_code if epoch == own else with_epoch(func_code, epoch)
        content = text.encode("utf-8", "surrogateescape")
        self._write_entry_file(content, function, CODE_FILE, self._write_bytes)
        self._epochs[function] = epoch

    def get_cached_func_code(self, call_id: Sequence[str]) -> str:
        """Read the code of a function.

        Raises
        ------
        OSError
            When none is stored, or it cannot be read.
        """
        function = self._path(call_id)
        try:
            stored = super().get_cached_func_code(call_id)
        except OSError:
            self._epochs[function] = _TO_BE_READ
            raise
        text, self._epochs[function] = split_code(stored)
        return text

    def _code_stamp(self, call_id: Sequence[str]) -> object:
        """Return the epoch of a function; no request where it is known."""
        function = self._path(call_id)
        if not self._epochs.get(function):
            try:
                self.get_cached_func_code(call_id)
            except OSError:
                return None
        return self._epochs.get(function) or None

    def _tell(self, entry: str, trouble: str) -> None:
        self._told.add(entry)
        self._warn(f"The cache entry {entry} {trouble}. It is taken for missing.")

    def _warn(self, text: str) -> None:
        warnings.warn(text, CacheWarning, stacklevel=user_stacklevel())


class _Upload(io.BytesIO):
    """A file in memory, stored when it is closed; given up after an exception."""

    def __init__(self, store: Callable[[bytes], None]) -> None:
        super().__init__()
        self._store: Callable[[bytes], None] | None = store

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            self._store = None
        self.close()

    def close(self) -> None:
        """Store what was written."""
        store, self._store = self._store, None
        try:
            if store is not None:
                store(self.getvalue())
        finally:
            super().close()

    def __del__(self) -> None:
        self._store = None  # nobody closed it: half a file is of use to nobody


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
