"""What a stored result consists of, and how it is written so that readers find it whole.

An entry is a directory ``<function>/<hash of the arguments>/`` with ``output.pkl`` and
``metadata.json``; beside the entries of a function, ``func_code.py`` holds the source
that computed them. Each file appears under its name by a rename, complete.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from ..logger import format_time
from . import ram
from .callers import user_stacklevel
from .limits import StoreLimits
from .store import CacheItemInfo, CacheWarning, MissingItemError
from .writing import concurrency_safe_write, discard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OUTPUT_FILE = "output.pkl"
METADATA_FILE = "metadata.json"
CODE_FILE = "func_code.py"

# A directory that is evicted between its creation and the rename into it is made
# anew this often before the result is given up.
_WRITE_ATTEMPTS = 5

# Location of a function -> how often this process wrote its code.
_codes_written: dict[str, int] = {}


class StoreBackendMixin(StoreLimits):
    """What all stores share: items and the code of functions, in terms of the contract.

    To be mixed into a subclass of `StoreBackendBase`, whose methods it calls.
    """

    __module__ = "joblib._store_backends"

    if TYPE_CHECKING:
        # The contract's half of a store, and what `configure` sets.
        location: str | None
        compress: Any
        mmap_mode: str | None
        verbose: int
        _open_item: Callable[..., Any]
        _item_exists: Callable[[str], bool]
        _move_item: Callable[[str, str], None]
        create_location: Callable[[str], None]
        clear_location: Callable[[str], None]
        get_items: Callable[[], list[CacheItemInfo]]
        lock_location: Callable[[], str | None]

    def _path(self, call_id: Sequence[str], *names: str) -> str:
        # As os.path.join does it for such parts, in a fifth of the time.
        return os.sep.join((self.location or os.curdir, *call_id, *names))

    # ------------------------------------------------------------------- outputs
    def load_item(
        self,
        call_id: Sequence[str],
        verbose: int = 1,
        timestamp: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Load a result.

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
        from .. import numpy_pickle

        if verbose > 1:
            self._print_loading(call_id, verbose, timestamp, metadata)
        filename = self._path(call_id, OUTPUT_FILE)
        mmap_mode = getattr(self, "mmap_mode", None)
        if getattr(self, "compress", False):
            mmap_mode = None  # nothing there that could be mapped
        try:
            if mmap_mode is not None:
                return numpy_pickle.load(filename, mmap_mode=mmap_mode)
            with self._open_item(filename, "rb") as stream:
                return numpy_pickle.load(stream)
        except Exception as error:
            # Asked only now: a hit pays for no question.
            if self._item_exists(filename):
                raise
            raise MissingItemError(filename) from error

    def _print_loading(
        self,
        call_id: Sequence[str],
        verbose: int,
        timestamp: float | None,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        lapse = ""
        if timestamp is not None:
            lapse = f"{format_time(time.time() - timestamp):<16}"
        call = os.path.basename(call_id[0])
        arguments = (metadata or {}).get("input_args")
        if arguments is not None:
            shown = ", ".join(f"{name}={value}" for name, value in arguments.items())
            call = f"{call}({shown})"
        origin = "..." if verbose < 10 else f" from {self._path(call_id)}"
        print(f"[Memory]{lapse}: Loading {call}{origin}")

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

        Warns
        -----
        CacheWarning
            When it cannot be written: disk full, no permission, an error of the
            object's own while it is pickled.
        FutureWarning
            When it is no object that can be pickled.
        """
        directory = self._path(call_id)

        def write(item: Any, filename: str) -> None:
            size = self._write_output(item, filename)
            if self.max_size is not None:
                self._note_size(directory, size)

        if verbose > 10:
            print(f"Persisting in {directory}")
        try:
            self._write_entry_file(item, directory, OUTPUT_FILE, write)
        except PicklingError as error:
            warnings.warn(
                f"Unable to cache to disk: the result cannot be pickled ({error}). "
                "It is returned, and computed again at the next call. A later version "
                f"will raise this error. The entry was to be {directory}.",
                FutureWarning,
                stacklevel=user_stacklevel(),
            )
            return False
        except Exception as error:
            self._warn_not_stored(directory, error)
            return False
        return True

    def _write_output(self, item: Any, filename: str) -> int:
        """Write a result to a new file; return the number of its bytes."""
        from .. import numpy_pickle

        with self._open_item(filename, "wb") as stream:
            numpy_pickle.dump(item, stream, compress=self.compress)
            return int(stream.tell())

    def _warn_not_stored(self, directory: str, error: Exception) -> None:
        warnings.warn(
            f"Unable to cache to disk, in {directory}: {type(error).__name__}: "
            f"{error}. The result is returned, and computed again at the next call.",
            CacheWarning,
            stacklevel=user_stacklevel(),
        )

    def _write_entry_file(
        self,
        content: Any,
        directory: str,
        name: str,
        write: Callable[[Any, str], None],
    ) -> None:
        """Write one file of an entry, though its directory may be evicted meanwhile."""
        for attempt in range(1, _WRITE_ATTEMPTS + 1):
            try:
                # Metadata follow an output: the directory is there, as a rule.
                if attempt > 1 or name != METADATA_FILE:
                    self.create_location(directory)
                self._concurrency_safe_write(
                    content, os.path.join(directory, name), write
                )
                return
            except (FileNotFoundError, FileExistsError):
                # The latter, too: it was there, and then it was no directory any more.
                if attempt == _WRITE_ATTEMPTS:
                    raise

    def _write_bytes(self, content: bytes, filename: str) -> None:
        with self._open_item(filename, "wb") as stream:
            stream.write(content)

    def _concurrency_safe_write(
        self, to_write: Any, filename: str, write_func: Callable[[Any, str], None]
    ) -> None:
        """Write an object to a file that readers find complete, or as it was."""
        temporary = concurrency_safe_write(to_write, filename, write_func)
        try:
            try:
                self._move_item(temporary, filename)
            except OSError:
                if not os.path.isdir(filename):
                    raise
                # Nothing of ours: a directory cannot be replaced by a file.
                self.clear_location(filename)
                self._move_item(temporary, filename)
        except BaseException:
            discard(temporary)
            raise

    def contains_item(self, call_id: Sequence[str]) -> bool:
        """Tell whether there is a result for a call."""
        return self._item_exists(self._path(call_id, OUTPUT_FILE))

    def clear_item(self, call_id: Sequence[str]) -> None:
        """Remove the result of a call, if there is one."""
        path = self._path(call_id)
        try:
            if self._item_exists(path):
                self.clear_location(path)
        finally:
            ram.forget(path, below=len(call_id) == 1)

    def note_item_use(self, call_id: Sequence[str]) -> None:
        """Note that a result was used though it was not loaded; here, nowhere."""

    def get_item_info(self, call_id: Sequence[str]) -> dict[str, str]:
        """Tell the location of the result of a call."""
        return {"location": self._path(call_id)}

    # ------------------------------------------------------------------ metadata
    def get_metadata(self, call_id: Sequence[str]) -> dict[str, Any]:
        """Read the metadata of a call.

        Returns
        -------
        dict
            ``duration`` in seconds, ``time`` in seconds since the epoch and
            ``input_args``, the representations of the arguments; empty when there is
            none, or with a `CacheWarning` when it is damaged.
        """
        filename = self._path(call_id, METADATA_FILE)
        try:
            with self._open_item(filename, "rb") as stream:
                metadata = json.loads(stream.read())
            if not isinstance(metadata, dict):
                raise ValueError("no JSON object")
        except Exception as error:
            if self._item_exists(filename):
                warnings.warn(
                    f"The metadata of the cache entry {self._path(call_id)} cannot be "
                    f"read ({error}); they are taken for missing.",
                    CacheWarning,
                    stacklevel=user_stacklevel(),
                )
            return {}
        return metadata

    def store_metadata(self, call_id: Sequence[str], metadata: dict[str, Any]) -> None:
        """Write the metadata of a call; warn where that is not possible."""
        directory = self._path(call_id)
        try:
            content = json.dumps(metadata).encode("utf-8")
            if self.max_size is not None:
                self._note_size(directory, len(content))
            self._write_entry_file(content, directory, METADATA_FILE, self._write_bytes)
        except Exception as error:
            warnings.warn(
                f"Unable to store the metadata of the cache entry {directory}: {error}.",
                CacheWarning,
                stacklevel=user_stacklevel(),
            )

    # ---------------------------------------------------------- code of functions
    def contains_path(self, call_id: Sequence[str]) -> bool:
        """Tell whether there is anything for a function."""
        return self._item_exists(self._path(call_id))

    def clear_path(self, call_id: Sequence[str]) -> None:
        """Remove all that is stored for a function."""
        self.clear_item(call_id)

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
        directory = self._path(call_id)
        if func_code is None:
            self.create_location(directory)
            return
        content = func_code.encode("utf-8", "surrogateescape")
        self._write_entry_file(content, directory, CODE_FILE, self._write_bytes)
        _codes_written[directory] = _codes_written.get(directory, 0) + 1

    def get_cached_func_code(self, call_id: Sequence[str]) -> str:
        """Read the code of a function.

        Raises
        ------
        OSError
            When none is stored.
        """
        filename = self._path(call_id, CODE_FILE)
        with self._open_item(filename, "rb") as stream:
            content: bytes = stream.read()
        return content.decode("utf-8", "surrogateescape")

    def get_cached_func_info(self, call_id: Sequence[str]) -> dict[str, str]:
        """Tell the location of a function."""
        return {"location": self._path(call_id)}

    def _has_results(self, call_id: Sequence[str]) -> bool:
        """Tell whether there are results of a function, whatever its code.

        Asked where its code is missing. A store that cannot tell says no.
        """
        return False

    def _code_stamp(self, call_id: Sequence[str]) -> object:
        """Return what changes whenever the stored code of a function does.

        None stands for "no code there". A store that cannot ask its place cheaply
        counts what this process wrote; changes made by others go unseen until the
        next start.
        """
        return _codes_written.get(self._path(call_id), 0)

    # ------------------------------------------------------------ the whole store
    def clear(self) -> None:
        """Remove everything."""
        if self.location is None:
            return
        try:
            self.clear_location(self.location)
        finally:
            ram.forget(self.location, below=True)
        self._sweep_locks()

    def __repr__(self) -> str:
        return f'{type(self).__name__}(location="{self.location}")'
