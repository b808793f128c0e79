"""The threads of native libraries (BLAS, OpenMP) are lowered to a worker's share.

Environment variables do that for processes that start anew, see
`ParallelBackendBase._prepare_worker_env`. Where a library is loaded already, because
the worker is a thread or a forked process, it takes the package threadpoolctl; where
that is not installed, such libraries keep the threads they have. Nothing is raised
here, only lowered. On threads that is OpenMP, which counts them for each thread of the
program; BLAS has one number for all, the caller's among them, and keeps it.
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
    """Whether there is anything that `limit_thread` could lower."""
    # the user's own word is known without a look at the libraries
    by_user = not is_nested and os.environ.get("OMP_NUM_THREADS")
    return not by_user and any(map(_is_of_thread, libraries()))


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
