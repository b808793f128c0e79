"""The backend that runs tasks on threads of this process.

A team of threads takes batches from one queue. The callback of a finished
batch runs on the thread that ran it, and submits the next batch to the same
queue: in the steady state no thread sleeps and none has to be woken.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from .._engine.context import share_of_cores
from .._engine.forwarding import context_of_caller
from . import native
from .base import FallbackToBackend, ParallelBackendBase, TaskWrapper
from .thread_cache import CachedThread, give_back, start

_Item = tuple[Callable[[], Any], Callable[[Any], Any]]


class Failed:
    """What a batch raised; stays in this process, so the exception does as it is."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Result:
    """A batch's outcome, to be fetched: for backends without retrieve callback."""

    def __init__(self, callback: Callable[[Any], Any]) -> None:
        self._callback = callback
        self._done = threading.Event()
        self._out: Any = None

    def __call__(self, out: Any) -> None:
        self._out = out
        self._done.set()
        self._callback(out)

    def get(self, timeout: float | None = None) -> Any:
        """Wait at most `timeout` seconds; return the results or raise the error."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"A batch was not done within {timeout} seconds.")
        if type(self._out) is Failed:
            raise self._out.error
        return self._out


class CancelledBatch(Exception):
    """Outcome of a batch that was taken off the queue unrun."""


def check_n_jobs(n_jobs: Any) -> None:
    """Raise ValueError for ``n_jobs=0``, which has no meaning."""
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")


class Team:
    """Up to `size` threads that run batches in the order of submission.

    Threads join one by one as batches come in, and leave when the team is closed.
    """

    def __init__(self, size: int, limit: int | None = None, level: int = 0) -> None:
        self.size = size
        #: how many OpenMP threads each of them may have, if that is to be less than
        #: now; and how deep in other calls this one is
        self._limit, self._level = limit, level
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        #: queue ``(batch, callback)``; the callback gets the results, or `Failed`
        self.put = self._queue.put
        self._threads: list[CachedThread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._dismissed: list[CachedThread] = []
        #: whether `attend` must follow a `put`: too few threads yet, or closed
        self.attention = True

    def attend(self) -> None:
        """After `put` with `attention`: get a thread, or clear a closed queue."""
        with self._lock:
            if len(self._threads) < self.size and not self._closed:
                try:
                    self._threads.append(start(self._work))
                except RuntimeError:
                    # No more threads to be had: those there are do the work.
                    self.size = len(self._threads)
                    if self.size == 0:
                        raise
                self.attention = len(self._threads) < self.size
        if self._closed:
            # nobody else will see a batch that came when the door was shut
            self._drain()

    def _work(self) -> bool:
        """Run batches until the team is closed; False if it has given us back."""
        me = threading.current_thread()
        assert isinstance(me, CachedThread)
        native.limit_thread(self._limit, bool(self._level))
        take = self._queue.get
        out: Any
        while True:
            item = take()
            if item is None:
                return me not in self._dismissed
            me.busy = True
            batch, callback = item
            try:
                out = batch()
            except BaseException as error:  # the worker's boundary
                out = Failed(error)
            callback(out)
            # While this thread waits, it must not keep a finished batch alive.
            del item, batch, callback, out
            me.busy = False

    def close(self, aborted: bool) -> None:
        """End the team; unrun batches get `CancelledBatch`.

        After an abort a thread is free for another call when its batch is done;
        else there is no batch left, and it is at once.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = self.attention = True
            threads = self._threads
        self._drain()
        if not aborted:
            # those that still are in the callback of the last batch come by themselves
            self._dismissed = [thread for thread in threads if not thread.busy]
        for _ in threads:
            self._queue.put(None)
        give_back(self._dismissed)

    def _drain(self) -> None:
        ends = 0
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:
                ends += 1
            else:
                item[1](Failed(CancelledBatch("The call was aborted.")))
        for _ in range(ends):
            self._queue.put(None)


class ThreadingBackend(ParallelBackendBase):
    """Runs tasks on threads of this process: no copies, and the GIL shared.

    For functions that release the GIL (most of numpy, compression, I/O), or
    that have to change the caller's objects.
    """

    supports_retrieve_callback = True
    uses_threads = True
    supports_sharedmem = True
    shares_machine = True

    _of_one_call = ("_pool", "_n_jobs", "_limit", "parallel")

    _pool: Team | None = None
    _n_jobs: int = 1
    #: threads of native libraries in each task; None: as many as they like
    _limit: int | None = None

    @property
    def lets_workers_draw(self) -> bool:  # type: ignore[override]
        """Whether batches go to the threads, and come back, as they are.

        Not if a subclass has a say in it.
        """
        kind = type(self)
        return (
            kind.submit is ThreadingBackend.submit
            and kind.retrieve_result_callback
            is ThreadingBackend.retrieve_result_callback
            and self.supports_retrieve_callback
            and not {"submit", "retrieve_result_callback"} & vars(self).keys()
        )

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of threads; negative counts back from the cores."""
        check_n_jobs(n_jobs)
        if n_jobs is None or sys.platform == "emscripten":
            return 1
        if n_jobs < 0:
            return max(share_of_cores() + 1 + n_jobs, 1)
        return n_jobs

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        **backend_kwargs: Any,
    ) -> int:
        """Note the number of threads; they start with the first batches."""
        effective = self.effective_n_jobs(n_jobs)
        if effective == 1:
            from .sequential import SequentialBackend

            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._n_jobs = effective
        is_nested = bool(self.nesting_level)
        self._limit = None
        if native.may_lower(is_nested):
            self._limit = max(share_of_cores() // effective, 1)
        self._pool = self._new_team()
        return effective

    def _new_team(self) -> Team:
        return Team(self._n_jobs, self._limit, self.nesting_level or 0)

    def wrap_task(self) -> TaskWrapper | None:
        """Return what has each task find the context variables of its caller."""
        return context_of_caller()

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Result | None:
        result = None
        if callback is None or not self.supports_retrieve_callback:
            callback = result = Result(callback or _ignore)
        team = self._pool
        if team is None:  # a late batch of a call that has ended
            callback(Failed(CancelledBatch("The call has ended.")))
        else:
            team.put((func, callback))
            if team.attention:
                team.attend()
        return result

    def retrieve_result_callback(self, out: Any) -> Any:
        if type(out) is Failed:
            raise out.error
        return out

    def terminate(self) -> None:
        team, self._pool = self._pool, None
        if team is not None:
            team.close(aborted=False)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what is queued; a thread ends after the batch it is running."""
        team, self._pool = self._pool, None
        if ensure_ready:
            self._pool = self._new_team()
        if team is not None:
            team.close(aborted=True)


def _ignore(out: Any) -> None:
    pass
