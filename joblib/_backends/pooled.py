"""What backends have in common that run their tasks on a ``multiprocessing`` pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._captured import unwrap
from .._engine.context import share_of_cores
from .._multiprocessing_helpers import mp
from .._utils import _TracebackCapturingWrapper

if TYPE_CHECKING:
    from ..parallel import Parallel


class PoolManagerMixin:
    """Submits to the pool in ``self._pool``.

    Other projects combine it with a pool of their own that has
    ``apply_async(func, args, callback=, error_callback=)``: they set ``_pool``
    in `configure` or override `_get_pool`.
    """

    _pool: Any = None
    parallel: Parallel | None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of workers; negative counts back from all cores."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or mp is None:
            return 1
        return max(share_of_cores() + 1 + n_jobs, 1) if n_jobs < 0 else n_jobs

    def terminate(self) -> None:
        """End the pool, and forget it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
            pool.terminate()

    def _get_pool(self) -> Any:
        """Return the pool that tasks go to."""
        return self._pool

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Have the pool run one batch."""
        return self._get_pool().apply_async(
            _TracebackCapturingWrapper(func),
            (),
            callback=callback,
            error_callback=callback,
        )

    def retrieve_result_callback(self, result: Any) -> Any:
        """Return a batch's results, or raise what the worker or the pool raised."""
        if isinstance(result, BaseException):
            raise result
        return unwrap(result)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the pool with what it runs; start a new one if asked to."""
        self.terminate()
        parallel = self.parallel
        if ensure_ready and parallel is not None:
            configure = getattr(self, "configure")  # noqa: B009 - of the other base
            configure(
                n_jobs=parallel.n_jobs, parallel=parallel, **parallel._backend_kwargs
            )
