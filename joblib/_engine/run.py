"""The state of one ``Parallel`` call, from its first batch to its last result.

Completions arrive on threads of the backend. Each is owed one more batch; the
debt is paid by whoever gets the source's lock, so that no worker ever waits for
another one that is busy reading the caller's iterable.

Locks, in the order they may be taken: the source's, around the iterable; the
state's, around the fields here. User code, ``submit``, callbacks and printing
never run under the latter, and ``submit`` under neither.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import time
from typing import TYPE_CHECKING, Any

from .._backends.base import overrides
from .batch import BatchedCalls, Plan
from .drawing import OpenBatch
from .job import TASK_DONE, TASK_ERROR, TASK_PENDING
from .states import ANY, NEXT, State

if TYPE_CHECKING:
    from .credit import Credit
    from .source import Source


class Run:
    """One call: its backend, source, jobs, counters and first error.

    Parameters
    ----------
    parallel : Parallel
        Whose call it is.
    backend : ParallelBackendBase
    source : Source
    make_job : callable
        ``make_job(timestamp, batch_size, parallel)`` -> `Job`.
    batch_size : int or None
        Tasks per batch; None asks the backend each time.
    plan : Plan
        How the tasks are run on their worker.
    ordered : bool
        Whether results are given out in the order of the tasks.
    timeout : float or None
        Seconds that the oldest task may keep the caller waiting.
    managed : bool
        Whether the backend goes on to serve other calls (``with Parallel()``).
    credit : Credit
        How many batches more than the initial ones may be on their way.
    dispatch : callable, optional
        Called for each batch in place of `dispatch_one`, which it has to call.
    progress : callable, optional
        Called after each completion, on its thread.
    """

    # Slots, since the attributes are read several times for every batch.
    __slots__ = (
        "_credit _learn _make_job _n_paid _override _retrieve _size active awaited "
        "backend by_callback caller condition divisible draining draws ended error exhausted "
        "finished is_inline jobs lock managed n_completed_batches n_completed_tasks "
        "n_dispatched_batches n_dispatched_tasks ordered over parallel pending plan "
        "ready progress source spares_workers state timeout traced whole"
    ).split()

    def __init__(
        self,
        parallel: Any,
        backend: Any,
        source: Source,
        make_job: Callable[[float, int, Any], Any],
        *,
        batch_size: int | None,
        plan: Plan,
        ordered: bool,
        timeout: float | None,
        managed: bool,
        credit: Credit,
        dispatch: Callable[[Any], bool] | None = None,
        progress: Callable[[], None] | None = None,
    ) -> None:
        self.parallel = parallel
        self.backend = backend
        self.source = source
        self.managed = managed
        self.ordered = ordered
        self.timeout = timeout
        self.by_callback: bool = backend.supports_retrieve_callback
        self._retrieve = backend.retrieve_result_callback
        self.caller = threading.get_ident()
        self.state = State.CREATED
        # The two questions that are asked for every batch, answered by `_move`:
        self.active = True  # the call has neither ended nor been given up
        self.draining = False  # each completion dispatches one more batch
        self.error: BaseException | None = None
        # Results that nobody has taken yet: by the number of their task, or that of
        # their batch's first one (`whole`), or, if any order will do, as they came.
        self.whole = False
        self.ready: dict[int, Any] = {}
        self.finished: deque[Any] = deque()
        self.jobs: deque[Any] = deque()  # to be fetched, without retrieve callback
        self.pending: dict[Any, None] = {}  # unordered, for the timeout: oldest first
        # changed under the source's lock only
        self.n_dispatched_batches = 0
        self.n_dispatched_tasks = 0
        self._n_paid = 0  # batches dispatched in return for a completion
        # changed under the state's lock only
        self._credit = credit  # batches that may be dispatched without a completion
        self.n_completed_batches = 0
        self.n_completed_tasks = 0
        self.exhausted = False
        #: while the caller waits: the number of a task, ANY or END
        self.awaited: Any = None
        # Re-entrant: the collector may close a generator on a thread that holds it.
        self.lock = threading.RLock()
        self.condition = threading.Condition(self.lock)
        self.is_inline = False
        self.ended = self.over = False  # `end` has begun, and it has ended
        self.spares_workers = False  # they have done all, and are not to be stopped
        self._make_job = make_job
        self._override = dispatch
        self.progress = progress
        self.divisible = False  # its batches may be divided by their backend
        self.traced: Any = None  # what takes the call down, while it is traced
        # Asked once a call: does this backend do either?
        adapts = overrides(backend, "compute_batch_size")
        fixed = batch_size or (None if adapts else 1)
        self._size = (lambda: fixed) if fixed else backend.compute_batch_size
        learns = overrides(backend, "batch_completed")
        self._learn = backend.batch_completed if learns else None
        self.draws = (
            backend.lets_workers_draw and batch_size is None and dispatch is None
        ) and timeout is None  # which must not run while a worker reads the iterable
        self.plan = plan

    def trace(self, call: Any) -> None:
        """Have a `TracedCall` take the call down."""
        self.traced = call
        self._retrieve = call.receiving(self._retrieve)

    # ------------------------------------------------------------------ state
    def _move(self, to: State) -> bool:
        """Change the state, the lock held; False where that is no way to go."""
        if to not in NEXT[self.state]:
            return False
        self.state = to
        self.draining = to is State.DRAINING
        if to is State.DONE or to is State.ABORTING:
            self.active = False
            self.condition.notify_all()
        return True

    @property
    def aborting(self) -> bool:
        """Whether the call was given up."""
        return self.state in (State.ABORTING, State.ABORTED)

    def drained(self) -> bool:
        """Whether every task has completed; the lock is held."""
        return self.exhausted and self.n_completed_batches == self.n_dispatched_batches

    def finish(self) -> bool:
        """Mark the call as ended well; False if it was given up before."""
        with self.lock:
            return self._move(State.DONE)

    def fail(self, error: BaseException) -> None:
        """Give the call up because of `error`; the first one counts."""
        with self.lock:
            if self._move(State.ABORTING):
                self.error = error

    def end(self, apart: bool = False) -> None:
        """Stop what is left of the call and give the workers back; once.

        `apart` on a thread of its own: one of the backend's would wait for itself.
        """
        with self.lock:
            if self.ended:
                return
            self.ended = True
        if apart:
            threading.Thread(target=self._end, name="joblib-abort", daemon=True).start()
        else:
            self._end()

    def _end(self) -> None:
        try:
            with self.lock:
                self._move(State.ABORTING)
                given_up = self._move(State.ABORTED) and not self.spares_workers
                for results in (self.jobs, self.ready, self.finished, self.pending):
                    results.clear()
            if given_up and self.n_dispatched_batches and not self.is_inline:
                self.backend.abort_everything(ensure_ready=self.managed)
        finally:
            if self.traced is not None:
                self.traced.end()
            try:
                self.backend.stop_call()
            finally:
                try:
                    if not self.managed:
                        self.parallel._give_back(self.backend)
                finally:
                    # The object called keeps this one, for its counters: no cycle,
                    # and none of the tasks.
                    self.source.drop()
                    self.parallel = self.progress = self._learn = None
                    self._override = None
                    with self.lock:
                        self.over = True
                        self.condition.notify_all()

    def wait_until_over(self) -> None:
        """Wait for `end`, which another thread may be about."""
        with self.lock:
            self.condition.wait_for(lambda: self.over)

    def wake(self) -> None:
        """Have the caller look again."""
        with self.lock:
            self.condition.notify_all()

    # --------------------------------------------------------------- dispatch
    def begin(self) -> None:
        """Begin a call whose tasks run in the caller: nothing is dispatched."""
        self.is_inline = True
        with self.lock:
            self._move(State.DISPATCHING)
            self._move(State.DRAINING)

    def start(self, stays: bool) -> None:
        """Give out the initial batches. On the caller's thread.

        With `stays` the caller waits now, and may read on in its iterable for batches
        that are done. Else that may wait for what it does with the results.
        """
        with self.lock:
            if not self._move(State.DISPATCHING):
                return
        while self._dispatch():
            pass
        self.source.release()
        with self.lock:
            self._note_end()
            if not self._move(State.DRAINING):
                return
        if stays:
            self.pay()
        elif self.owes() and not self.exhausted:
            threading.Thread(
                target=self._pay_apart, name="joblib-dispatch", daemon=True
            ).start()

    def _dispatch(self) -> bool:
        override = self._override
        return self.dispatch_one() if override is None else override(self.source)

    def dispatch_one(self) -> bool:
        """Form the next batch and submit it; False when there is none."""
        lock = self.source.lock
        draining = self.draining
        # Whoever holds it while draining looks for debts after letting go of it.
        if not lock.acquire(not draining):
            return False
        try:
            if not self.active:
                return False
            items = self.source.take(self._size(), self.backend.least_batch_size)
            parallel = self.parallel
            if not items or not self.active or parallel is None:  # it took its time
                if draining:
                    with self.lock:
                        self._note_end()
                return False
            job = self._make_job(time(), len(items), parallel)
            job.run = self  # `parallel` may be at its next call by now
            job.start = self.n_dispatched_tasks
            self.n_dispatched_batches += 1
            self.n_dispatched_tasks += len(items)
            if draining:
                self._n_paid += 1
            if not self.by_callback:
                self.jobs.append(job)
            elif self.timeout is not None:
                with self.lock:
                    self.pending[job] = None
                    self.condition.notify_all()
        except BaseException as error:
            # Told before the lock goes: to whoever asks next, an iterable that has
            # raised looks like one that has come to its end.
            self.fail(error)
            raise
        finally:
            lock.release()
        try:
            handle = self.backend.submit(self._form(items, job), job)
        except Exception:
            if self.active:
                raise
            return False  # called off meanwhile: its backend has been let go of
        if self.by_callback:
            # A completion before this point, on this thread or on another, has
            # left its debt for us to look at.
            job.submitted = True
        else:
            job.register_job(handle)
        return True

    def _form(self, items: Any, job: Any) -> BatchedCalls:
        """Return the batch that a backend is given."""
        if self.draws:
            job.opened = True
            return OpenBatch(items, self.plan, self, job)
        return BatchedCalls(items, self.plan)

    def taking(self, results: Iterator[Any]) -> Iterator[Any]:
        """Yield results to the consumer of a generator."""
        return results

    def _note_end(self) -> None:
        """Learn that the source is empty, if so; the lock is held."""
        if self.source.finished:
            self.exhausted = True
            if self.drained():
                self.condition.notify_all()

    def owes(self) -> bool:
        """Whether a completion has not had a batch in return, or there is credit."""
        return self.n_completed_batches + self._credit.granted > self._n_paid

    def resize(self, n_jobs: int) -> None:
        """Go on with so many workers, and what they would have begun with."""
        self._credit.resize(n_jobs, self.source.resize(n_jobs))
        if self.draining:
            self._pay_apart()

    def pay(self) -> None:
        """Dispatch the batches that are owed."""
        while self.owes() and not self.exhausted and self._dispatch():
            pass

    def _pay_apart(self) -> None:
        try:
            self.pay()
        except BaseException as error:  # handed to the caller
            self.fail(error)

    # ------------------------------------------------------------- completion
    def complete(self, job: Any, out: Any) -> None:
        """Take a batch's outcome, tell who waits for it, dispatch the next one."""
        if job.status is not TASK_PENDING or not self.active:
            return
        try:
            results: Any = ()
            if self.by_callback:
                try:
                    results = self._retrieve(out)
                except BaseException as error:  # the task's; handed to the caller
                    job.status = TASK_ERROR
                    self.fail(error)
                    return
            size = self._size() if self._credit.look_ahead else 1
            with self.lock:
                if not self.active or job.status is not TASK_PENDING:
                    return
                job.status = TASK_DONE
                if self.whole:
                    self.ready[job.start] = results
                elif self.ordered and not job.opened:
                    self.ready.update(enumerate(results, job.start))
                elif not job.opened:
                    self.finished.extend(results)
                lapse = time() - job.dispatch_timestamp
                self._credit.learn(lapse, job.batch_size, size)
                self.n_completed_tasks += job.batch_size
                self.n_completed_batches += 1
                if self.timeout is not None:
                    self.pending.pop(job, None)
                awaited = self.awaited
                if awaited is not None and (
                    awaited is ANY or awaited in self.ready or self.drained()
                ):
                    self.condition.notify()
            learn, progress = self._learn, self.progress  # `end` takes them away
            if learn is not None:
                learn(job.batch_size, time() - job.dispatch_timestamp)
            if progress is not None:
                progress()
            # Left to the dispatching thread if that is still on its way.
            if job.submitted and self.draining and not self.exhausted:
                self.pay()
        except BaseException as error:  # handed to the caller
            self.fail(error)
