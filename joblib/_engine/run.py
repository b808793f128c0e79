"""The state of one ``Parallel`` call, from its first batch to its last result.

::

                      start()                source read to its end
    CREATED --> DISPATCHING --> DRAINING --------------------------> DONE
                     |              |          and nothing pending
                     +------+-------+
                            v
                        ABORTING --> ABORTED
        (an error, an interrupt, a timeout, a closed generator)

Completions arrive on threads of the backend. Each is owed one more batch; the
debt is paid by whoever gets the source's lock, so that no worker ever waits for
another one that is busy reading the caller's iterable.

Locks, in the order they may be taken: the source's, around the iterable; the
state's, around the fields here. User code, ``submit``, callbacks and printing
never run under the latter, and ``submit`` under neither.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any

from .batch import BatchedCalls

if TYPE_CHECKING:
    from .context import NestedContext
    from .source import Source

TASK_DONE = "Done"
TASK_ERROR = "Error"
TASK_PENDING = "Pending"


#: the caller waits for whatever comes next
ANY = object()


class State(enum.Enum):
    """Where a run stands; see the drawing at the top of the module."""

    CREATED = enum.auto()
    DISPATCHING = enum.auto()
    DRAINING = enum.auto()
    DONE = enum.auto()
    ABORTING = enum.auto()
    ABORTED = enum.auto()


#: the states that a state may turn into
_NEXT = {
    State.CREATED: {State.DISPATCHING, State.ABORTING, State.DONE},
    State.DISPATCHING: {State.DRAINING, State.ABORTING},
    State.DRAINING: {State.DONE, State.ABORTING},
    State.ABORTING: {State.ABORTED},
    State.DONE: set(),
    State.ABORTED: set(),
}


class Job:
    """One batch between its dispatch and its retrieval; the backend's callback.

    Parameters
    ----------
    dispatch_timestamp : float
        Seconds since the epoch.
    batch_size : int
        The number of tasks.
    parallel : Parallel
        Whose call it belongs to.
    """

    def __init__(
        self, dispatch_timestamp: float, batch_size: int, parallel: Any
    ) -> None:
        self.dispatch_timestamp = dispatch_timestamp
        self.batch_size = batch_size
        self.parallel = parallel
        # A late completion lands on its own run, whatever `parallel` does now.
        self.run: Run = parallel._run
        self.status = TASK_PENDING
        self.registered = False
        self.job: Any = None
        self.results: Any = None
        self.deadline: float | None = None

    def register_job(self, job: Any) -> None:
        """Keep what the backend's ``submit`` returned."""
        self.job = job
        self.registered = True
        if not self.run.by_callback:
            self.run.wake()

    def __call__(self, out: Any = None) -> None:
        """Take the batch's outcome. On any thread; must be called once."""
        self.run.complete(self, out)


class Run:
    """One call: its backend, source, jobs, counters and first error.

    Parameters
    ----------
    parallel : Parallel
        Whose call it is; asked for progress lines.
    backend : ParallelBackendBase
    source : Source
    make_job : callable
        ``make_job(timestamp, batch_size, parallel)`` -> `Job`.
    batch_size : int or None
        Tasks per batch; None asks the backend each time.
    nested : NestedContext
        What calls inside the tasks find.
    wrappers : tuple of callable
        What runs around each task, outermost first.
    ordered : bool
        Whether results are given out in the order of the tasks.
    timeout : float or None
        Seconds that the oldest task may keep the caller waiting.
    managed : bool
        Whether the backend goes on to serve other calls (``with Parallel()``).
    """

    def __init__(
        self,
        parallel: Any,
        backend: Any,
        source: Source,
        make_job: Callable[[float, int, Any], Any],
        *,
        batch_size: int | None,
        nested: NestedContext,
        wrappers: tuple[Any, ...],
        ordered: bool,
        timeout: float | None,
        managed: bool,
    ) -> None:
        self.parallel = parallel
        self.backend = backend
        self.source = source
        self.managed = managed
        self.ordered = ordered
        self.timeout = timeout
        self.by_callback: bool = backend.supports_retrieve_callback
        self.caller = threading.get_ident()
        self.state = State.CREATED
        self.error: BaseException | None = None
        self.jobs: deque[Any] = deque()  # ordered: dispatched, not yet retrieved
        self.finished: deque[Any] = deque()  # unordered: completed, not retrieved
        self.pending: dict[Any, None] = {}  # unordered, for the timeout: oldest first
        self.n_dispatched_batches = 0
        self.n_dispatched_tasks = 0
        self.n_completed_tasks = 0
        self.n_pending = 0  # batches
        self.exhausted = False
        self.awaited: Any = None  # the job the caller waits for, or ANY
        self.condition = threading.Condition(threading.Lock())
        self._lock = self.condition
        self.is_inline = False
        self._ended = False
        self._debts = 0
        self._submitting: set[int] = set()
        self._make_job = make_job
        self._batch_size = batch_size
        self._nested = nested
        self.wrappers = wrappers

    # ------------------------------------------------------------------ state
    def _move(self, to: State) -> bool:
        """Change the state, the lock held; False where that is no way to go."""
        if to not in _NEXT[self.state]:
            return False
        self.state = to
        if to is not State.DISPATCHING and to is not State.DRAINING:
            self.condition.notify_all()
        return True

    @property
    def active(self) -> bool:
        """Whether the call has neither ended nor been given up."""
        return self.state in (State.CREATED, State.DISPATCHING, State.DRAINING)

    @property
    def aborting(self) -> bool:
        """Whether the call was given up."""
        return self.state in (State.ABORTING, State.ABORTED)

    def drained(self) -> bool:
        """Whether every task has completed; the lock is held."""
        return self.exhausted and not self.n_pending

    def finish(self) -> bool:
        """Mark the call as ended well; False if it was given up before."""
        with self._lock:
            return self._move(State.DONE)

    def fail(self, error: BaseException) -> None:
        """Give the call up because of `error`; the first one counts."""
        with self._lock:
            if self._move(State.ABORTING):
                self.error = error

    def end(self) -> None:
        """Stop what is left of the call and give the workers back; once."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._move(State.ABORTING)
            given_up = self._move(State.ABORTED)
            self.jobs.clear()
            self.finished.clear()
            self.pending.clear()
        try:
            if given_up and self.n_dispatched_batches and not self.is_inline:
                self.backend.abort_everything(ensure_ready=self.managed)
        finally:
            try:
                self.backend.stop_call()
            finally:
                if not self.managed:
                    self.backend.terminate()

    def wake(self) -> None:
        """Have the caller look again."""
        with self._lock:
            self.condition.notify_all()

    # --------------------------------------------------------------- dispatch
    def begin(self) -> None:
        """Begin a call whose tasks run in the caller: nothing is dispatched."""
        self.is_inline = True
        with self._lock:
            self._move(State.DISPATCHING)
            self._move(State.DRAINING)

    def start(self) -> None:
        """Give out the initial batches. On the caller's thread."""
        with self._lock:
            if not self._move(State.DISPATCHING):
                return
        while self.parallel.dispatch_one_batch(self.source):
            pass
        self.source.release()
        with self._lock:
            self._note_end()
            if not self._move(State.DRAINING):
                return
        self._pay()

    def dispatch_one(self) -> bool:
        """Form the next batch and submit it; False when there is none."""
        lock = self.source.lock
        draining = self.state is State.DRAINING
        # Whoever holds the lock while draining looks at the debts once more
        # after letting go of it, so that nobody has to wait here.
        if not lock.acquire(blocking=not draining):
            return False
        try:
            items = self._take()
            if not items:
                return False
            job = self._make_job(time(), len(items), self.parallel)
            with self._lock:
                if not self.active:
                    return False
                self.n_dispatched_batches += 1
                self.n_dispatched_tasks += len(items)
                self.n_pending += 1
                if draining:
                    self._debts -= 1
                if self.ordered:
                    self.jobs.append(job)
                elif self.timeout is not None:
                    self.pending[job] = None
                if self.awaited is ANY:
                    self.condition.notify()
        finally:
            lock.release()
        # A completion on this very thread, before `submit` returns, is told by
        # its ident and leaves its debt to us instead of recursing.
        me = threading.get_ident()
        self._submitting.add(me)
        try:
            job.register_job(
                self.backend.submit(
                    BatchedCalls(items, self._nested, wrappers=self.wrappers),
                    callback=job,
                )
            )
        finally:
            self._submitting.discard(me)
        return True

    def _take(self) -> list[Any]:
        if not self.active:
            return []
        size = self._batch_size or self.backend.compute_batch_size()
        items = self.source.take(size)
        if not items and self.state is State.DRAINING:
            with self._lock:
                self._note_end()
        return items

    def _note_end(self) -> None:
        """Learn that the source is empty, if it is; the lock is held."""
        if self.source.finished:
            self.exhausted = True
            self._debts = 0
            if not self.n_pending:
                self.condition.notify_all()

    def _pay(self) -> None:
        """Dispatch a batch for each debt, while nobody else reads the source."""
        try:
            while self._debts > 0 and not self.exhausted:
                if not self.parallel.dispatch_one_batch(self.source):
                    return
        except BaseException as error:  # handed to the caller
            self.fail(error)

    # ------------------------------------------------------------- completion
    def complete(self, job: Any, out: Any) -> None:
        """Take a batch's outcome, tell who waits for it, dispatch the next one."""
        try:
            if job.status is not TASK_PENDING:
                return
            if self.by_callback and not self._accept(job, out):
                return
            with self._lock:
                if not self.active or job.status is not TASK_PENDING:
                    return
                job.status = TASK_DONE
                self.n_completed_tasks += job.batch_size
                self.n_pending -= 1
                self._debts += 1
                pays = self.state is State.DRAINING
                if not self.ordered:
                    self.finished.append(job)
                    self.pending.pop(job, None)
                    self.condition.notify()
                elif (
                    self.awaited is job
                    or self.awaited is ANY
                    or (self.exhausted and not self.n_pending)
                ):
                    self.condition.notify()
            self.backend.batch_completed(
                job.batch_size, time() - job.dispatch_timestamp
            )
            self.parallel.print_progress()
            if pays and threading.get_ident() not in self._submitting:
                self._pay()
        except BaseException as error:  # handed to the caller
            self.fail(error)

    def _accept(self, job: Any, out: Any) -> bool:
        """Have the backend open the outcome; False if the batch has failed."""
        try:
            job.results = self.backend.retrieve_result_callback(out)
        except BaseException as error:  # the task's own; handed to the caller
            with self._lock:
                if job.status is TASK_PENDING and self._move(State.ABORTING):
                    job.status = TASK_ERROR
                    self.error = error
            return False
        return True
