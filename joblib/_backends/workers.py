"""Loky's reusable pool of processes, to whose workers batches go by the exchange."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import wait as wait_for_any
from typing import Any

from loky.backend.context import LokyContext
from loky.process_executor import ShutdownExecutorError
from loky.reusable_executor import _ReusablePoolExecutor

from . import (
    forked,  # noqa: F401 - from now on forks are prepared for
    headstart,
)
from .delivering import deliver
from .delivery import Delivery
from .exchange import Exchange
from .messages import is_available
from .serving import Station, serve

#: seconds after which a worker without work goes back to loky, to be looked after
LINGER = 1.0


class SharedWorkers(_ReusablePoolExecutor):  # type: ignore[misc]
    """An executor of loky with a shorter way to its workers.

    All that loky's has works as it does there; a job that is submitted takes its turn
    with the batches that go by the exchange.
    """

    #: where other programs look for the folder of the present call's files
    _temp_folder = ""
    # None where the system has no exchange: batches are jobs of loky's there
    _exchange: Exchange | None = None
    _max_workers: int
    _context: Any

    def __init__(
        self,
        max_workers: int,
        timeout: float | None = None,
        initializer: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        #: the jobs by which workers are at the exchange
        self._serving: set[Future[Any]] = set()
        # Re-entrant: a job may end while it is given out.
        self._crew_lock = threading.RLock()
        if is_available():
            linger = LINGER if timeout is None else min(LINGER, max(timeout, 0.01))
            self._exchange = exchange = Exchange(max_workers, linger)
            initializer = Station(exchange.ends, initializer)
            weakref.finalize(self, exchange.close, _ended()).atexit = False
        super().__init__(
            max_workers=max_workers, timeout=timeout, initializer=initializer, **options
        )
        if self._exchange is not None and type(self._context) is LokyContext:
            from .launching import Context

            self._context = Context()

    # ---------------------------------------------------------- the exchange
    def start(self) -> None:
        """Have the workers start, if there are none yet; errors come with a parcel."""
        with suppress(Exception):
            if self._exchange is not None:
                self._call_crew()

    def ship(self, delivery: Delivery) -> None:
        """Have a worker run a parcel. The delivery is settled, whatever happens."""
        exchange = self._exchange
        try:
            if exchange is None:
                job = super().submit(deliver, delivery.parcel)
                job.add_done_callback(partial(_delivered, delivery))
                return
            if self._flags.broken is not None:
                raise self._flags.broken
            if self._flags.shutdown:
                raise _ended()
            self._call_crew()  # a new one starts while the parcel is pickled
        except Exception as error:
            # The executor is broken, or was shut down by another call, or can't
            # start its workers: all the same to those who wait for the batch.
            delivery.settle(None, error)
            return
        exchange.ship(delivery)
        # A worker that was about to leave looked for batches either after this one
        # was there, and comes back; or before that, and then it is missing now.
        self._man(exchange)

    def _call_crew(self) -> None:
        """Have all workers come to the exchange."""
        if len(self._serving) >= self._max_workers:
            return
        exchange = self._exchange
        assert exchange is not None
        with self._crew_lock:
            exchange.n_workers = self._max_workers
            new = [
                super(SharedWorkers, self).submit(serve)
                for _ in range(self._max_workers - len(self._serving))
            ]
            self._serving.update(new)
        _at_exit_dismiss(self)
        left = partial(_left, weakref.ref(self), exchange, self._serving)
        for job in new:
            job.add_done_callback(left)

    def _man(self, exchange: Exchange) -> None:
        """Have all workers come; if they can't, nothing that is pending will end."""
        try:
            self._call_crew()
        except Exception as error:
            self._give_up(exchange, error)

    def _give_up(self, exchange: Exchange, error: BaseException) -> None:
        exchange.fail(error)
        if not (self._flags.broken or self._flags.shutdown):
            # So that the next call gets other workers.
            self.shutdown(wait=False, kill_workers=True)

    def _dismiss(self) -> None:
        """Have the workers leave the exchange when they have run what was sent."""
        if self._exchange is not None and self._serving:
            self._exchange.dismiss(len(self._serving))

    # ------------------------------------------- what else loky's workers do
    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Have a worker call a function; return its future."""
        job = super().submit(fn, *args, **kwargs)
        self._dismiss()
        return job

    def _adjust_process_count(self) -> None:
        """Start the workers that are missing, each with interrupts held back until it
        has said which ones it heeds: see `Worker.heed_interrupts`."""
        if self._exchange is None:
            super()._adjust_process_count()
            return
        # As loky would do for the first of them, and then the mask were gone.
        resource_tracker.ensure_running()
        # The mask is this thread's, and what it starts has the same one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super()._adjust_process_count()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            headstart.dismiss()  # there were more than it takes

    def _resize(self, max_workers: int) -> None:
        exchange = self._exchange
        if exchange is not None and max_workers != self._max_workers:
            if not exchange.busy:
                self._dismiss()
                wait_for(list(self._serving))
        manager = self._executor_manager_thread
        if max_workers is None or max_workers == self._max_workers or manager is None:
            super()._resize(max_workers)
            return
        # As loky does it, but for a last wait until all workers are alive: one that
        # was killed a moment ago never is again.
        self._wait_job_completion()
        with self._processes_management_lock:
            living = sum(p.is_alive() for p in list(self._processes.values()))
            self._max_workers = max_workers
            for _ in range(max_workers, living):
                self._call_queue.put(None)
        while len(self._processes) > max_workers and not self.is_broken:
            time.sleep(1e-3)
        if not self.is_broken:
            self._adjust_process_count()

    @property
    def is_broken(self) -> bool:
        """Whether a worker has died, so that there will be no more results."""
        return self._flags.broken is not None

    @property
    def has_dead(self) -> bool:
        """Whether a worker was killed, be it that loky has noticed or not."""
        if self.is_broken:
            return True
        processes = list((self._processes or {}).values())
        ended = wait_for_any([process.sentinel for process in processes], timeout=0)
        if not ended:
            return False
        from .guard import exit_code

        return any(exit_code(each) for each in processes if each.sentinel in ended)

    def shutdown(self, wait: bool = True, kill_workers: bool = False) -> None:
        """End the workers: at once, or when they have done what they were given."""
        exchange = self._exchange
        if exchange is None:
            super().shutdown(wait=wait, kill_workers=kill_workers)
            return
        if not kill_workers:
            exchange.refuse(_ended())
            if wait:
                exchange.wait_until_idle()
            self._dismiss()
        super().shutdown(wait=wait, kill_workers=kill_workers)
        if wait or kill_workers:
            exchange.close(_ended())


def _ended() -> ShutdownExecutorError:
    return ShutdownExecutorError("The workers were shut down before this task ended.")


def _delivered(delivery: Delivery, job: Future[Any]) -> None:
    error = job.exception()
    if error is None:
        delivery.settle(job.result(), None)
    else:
        delivery.settle(None, delivery.parcel.error or error)


def _left(
    reference: weakref.ref[SharedWorkers],
    exchange: Exchange,
    serving: set[Future[Any]],
    job: Future[Any],
) -> None:
    """A worker has left the exchange, or is gone."""
    serving.discard(job)
    workers = reference()
    error = job.exception()
    if error is None:
        if exchange.busy and workers is not None:
            workers._man(exchange)
            exchange.push()
    elif workers is not None:
        workers._give_up(exchange, error)
    else:
        exchange.fail(error)


# ------------------------------------------------------------------- at exit
_living: weakref.WeakSet[SharedWorkers] = weakref.WeakSet()
_registered = False


def _at_exit_dismiss(workers: SharedWorkers) -> None:
    """Have loky, which waits for all its jobs at exit, wait for none of ours."""
    global _registered
    _living.add(workers)
    if _registered:
        return
    _registered = True
    # What was registered last is called first: loky has registered its own function
    # when it started the workers. Without this an exit takes `LINGER` longer.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(_dismiss_all)


def _dismiss_all() -> None:
    for workers in list(_living):
        workers._dismiss()


if hasattr(os, "register_at_fork"):
    # The workers are the parent's.
    os.register_at_fork(after_in_child=_living.clear)
