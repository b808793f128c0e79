"""How the arrays of one call get to its workers: the options, the files, their end."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from .._memmap.folders import TemporaryFolder
from .._memmap.reducers import ForwardReducer
from .._memmap.results import ResultPlace
from .._memmap.store import ArrayStore, Dump
from .._memmapping_reducer import temporary_folder, temporary_place
from ..disk import memstr_to_bytes

#: arrays of more bytes go by file
DEFAULT_MAX_NBYTES = 1e6

# By process and place: where workers write large results. Kept from call to call, as
# most calls have none, and whether this one has is only known when they come.
_result_folders: dict[tuple[int, str], TemporaryFolder] = {}


def _lasting_folder(root: str) -> TemporaryFolder:
    """Return the folder for results that is in `root`, where calls have theirs."""
    key = os.getpid(), root
    known = _result_folders.get(key)
    if known is None:
        folder, _ = temporary_folder("results-" + uuid.uuid4().hex)
        known = _result_folders.setdefault(key, folder)
    return known


class CallArrays:
    """Reduces the arrays in a call's tasks, and cleans up after the call.

    Parameters
    ----------
    max_nbytes : float, str or None, default=1e6
        Arrays of more bytes are written to a file that the workers map, once
        for the whole call; those in results to files that the caller maps. May be
        written like "50M"; None: none is.
    mmap_mode : {None, "r", "r+", "w+", "c"}, default="r"
        How workers open the files; None: no array goes by file.
    temp_folder : str, optional
        The folder to make ours in, for the files.
    verbose : int, default=0
        Tell of files from 5 on.
    prewarm : bool, default=False
        Read each file once when it is written.
    """

    def __init__(
        self,
        max_nbytes: float | str | None = DEFAULT_MAX_NBYTES,
        mmap_mode: str | None = "r",
        temp_folder: str | None = None,
        verbose: int = 0,
        prewarm: bool = False,
    ) -> None:
        if isinstance(max_nbytes, str):
            max_nbytes = memstr_to_bytes(max_nbytes)
        call = uuid.uuid4().hex
        #: where the call's files are written
        self.place, _ = temporary_place(call, temp_folder)
        #: where the workers write large results
        self.results: ResultPlace | None = None
        if max_nbytes is not None and os.name == "posix":
            root = os.path.dirname(self.place.path)
            own = self.place if temp_folder is not None else _lasting_folder(root)
            self.results = ResultPlace(own.create(), f"result-{call}", max_nbytes)
        self._store = ArrayStore(self.place)
        self._reducer = ForwardReducer(
            self._store, max_nbytes, mmap_mode, verbose, bool(prewarm)
        )

    def reducers(self, leases: list[Dump]) -> dict[type, Callable[[Any], Any]]:
        """Return the reducers for one batch, whose files are noted in `leases`."""
        numpy = sys.modules.get("numpy")
        if numpy is None:  # then nobody has made an array
            return {}
        reduce = partial(self._reducer.reduce, leases=leases)
        return {numpy.ndarray: reduce, numpy.memmap: reduce}

    def give_back(self, leases: list[Dump]) -> None:
        """Say that a batch has ended, and needs its files no more."""
        if leases:
            self._store.give_back(leases)

    @property
    def folder(self) -> str:
        """Where the files are, once there are any."""
        return self.place.path

    def close(self) -> None:
        """Delete the files. Idempotent."""
        self._store.close()
        if self.results is not None:
            self.results.sweep()
        self.place.delete()


#: the options of `CallArrays`, as `Parallel` takes them
ARRAY_OPTIONS = ("max_nbytes", "mmap_mode", "temp_folder", "verbose", "prewarm")


def arrays_of_call(options: dict[str, Any]) -> CallArrays:
    """Return what carries the arrays of a call made with these options of all."""
    return CallArrays(**{k: options[k] for k in ARRAY_OPTIONS if k in options})
