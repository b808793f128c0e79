"""A call of which more is asked than its results: each of its tasks has an outcome.

Only calls that are given a control run this way; others cost what they always cost.
Where errors are kept, tasks tried again or their time limited, each goes by itself,
so that what happens to it happens to no other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Any

from .._captured import CapturedError, RemoteTraceback, is_one_of, set_on
from .batch import BatchedCalls, explain_undelayed, name_of, run_wrapped
from .context import _backend, current
from .controls import Controls, TaskTimedOut, without_controls
from .job import TASK_PENDING
from .meter import Meter
from .retrieval import timeout_error
from .run import Run
from .seeds import Seed, SeededTask
from .source import Source
from .states import State

#: what ends a call whatever is to become of errors
ENDS_CALL = (KeyboardInterrupt, GeneratorExit)


# -------------------------------------------------------------- on the way out
class InlineTask:
    """A task that runs in the caller, with what is asked of it.

    Parameters
    ----------
    func : callable
    wrappers : tuple of callable
        What runs around each try.
    controls : Controls
    """

    __slots__ = ("controls", "func", "wrappers")

    def __init__(
        self, func: Callable[..., Any], wrappers: tuple[Any, ...], controls: Controls
    ) -> None:
        self.func = func
        self.wrappers = wrappers
        self.controls = controls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        controls = self.controls
        before = getattr(_backend, "config", None)
        _backend.config = without_controls(current())
        tries = 0
        try:
            while True:
                try:
                    return run_wrapped(self.wrappers, (self.func, args, kwargs))
                except ENDS_CALL:
                    raise
                except BaseException as error:
                    if tries < controls.retries and isinstance(
                        error, controls.retry_on
                    ):
                        tries += 1
                    elif controls.on_error == "return":
                        return in_place(error)
                    else:
                        raise
        finally:
            _backend.config = before


def prepared(
    iterator: Iterator[Any],
    controls: Controls,
    seed: Seed | None,
    inline_wrappers: tuple[Any, ...] | None,
) -> Iterator[Any]:
    """Yield the tasks of a call with what they need to do as is asked.

    Parameters
    ----------
    iterator : iterator of task
    controls : Controls
    seed : Seed or None
        The call's.
    inline_wrappers : tuple of callable or None
        What runs around each task, if that is in the caller; None elsewhere.
    """
    for number, task in enumerate(iterator):
        better = explain_undelayed([task], TypeError("not a task"))
        if better is not None:
            raise better
        func, args, kwargs = task
        if seed is not None:
            func = SeededTask(func, seed.child(number))
        if inline_wrappers is not None:
            func = InlineTask(func, inline_wrappers, controls)
        yield func, args, kwargs


# --------------------------------------------------------------- on the way back
def in_place(error: BaseException) -> BaseException:
    """Return an exception as it stands in the results: with its traceback as text.

    The frames themselves would keep alive what the task had at hand.
    """
    if not isinstance(error.__cause__, RemoteTraceback):
        error = CapturedError(error).raised()
    set_on(error, "__context__", None)
    set_on(error, "__traceback__", None)
    for part in getattr(error, "exceptions", ()):  # of an ExceptionGroup
        if isinstance(part, BaseException):
            for name in ("__cause__", "__context__", "__traceback__"):
                set_on(part, name, None)
            in_place(part)
    return error


class _Settled:
    """What came of a task: its result in a list, or an error that ends the call."""

    __slots__ = ("error", "results")

    def __init__(self, results: Any, error: BaseException | None = None) -> None:
        self.results = results
        self.error = error

    def get(self) -> Any:
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        return self.results


class WindowedSource(Source):
    """Gives out no more tasks than there may be results without a taker."""

    def __init__(self, *args: Any, window: int) -> None:
        super().__init__(*args)
        self._window = window
        self._given = 0
        #: results that the consumer has taken
        self.taken = 0

    def room(self) -> int:
        """Return how many more tasks may be given out now."""
        return self._window - (self._given - self.taken)

    def take(self, size: int, least: int = 1) -> Sequence[Any]:
        room = self.room()
        if room <= 0:
            return []
        size = min(size, -(-self._window // self._n_jobs))  # something for each worker
        items = super().take(min(size, room), min(least, room))
        self._given += len(items)
        return items


class ControlledRun(Run):
    """A run that does as its `Controls` say."""

    __slots__ = (
        "_alone _announced _batches _feeder _meter _outcome _retries _suspects _tries controls"
    ).split()

    def __init__(self, *args: Any, controls: Controls, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.controls = controls
        if controls.one_by_one or controls.max_pending_results is not None:
            self.draws = False
        self._outcome = self._retrieve
        if controls.one_by_one:
            self._retrieve = _Settled.get
        self._meter: Meter | None = None
        if controls.progress is not None:
            self._meter = Meter(controls.progress, self, self.parallel.n_tasks)
            self._announced, self.progress = self.progress, self._report
        self._retries = controls.retries
        if self.backend.retries_by_itself(controls.retry_on):
            self._retries = 0
        # by their jobs: what there is to be sent again, and how often it was
        self._batches: dict[Any, BatchedCalls] = {}
        self._tries: dict[Any, int] = {}
        #: jobs that wait for their turn to run alone
        self._suspects: deque[Any] = deque()
        self._alone: Any = None  # the one whose turn it is
        self._feeder: _Feeder | None = None

    def trace(self, call: Any) -> None:
        """Have a `TracedCall` take the call down."""
        super().trace(call)
        if self.controls.one_by_one:
            self._outcome = call.receiving(self._outcome)
            self._retrieve = _Settled.get

    def _report(self) -> None:
        meter, announced = self._meter, self._announced
        if announced is not None:
            announced()
        if meter is not None:
            meter.advance()

    def end(self, apart: bool = False) -> None:
        """Stop what is left, and show the end."""
        try:
            super().end(apart)
        finally:
            self._announced = None
            meter, self._meter = self._meter, None
            if meter is not None:
                meter.end(self.state is State.DONE)

    # ------------------------------------------------------------- each outcome
    def _form(self, items: Any, job: Any) -> BatchedCalls:
        batch = super()._form(items, job)
        if self.controls.one_by_one:
            self._batches[job] = batch
        return batch

    def complete(self, job: Any, out: Any) -> None:
        """Take a task's outcome: a result, an error in its place, or one more try."""
        if not self.controls.one_by_one:
            super().complete(job, out)
            return
        try:
            self._complete(job, out)
        except BaseException as error:  # handed to the caller
            self.fail(error)

    def _complete(self, job: Any, out: Any) -> None:
        if job.status is not TASK_PENDING or not self.active:
            return
        settled: _Settled | None
        try:
            settled = _Settled(self._outcome(out))
        except BaseException as error:  # the task's
            if self.traced is not None:
                self.traced.lost(self._name(job), job.dispatch_timestamp, error)
            settled = self._settle(job, out, error)
        if settled is not None:
            self._batches.pop(job, None)
            self._tries.pop(job, None)
            if job is self._alone:
                self._alone = None
            super().complete(job, settled)
        self._try_suspect()

    def _settle(self, job: Any, out: Any, error: BaseException) -> _Settled | None:
        """Return what is to become of a failure; None if the task is tried again."""
        if isinstance(error, TaskTimedOut):
            error = self._timed_out(job)
        if isinstance(error, ENDS_CALL) or self.backend.ends_call(out):
            return _Settled(None, error)
        tries = self._tries.get(job, 0)
        if tries < self._retries and is_one_of(error, self.controls.retry_on):
            self._tries[job] = tries + 1
            self._send_again(job)
            return None
        if self.controls.on_error == "raise":
            return _Settled(None, error)
        if tries <= self._retries and self.backend.may_be_innocent(error):
            self._tries[job] = self._retries + 1
            with self.lock:
                self._suspects.append(job)
            return None
        return _Settled([in_place(error)])

    def _timed_out(self, job: Any) -> Exception:
        return timeout_error(
            f"Task {job.start}, a call of the function {self._name(job)!r}, ran for longer than "
            f"task_timeout={self.controls.task_timeout:g} seconds, and was given up."
        )

    def _name(self, job: Any) -> str:
        batch = self._batches.get(job)
        return "?" if batch is None else name_of(batch.items[0][0])

    def _send_again(self, job: Any) -> None:
        job.dispatch_timestamp = time()
        try:
            self.backend.submit(self._batches[job], job)
        except BaseException as error:  # handed to the caller
            self.fail(error)

    def _try_suspect(self) -> None:
        """Run one of the tasks that may be innocent, if no other is on its way."""
        if not self._suspects:
            return
        with self.lock:
            away = self.n_dispatched_batches - self.n_completed_batches
            if not self.active or not self._suspects or away > len(self._suspects):
                return
            job = self._alone = self._suspects.popleft()
        self._send_again(job)

    def owes(self) -> bool:
        """Whether a batch is owed; while there are suspects, they go first."""
        if self._alone is not None or self._suspects:
            return False
        return super().owes()

    # ------------------------------------------------------------- back-pressure
    def taking(self, results: Iterator[Any]) -> Iterator[Any]:
        """Yield results; give out another task for each that is taken."""
        source = self.source
        if not isinstance(source, WindowedSource):
            yield from results
            return
        self._feeder = feeder = _Feeder(self)
        for result in results:
            source.taken += 1
            if self.owes() and not self.exhausted:
                feeder.wake()
            yield result
            result = None

    def feed(self) -> None:
        """Dispatch what there is room for."""
        source = self.source
        assert isinstance(source, WindowedSource)
        try:
            while (
                self.active and self.owes() and not self.exhausted and source.room() > 0
            ):
                if not self._dispatch():
                    # Somebody was at the source, and may have found no room there.
                    with source.lock:
                        pass
        except BaseException as error:  # handed to the caller
            self.fail(error)

    def _end(self) -> None:
        feeder, self._feeder = self._feeder, None
        if feeder is not None:
            feeder.stop()
        try:
            super()._end()
        finally:
            with self.lock:
                self._batches.clear()
                self._tries.clear()
                self._suspects.clear()


class _Feeder:
    """A thread that dispatches when the consumer has taken a result.

    The consumer itself does not: the caller's iterable may wait for what it does next.
    """

    def __init__(self, run: ControlledRun) -> None:
        self._event = threading.Event()
        self._stopped = False
        self._run = run
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the thread look."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="joblib-feeder", daemon=True
            )
            self._thread.start()
        self._event.set()

    def stop(self) -> None:
        """Have the thread end."""
        self._stopped = True
        self._event.set()

    def _work(self) -> None:
        while True:
            self._event.wait()
            self._event.clear()
            if self._stopped:
                return
            self._run.feed()
