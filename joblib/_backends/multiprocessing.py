"""The backend on a ``multiprocessing`` pool, started for each call."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import native
from .admission import count_workers, refuse_while_starting, workers_have_main
from .autobatch import AutoBatchingMixin
from .base import FallbackToBackend, ParallelBackendBase
from .delivery import Delivery
from .ending import remember
from .isolating import hand_on_if_isolated
from .orphans import Start
from .pooled import PoolManagerMixin

if TYPE_CHECKING:
    from ..parallel import Parallel
    from .arrays import CallArrays
    from .guard import PoolGuard
    from .transport import Transport


#: those of `configure`'s options that are the pool's
POOL_OPTIONS = ("initializer", "initargs", "maxtasksperchild")


class MultiprocessingBackend(PoolManagerMixin, AutoBatchingMixin, ParallelBackendBase):
    """Runs tasks on a pool of processes that lives as long as the call.

    With the start method "fork" its workers begin with everything the caller
    has in memory.
    """

    supports_retrieve_callback = True
    supports_return_generator = False
    shares_machine = True

    _of_one_call = ("_pool", "_guard", "_transport", "_arrays", "_restart", "parallel")

    _guard: PoolGuard | None = None
    _transport: Transport | None = None
    _arrays: CallArrays | None = None
    _restart: Callable[[], None] | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of workers for a call made here; 1 where there are none.

        Warns where nesting is what forbids more.
        """
        return count_workers(
            n_jobs,
            self.nesting_level,
            label="Multiprocessing",
            may_nest_in_loky=False,
        )

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Parallel | None = None,
        prefer: str | None = None,
        require: str | None = None,
        **kwargs: Any,
    ) -> int:
        """Start the workers."""
        if type(self) is MultiprocessingBackend:  # others have pools of their own
            hand_on_if_isolated(self, parallel, "multiprocessing")
        if n_jobs != 1:
            refuse_while_starting()
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            from .sequential import SequentialBackend

            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        options = {**self.backend_kwargs, **kwargs}
        self._sends_alone = options.get("mmap_mode") == "c"
        from .arrays import arrays_of_call
        from .scattered import scatter_of

        scatter_of(options)  # told before there are workers
        self._arrays = arrays_of_call(options)
        # for `abort_everything`, which must not negotiate anew
        self._restart = partial(self._start, workers, options)
        self._restart()
        return workers

    def _start(self, n_jobs: int, options: dict[str, Any]) -> None:
        import multiprocessing.pool

        from .._multiprocessing_helpers import default_context
        from ..pool import PicklingPool

        context = options.get("context") or default_context()
        method = context.get_start_method()
        if method == "fork":
            gc.collect()  # once here, instead of once in each worker
        given = {
            name: options[name]
            for name in POOL_OPTIONS
            if options.get(name) is not None
        }
        # A pool of another project, put in place of multiprocessing's, pickles
        # in its own way and looks after its workers itself.
        is_ours = issubclass(PicklingPool, multiprocessing.pool.Pool)
        if is_ours:
            initializer = given.pop("initializer", None)
            env = self._prepare_worker_env(n_jobs)
            given["initializer"] = Start(initializer, given.pop("initargs", ()), env)
            # Imported before there are workers: one that is forked while another
            # thread imports a module would wait for that thread for ever.
            from . import delivering, picklers  # noqa: F401 - what workers need
            from .guard import PoolGuard
            from .scattered import scatter_of
            from .transport import Transport

            if method == "fork":
                # looked for once here, instead of once in each worker
                native.libraries()
        pool = self._pool = PicklingPool(n_jobs, context=context, **given)
        if is_ours:
            assert self._arrays is not None
            self._transport = Transport(
                self._arrays, workers_have_main(method), scatter_of(options)
            )
            self._transport.watch_repeats(self.parallel)
            # where other programs look for the folder of the call's files
            pool._temp_folder = self._arrays.folder  # type: ignore[attr-defined]
            self._guard = PoolGuard(pool, recycles="maxtasksperchild" in given)
            remember(self._guard, PoolGuard.end)

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Have the pool run one batch; if it can't be sent, call back with the error."""
        if self._guard is None or self._get_pool() is not self._pool:
            return super().submit(func, callback)
        assert self._transport is not None
        return self._guard.submit(self._transport.pack(func), callback)

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return a batch's results, or raise its error."""
        if isinstance(out, Delivery):
            return out.results()
        return super().retrieve_result_callback(out)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the workers, and with them what is running and queued."""
        restart = self._restart
        self._end_pool()
        if ensure_ready and restart is not None:
            restart()

    def stop_call(self) -> None:
        """Say what a verbose call sent again and again."""
        if self._transport is not None:
            self._transport.tell_repeats(self.parallel, "multiprocessing")

    def terminate(self) -> None:
        """End the workers."""
        self._end_pool()
        self._restart = None
        arrays, self._arrays = self._arrays, None
        if arrays is not None:
            arrays.close()
        self.reset_batch_stats()

    def _end_pool(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            PoolManagerMixin.terminate(self)
            return
        self._pool = None
        guard.end()
