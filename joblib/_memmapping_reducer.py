"""Reducers and temporary resources for arrays shared with worker processes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

from ._identity_map import WeakIdentityMap
from ._memmap.folders import (
    FILE_PERMISSIONS,
    FOLDER_PERMISSIONS,
    FOLDER_PREFIX,
    TemporaryFolder,
    choose_root,
)
from ._memmap.placing import Place, write_whole
from ._memmap.reducers import ForwardReducer, reduce_backward
from ._memmap.store import ArrayStore
from ._memmap.views import (
    backing_memmap,
    has_shareable_memory,
    open_contiguous,
    open_strided,
    reduce_plain,
)
from .disk import memstr_to_bytes

__all__ = [
    "FILE_PERMISSIONS",
    "FOLDER_PERMISSIONS",
    "SYSTEM_SHARED_MEM_FS",
    "SYSTEM_SHARED_MEM_FS_MIN_SIZE",
    "ArrayMemmapForwardReducer",
    "TemporaryResourcesManager",
    "get_memmapping_reducers",
    "has_shareable_memory",
    "reduce_array_memmap_backward",
]

# the names that these had when they lived here
_WeakArrayKeyMap = WeakIdentityMap
_get_backing_memmap = backing_memmap

# Other projects assign to these two: they are read where they are used.

#: a file system in memory, preferred for arrays to share if it is large enough
SYSTEM_SHARED_MEM_FS = "/dev/shm"

#: free bytes it must have; containers often have but a tiny one
SYSTEM_SHARED_MEM_FS_MIN_SIZE = int(2e9)


def _get_temp_dir(
    pool_folder_name: str, temp_folder: str | None = None
) -> tuple[str, bool]:
    """Return the full path of a folder to be made, and whether it is in memory."""
    root, in_memory = choose_root(
        None if temp_folder is None else os.fspath(temp_folder),
        SYSTEM_SHARED_MEM_FS,
        SYSTEM_SHARED_MEM_FS_MIN_SIZE,
    )
    return os.path.join(root, pool_folder_name), in_memory


def temporary_folder(
    unique: str, temp_folder: str | None = None
) -> tuple[TemporaryFolder, bool]:
    """Choose where a folder will be made; return it, and whether it is in memory."""
    path, in_memory = _get_temp_dir(
        f"{FOLDER_PREFIX}{os.getpid()}_{unique}", temp_folder
    )
    return TemporaryFolder(path), in_memory


def temporary_place(unique: str, temp_folder: str | None = None) -> tuple[Place, bool]:
    """Choose where files will be written; return it, and whether it is in memory."""
    folder, in_memory = temporary_folder(unique, temp_folder)
    return Place(folder, may_move=in_memory), in_memory


class TemporaryResourcesManager:
    """Gives each of several contexts a temporary folder of its own.

    Parameters
    ----------
    temp_folder_root : str, optional
        The folder to make them in; chosen as for ``Parallel(temp_folder=)``
        when left out.
    context_id : str, optional
        The first context; made up when left out.
    """

    def __init__(
        self, temp_folder_root: str | None = None, context_id: str | None = None
    ) -> None:
        self._temp_folder_root = temp_folder_root
        self._unique = uuid.uuid4().hex
        self._places: dict[str, Place] = {}
        self._current = ""
        self.set_current_context(context_id or uuid.uuid4().hex)

    def set_current_context(self, context_id: str) -> None:
        """Have the folder of `context_id` used from now on."""
        self.register_new_context(context_id)
        self._current = context_id

    def register_new_context(self, context_id: str) -> None:
        """Choose a folder for `context_id`, if it has none.

        It is made at once only on a file system in memory, of which it is not
        sure before that it can be used.
        """
        if context_id not in self._places:
            place, in_memory = temporary_place(
                f"{self._unique}_{context_id}", self._temp_folder_root
            )
            self._places[context_id] = place
            if in_memory:
                place.create()

    def resolve_temp_folder_name(self) -> str:
        """Return the path of the current context's folder, made or not."""
        return self._places[self._current].path

    def create_temp_folder(self) -> str:
        """Make the current context's folder if it is not there; return its path."""
        return self._places[self._current].create()

    def current_place(self) -> Place:
        """Return where the current context's files are written."""
        return self._places[self._current]

    def _clean_temporary_resources(
        self,
        context_id: str | None = None,
        force: bool = False,
        allow_non_empty: bool = True,
    ) -> None:
        """Delete the folder of one context, or those of all."""
        if context_id is None:
            for place in self._places.values():
                place.delete()
        elif context_id in self._places:
            # a new one is chosen should the context be used again
            self._places.pop(context_id).delete()


class _Resolved:
    """Writes where a resolver says, which may be another folder each time."""

    def __init__(self, resolver: Callable[[], str] | str) -> None:
        self._resolver = resolver

    @property
    def path(self) -> str:
        return self._resolver() if callable(self._resolver) else self._resolver

    def write(self, name: str, write: Callable[[str], None]) -> str:
        manager = getattr(self._resolver, "__self__", None)
        if isinstance(manager, TemporaryResourcesManager):
            return manager.current_place().write(name, write)
        os.makedirs(self.path, mode=FOLDER_PERMISSIONS, exist_ok=True)
        return write_whole(os.path.join(self.path, name), write)


class ArrayMemmapForwardReducer:
    """Reduces arrays for worker processes, by file where they are large.

    Parameters
    ----------
    max_nbytes : int or None
        Arrays of more bytes go by file; none does if it is None.
    temp_folder_resolver : callable or str
        The folder for the files, or what returns it.
    mmap_mode : {None, "r", "r+", "w+", "c"}
        How workers open the files; "w+" is taken as "r+", None is no files.
    unlink_on_gc_collect : bool
        Taken and not used: files stay until their folder goes.
    verbose : int, default=0
        Tell of files from 5 on.
    prewarm : bool, default=True
        Read each file once when it is written, so that it is in memory when
        workers open it.
    """

    def __init__(
        self,
        max_nbytes: int | None,
        temp_folder_resolver: Callable[[], str] | str,
        mmap_mode: str | None,
        unlink_on_gc_collect: bool,
        verbose: int = 0,
        prewarm: bool = True,
    ) -> None:
        self._resolve = temp_folder_resolver
        self._options = (max_nbytes, mmap_mode, unlink_on_gc_collect, verbose, prewarm)
        self._reducer = ForwardReducer(
            ArrayStore(_Resolved(temp_folder_resolver), early=False),
            max_nbytes,
            mmap_mode,
            verbose,
            prewarm,
            reduce_plain,
        )

    @property
    def _temp_folder(self) -> str:
        return self._resolve() if callable(self._resolve) else self._resolve

    def __call__(self, a: Any) -> Any:
        """Return a function and arguments that give `a` in the worker."""
        return self._reducer.reduce(a)

    def __reduce__(self) -> Any:
        # A worker that is started by pickling gets a copy, which writes nothing
        # of what the caller's has written already.
        max_nbytes, mmap_mode, unlink, verbose, prewarm = self._options
        return ArrayMemmapForwardReducer, (
            max_nbytes,
            self._temp_folder,
            mmap_mode,
            unlink,
            verbose,
            prewarm,
        )


def reduce_array_memmap_backward(a: Any) -> Any:
    """Reduce an array that a worker returns; see `get_memmapping_reducers`."""
    return reduce_backward(a)


def _strided_from_memmap(
    filename: str,
    dtype: Any,
    mode: str,
    offset: int,
    order: str,
    shape: Any,
    strides: tuple[int, ...] | None,
    total_buffer_len: int | None,
    unlink_on_gc_collect: bool,
) -> Any:
    """Open an array in a file; `total_buffer_len` counts elements."""
    import numpy as np

    mode = "r+" if mode == "w+" else mode
    if strides is None or total_buffer_len is None:
        return open_contiguous(filename, mode, offset, dtype, shape, order)
    n_bytes = total_buffer_len * np.dtype(dtype).itemsize
    return open_strided(filename, mode, offset, n_bytes, dtype, shape, strides)


def get_memmapping_reducers(
    forward_reducers: dict[type, Any] | None = None,
    backward_reducers: dict[type, Any] | None = None,
    temp_folder_resolver: Callable[[], str] | str | None = None,
    max_nbytes: float | str | None = 1e6,
    mmap_mode: str | None = "r",
    verbose: int = 0,
    prewarm: bool = False,
    unlink_on_gc_collect: bool = True,
    **kwargs: Any,
) -> tuple[dict[type, Any], dict[type, Any]]:
    """Return reducers by which a pool of processes shares large arrays.

    Parameters
    ----------
    forward_reducers, backward_reducers : dict of type to callable, optional
        Other reducers, for objects sent to the workers and for those they
        return; added to copies of these, where they have precedence.
    temp_folder_resolver : callable or str
        The folder for the files, or what returns it.
    max_nbytes : int, str or None, default=1e6
        Arrays of more bytes are written to a file that the workers map. May be
        written like "50M"; None: none is.
    mmap_mode : {None, "r", "r+", "w+", "c"}, default="r"
        How workers open the files; None: no array goes by file.
    verbose : int, default=0
        Tell of files from 5 on.
    prewarm : bool, default=False
        Read each file once when it is written.
    unlink_on_gc_collect : bool, default=True
        Taken for compatibility.
    **kwargs
        Ignored.

    Returns
    -------
    forward, backward : dict of type to callable
        Reducers of what is sent, and of what comes back. Arrays in files of
        the user's travel by name either way; arrays in files of ours come back
        as ordinary arrays.
    """
    forward = dict(forward_reducers or {})
    backward = dict(backward_reducers or {})
    try:
        import numpy as np
    except ImportError:
        return forward, backward
    if isinstance(max_nbytes, str):
        max_nbytes = memstr_to_bytes(max_nbytes)
    if temp_folder_resolver is None:
        temp_folder_resolver = TemporaryResourcesManager().resolve_temp_folder_name
    reducer = ArrayMemmapForwardReducer(
        None if max_nbytes is None else int(max_nbytes),
        temp_folder_resolver,
        mmap_mode,
        unlink_on_gc_collect,
        verbose,
        prewarm,
    )
    for array_type in (np.ndarray, np.memmap):
        forward.setdefault(array_type, reducer)
        backward.setdefault(array_type, reduce_array_memmap_backward)
    return forward, backward
