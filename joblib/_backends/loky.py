"""The default process backend: loky's reusable pool of workers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import headstart
from .autobatch import AutoBatchingMixin
from .base import FallbackToBackend, ParallelBackendBase
from .isolating import hand_on_if_isolated

if TYPE_CHECKING:
    from ..parallel import Parallel
    from .transport import Transport

#: seconds after which workers that have nothing to do end themselves
IDLE_WORKER_TIMEOUT = 300


#: options that may be wrong, and what they are where the user has said nothing
USUAL = {"mmap_mode": "r", "scatter": None}


class LokyBackend(AutoBatchingMixin, ParallelBackendBase):
    """Runs tasks in processes that outlive the call and serve the next one."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    shares_machine = True
    look_ahead = 4

    _of_one_call = ("_workers", "_transport", "_options", "_restart", "parallel")

    _workers: Any = None
    _transport: Transport | None = None
    _options: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed
    _restart: Callable[[], None] | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of workers for a call made here; 1 where there are none.

        Warns where nesting is what forbids more.
        """
        from .admission import count_workers

        return count_workers(
            n_jobs, self.nesting_level, label="Loky", may_nest_in_loky=True
        )

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Parallel | None = None,
        prefer: str | None = None,
        require: str | None = None,
        idle_worker_timeout: float | None = None,
        **kwargs: Any,
    ) -> int:
        """Get hold of the workers, those of the last call if they fit."""
        if type(self) is LokyBackend:  # another's may have processes of its own
            hand_on_if_isolated(self, parallel, "loky")
        managed = getattr(parallel, "_managed_backend", False)
        if n_jobs and n_jobs != 1 and not self.nesting_level and not managed:
            # Before all else, imports included. Of how many there are cores for loky
            # will tell, when it is here.
            headstart.begin(max(n_jobs, 1))
        try:
            return self._get_hold(n_jobs, parallel, idle_worker_timeout, kwargs)
        except BaseException:  # also of there being a better backend
            headstart.dismiss()
            raise

    def _get_hold(
        self,
        n_jobs: int | None,
        parallel: Parallel | None,
        idle_worker_timeout: float | None,
        kwargs: dict[str, Any],
    ) -> int:
        if n_jobs != 1:
            from .admission import refuse_while_starting

            refuse_while_starting()
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            from .sequential import SequentialBackend

            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        options = {**self.backend_kwargs, **kwargs}
        kept = options.pop("idle_worker_timeout", None)
        if idle_worker_timeout is None:
            idle_worker_timeout = IDLE_WORKER_TIMEOUT if kept is None else kept
        self.parallel = parallel
        self._options = options
        self._sends_alone = options.get("mmap_mode") == "c"
        unusual = any(
            options.get(name, usual) is not usual for name, usual in USUAL.items()
        )
        if unusual or getattr(parallel, "_managed_backend", False):
            self._get_transport()  # which tells of wrong values, and where files go
        # for `abort_everything`, which must not negotiate anew
        self._restart = partial(self._start, workers, idle_worker_timeout, options)
        self._restart()
        return workers

    def _get_transport(self) -> Transport:
        """Return what carries the batches of the call, made when it is needed.

        That is when the workers are on their way, if there were none: they take as
        long to start as this takes to import.
        """
        if self._transport is None:
            from .arrays import arrays_of_call
            from .scattered import scatter_of
            from .transport import Transport

            scatter = scatter_of(self._options)
            transport = Transport(arrays_of_call(self._options), scatter=scatter)
            transport.watch_repeats(self.parallel)
            self._transport = transport
            self._tell_folder()
        return self._transport

    def _tell_folder(self) -> None:
        """Say where the call's files are, where other programs look for it."""
        if self._workers is not None and self._transport is not None:
            self._workers._temp_folder = self._transport.arrays.folder

    def _start(
        self, n_jobs: int, idle_worker_timeout: float, options: dict[str, Any]
    ) -> None:
        from .ending import remember
        from .orphans import Start
        from .workers import SharedWorkers

        get = partial(
            SharedWorkers.get_reusable_executor,
            max_workers=n_jobs,
            timeout=idle_worker_timeout,
            initializer=Start(
                options.get("initializer"), options.get("initargs") or ()
            ),
            env=self._prepare_worker_env(n_jobs),
        )
        self._workers, _ = get()
        if self._workers.has_dead:  # or one died while their number was changed
            self._workers.shutdown(kill_workers=True)
            self._workers, _ = get()
        remember(self._workers, _end)
        self._tell_folder()

    def start_call(self) -> None:
        """Get other workers if one has died since the last call, which has its results
        and need not hear of it."""
        if self._workers is not None and self._workers.has_dead:
            self.abort_everything()

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Give one batch to the workers; if it can't be sent, call back with the error."""
        transport = self._transport
        if transport is None:
            self._workers.start()
            transport = self._get_transport()
        from .delivery import Delivery

        delivery = Delivery(transport.pack(func), callback)
        self._workers.ship(delivery)
        return delivery

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return a batch's results, or raise its error."""
        try:
            return out.results()
        except Exception as error:
            if out.error is error and type(error).__name__ == "ShutdownExecutorError":
                raise RuntimeError(
                    "The executor underlying Parallel has been shutdown while this "
                    "call still had tasks there. Calls made by one thread share the "
                    "workers of loky: was another call aborted, or its generator of "
                    "results dropped before the end?"
                ) from error
            raise

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the workers, and with them what is running and queued."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown(kill_workers=True)
        if ensure_ready and self._restart is not None:
            self._restart()

    def stop_call(self) -> None:
        """Say what a verbose call sent again and again."""
        if self._transport is not None:
            self._transport.tell_repeats(self.parallel, "loky")

    def terminate(self) -> None:
        """Let go of the workers, which stay ready for the next call."""
        headstart.dismiss()  # those of a call without tasks
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        self._workers = None
        self._restart = None
        self.reset_batch_stats()


def _end(workers: Any) -> None:
    workers.shutdown(wait=True, kill_workers=True)
