"""Whether a call of a process backend is for the one that isolates its tasks."""

from __future__ import annotations

from typing import Any

from .base import FallbackToBackend, ParallelBackendBase


def hand_on_if_isolated(backend: ParallelBackendBase, parallel: Any, kind: str) -> None:
    """Raise `FallbackToBackend` if the tasks of a call are to be isolated.

    Parameters
    ----------
    backend : ParallelBackendBase
        What the call was given to.
    parallel : Parallel or None
        Whose call it is.
    kind : {"loky", "multiprocessing"}
        Of which backend the processes are to be.
    """
    controls = getattr(parallel, "_controls", None)
    if controls is None or not controls.one_by_one:
        return
    from .isolated import IsolatedTasksBackend

    raise FallbackToBackend(
        IsolatedTasksBackend(
            kind,
            nesting_level=backend.nesting_level,
            inner_max_num_threads=backend.inner_max_num_threads,
            **backend.backend_kwargs,
        )
    )
