"""The part of `Parallel` that gets hold of a backend, and lets go of it."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

from .._backends.base import FallbackToBackend
from .claims import claim, release
from .report import CallReport
from .retrieval import warn_early_exit


class BackendHolder(CallReport):
    """Holds a backend: for a call, or for those within ``with Parallel()``."""

    timeout: float | None
    _backend: Any
    _backend_kwargs: dict[str, Any]
    _managed_backend = False
    #: the generator of a call that runs in the caller
    _inline: weakref.ref[Any] | None = None

    def __init__(self) -> None:
        super().__init__()
        #: backends that handed the calls on; their task wrappers still hold
        self._declined: list[Any] = []

    def _initialize_backend(self) -> int:
        """Have the backend made ready; return the effective number of jobs."""
        self._backend = claim(self._backend, self)
        try:
            n_jobs: int = self._backend.configure(
                n_jobs=self.n_jobs, parallel=self, **self._backend_kwargs
            )
        except FallbackToBackend as fallback:
            release(self._backend, self)
            self._declined.append(self._backend)
            self._backend = fallback.backend
            return self._initialize_backend()
        except BaseException:
            release(self._backend, self)
            raise
        if self.timeout is not None and not self._backend.supports_timeout:
            warnings.warn(
                f"The backend class {type(self._backend).__name__!r} does not support "
                f"timeout. You have set 'timeout={self.timeout}' in Parallel but the "
                "'timeout' parameter will not be used.",
                UserWarning,
                stacklevel=2,
            )
        return n_jobs

    def _give_back(self, backend: Any) -> None:
        """Let go of the workers, and of the backend."""
        try:
            backend.terminate()
        finally:
            release(backend, self)
            if getattr(backend, "parallel", None) is self:
                backend.parallel = None  # no cycle: both go when this object goes

    def _effective_n_jobs(self) -> int:
        n_jobs: int = self._backend.effective_n_jobs(self.n_jobs)
        return n_jobs

    def __enter__(self) -> Any:
        self._managed_backend = True
        try:
            self._initialize_backend()
        except BaseException:
            self._managed_backend = False
            raise
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self._managed_backend = False
        run = self._run
        try:
            if run is not None and not run.ended:
                warn_early_exit(run)
                run.end()
        finally:
            if run is not None:
                run.wait_until_over()  # another thread may be about it
            self._give_back(self._backend)

    def cancel(self) -> bool:
        """Call the present call off; from another thread, or between two results.

        Tasks that have not begun are dropped; those that run are stopped where the
        backend can stop them, as after an error. The thread that waits for results, or
        asks for the next one, gets a `concurrent.futures.CancelledError`. Nothing
        stays behind, and the object can be called again.

        Returns
        -------
        bool
            Whether there was a call to call off.

        Examples
        --------
        >>> from joblib import Parallel, delayed
        >>> parallel = Parallel(n_jobs=2, prefer="threads", return_as="generator")
        >>> results = parallel(delayed(abs)(-n) for n in range(1000))
        >>> next(results), parallel.cancel(), parallel.cancel()
        (0, True, False)
        """
        from concurrent.futures import CancelledError

        run = self._run
        if run is None or not run.active:
            return False
        run.fail(CancelledError("The call was called off by Parallel.cancel()."))
        if self.return_generator:  # its consumer may never come back
            generator = None if self._inline is None else self._inline()
            if not run.is_inline:
                run.end(apart=True)
            elif generator is None or not generator.gi_running:
                run.end()  # no task is at work
        return True
