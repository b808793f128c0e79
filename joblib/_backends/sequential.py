"""The backend of calls that run in the calling thread, one task after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._engine.context import DEFAULTS, current, is_set, setting
from .base import ParallelBackendBase


class SequentialBackend(ParallelBackendBase):
    """Runs nothing by itself: the engine runs a call with one job inline."""

    uses_threads = True
    supports_sharedmem = True
    supports_timeout = False
    supports_retrieve_callback = False
    supports_return_generator = True

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return 1, whatever was asked for, except 0, which is an error."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return 1

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        raise RuntimeError("Should never be called for SequentialBackend.")

    def retrieve_result_callback(self, out: Any) -> Any:
        raise RuntimeError("Should never be called for SequentialBackend.")

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """Return the context's backend: running inline takes nothing away.

        Calls made inside the tasks are served as if this one were not there.
        """
        config = current()
        if is_set(config, "backend"):
            return config["backend"], setting(DEFAULTS["n_jobs"], config, "n_jobs")
        return super().get_nested_backend()
