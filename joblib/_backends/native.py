"""The threads of native libraries (BLAS, OpenMP) are lowered to a worker's share.

Environment variables do that for processes that start anew, see
`ParallelBackendBase._prepare_worker_env`. Where a library is loaded already, because
the worker is a thread or a forked process, it takes the package threadpoolctl; where
that is not installed, such libraries keep the threads they have. Nothing is raised
here, only lowered.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, NamedTuple

#: packages that load such libraries: without one of them there is nothing to look for
USERS = frozenset({"faiss", "lightgbm", "mkl", "numpy", "scipy", "torch", "xgboost"})
#: what sizes the pool of a library, beside OMP_NUM_THREADS
VARIABLES = {
    "blis": "BLIS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "openblas": "OPENBLAS_NUM_THREADS",
    "openmp": "OMP_NUM_THREADS",
}


class _Found(NamedTuple):
    """The libraries that were loaded when that many modules were."""

    n_modules: int
    libraries: list[Any]


_found = _Found(0, [])
_lock = threading.Lock()
#: by call on threads: the most threads that a library may use in each of its tasks
_limits: dict[object, int] = {}
#: by library, with its threads when the first of these calls began
_before: dict[str, tuple[Any, int]] = {}


class _Here(threading.local):
    """What this thread has set for itself alone, by library: with what was before."""

    changed: dict[str, tuple[Any, int]] | None = None


_here = _Here()


def libraries() -> list[Any]:
    """Return threadpoolctl's controllers of the libraries that are loaded.

    Empty where it is not installed, and where nothing loads such libraries.
    """
    global _found
    if USERS.isdisjoint(sys.modules):
        return []
    if _found.n_modules != len(sys.modules):
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:
            return []
        # the import of threadpoolctl counts as well
        found = ThreadpoolController().lib_controllers
        _found = _Found(len(sys.modules), list(found))
    return _found.libraries


def _is_of_thread(library: Any) -> bool:
    # OpenMP counts the threads for each thread of the program by itself
    return bool(library.user_api == "openmp")


def _is_set_by_user(library: Any) -> bool:
    own = VARIABLES.get(library.internal_api, "OMP_NUM_THREADS")
    return bool(os.environ.get(own) or os.environ.get("OMP_NUM_THREADS"))


def _lower(library: Any, limit: int) -> None:
    if library.get_num_threads() > limit:
        library.set_num_threads(limit)


def may_lower(is_nested: bool) -> bool:
    """Whether there is anything that `begin` or `limit_thread` could lower."""
    # the user's own word is known without a look at the libraries
    by_user = not is_nested and os.environ.get("OMP_NUM_THREADS")
    return not by_user and bool(libraries())


def limit_worker(env: dict[str, str]) -> None:
    """Keep this worker process to what `env` says of threads.

    Parameters
    ----------
    env : dict of str to str
        Environment variables, which hold for libraries that are loaded later.
    """
    os.environ.update(env)
    for library in libraries():
        value = env.get(VARIABLES.get(library.internal_api, "OMP_NUM_THREADS"), "")
        if value.isdecimal() and int(value) > 0:
            _lower(library, int(value))


def begin(limit: int, is_nested: bool) -> object | None:
    """Lower the threads of this process while a call runs on threads of it.

    Parameters
    ----------
    limit : int
        Threads that a library may use in each task.
    is_nested : bool
        Whether the call is made by a task of another: then environment variables
        are those of its worker, and else the user's, which are left alone.

    Returns
    -------
    object or None
        For `end`; None if there is nothing to be undone.
    """
    found = [
        library
        for library in libraries()
        if not _is_of_thread(library) and (is_nested or not _is_set_by_user(library))
    ]
    if not found:
        return None
    call = object()
    with _lock:
        _limits[call] = limit
        for library in found:
            _before.setdefault(library.filepath, (library, library.get_num_threads()))
        _apply()
    return call


def end(call: object | None) -> None:
    """Say that a call has ended; with the last one all is as it was. Idempotent."""
    if call is None:
        return
    with _lock:
        if _limits.pop(call, None) is None:
            return
        _apply()
        if not _limits:
            _before.clear()


def _apply() -> None:
    limit = min(_limits.values(), default=None)
    for library, before in _before.values():
        wanted = before if limit is None else min(before, limit)
        if library.get_num_threads() != wanted:
            library.set_num_threads(wanted)


def limit_thread(limit: int | None, is_nested: bool = False) -> None:
    """Keep the calling thread to that many OpenMP threads; None: as it was before."""
    changed = _here.changed
    if limit is None and changed is None:
        return
    if changed is None:
        changed = _here.changed = {}
    for library, before in changed.values():
        library.set_num_threads(before)
    changed.clear()
    if limit is None:
        _here.changed = None
        return
    for library in libraries():
        if not _is_of_thread(library) or (not is_nested and _is_set_by_user(library)):
            continue
        before = library.get_num_threads()
        if before > limit:
            changed[library.filepath] = library, before
            library.set_num_threads(limit)


def _forget_all() -> None:
    # After a fork the calls of the parent are none of ours, and the lock may be held.
    global _lock
    _lock = threading.Lock()
    _limits.clear()
    _before.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
