"""How results reach the caller: in order, as they come, or computed on the spot."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from time import monotonic
from types import TracebackType
from typing import Any

from .batch import explain_undelayed, run_wrapped
from .relief import before_waiting
from .run import Run
from .states import ANY, END

# Seconds. A Ctrl-C does not end a wait when it comes just before it, or when the
# system has another thread take the signal; on Windows it never does.
_LONGEST_WAIT = 0.5

# stands for a result that somebody has taken away
_GONE = object()

# Seconds for which a generator that is closed waits to learn whether there is more.
_TIME_TO_LOOK = 0.05


def _timeout_class() -> Any:
    from multiprocessing import TimeoutError as ProcessTimeout

    class TaskTimeoutError(ProcessTimeout, TimeoutError):
        """A task took longer than `task_timeout`, or kept the caller for `timeout`."""

    TaskTimeoutError.__qualname__ = "TaskTimeoutError"  # where pickle looks for it
    return TaskTimeoutError


def __getattr__(name: str) -> Any:
    # made when it is needed: it takes an import that few calls have any use for
    if name != "TaskTimeoutError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _timeout_class())


def timeout_error(message: str) -> Exception:
    """Return an error that is both of the types people catch.

    Older releases raise multiprocessing's TimeoutError, which is not the
    builtin one.
    """
    kind = globals().get("TaskTimeoutError") or __getattr__("TaskTimeoutError")
    error: Exception = kind(message)
    return error


class _Ending:
    """The end of a call, whichever way it ends: abort if need be, then tidy up."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run = self.run
        if exc_type is None and run.finish():
            run.end()
            return
        # A generator may be closed by another thread, even by one of the backend.
        apart = threading.get_ident() != run.caller
        if exc_type is GeneratorExit and run.active:
            warn_early_exit(run)
            # The workers have no part in that then, and other calls may use them.
            run.spares_workers = _is_over(run, 0 if apart else _TIME_TO_LOOK)
        run.end(apart)
        if not apart:
            # Another thread may be about it, and stop workers that a next call of
            # this one would be given.
            run.wait_until_over()


def _is_over(run: Run, seconds: float) -> bool:
    """Whether every task has completed and there is none to come.

    Whoever completes the last one makes its result known, and only then looks whether
    there is another: that is waited for.
    """
    with run.condition:
        if run.n_completed_batches < run.n_dispatched_batches:
            return False
        return run.condition.wait_for(run.drained, seconds)


def warn_early_exit(run: Run) -> None:
    """Say what is lost when the caller takes no more results."""
    done = len(run.ready) + len(run.finished)
    cancelled = run.n_dispatched_tasks - run.n_completed_tasks
    if not done and not cancelled:
        return
    warnings.warn(
        f"{done} tasks have been successfully executed  but not used. Additionally, "
        f"{cancelled} tasks which were still being processed by the workers have "
        "been cancelled. You could benefit from adjusting the input task iterator "
        "to limit unnecessary computation time.",
        UserWarning,
        stacklevel=3,
    )


def _check(run: Run) -> None:
    """Raise what the call was given up for; the condition is held."""
    if run.aborting:
        error = run.error
        if error is None:
            raise RuntimeError(
                "This call of Parallel was ended before all its results were "
                "taken, by leaving its `with` block or by closing its generator."
            )
        try:
            raise error
        finally:
            # the traceback refers to this frame: no cycle through the error
            del error
            run.error = None


def _wait(run: Run, job: Any) -> None:
    """Wait for a change, at most until the time of the job waited for is up.

    The condition is held. Without a job, no clock runs: the caller's iterable
    may take its time.
    """
    before_waiting()
    if run.timeout is None or job is None:
        run.condition.wait(_LONGEST_WAIT)
        return
    now = monotonic()
    if job.deadline is None:
        job.deadline = now + run.timeout
    elif now >= job.deadline:
        raise timeout_error(
            f"A task was not done within timeout={run.timeout} seconds of being "
            "waited for. The call was aborted; pass a longer `timeout`, or None."
        )
    left = job.deadline - now
    run.condition.wait(min(left, _LONGEST_WAIT))


def _oldest(run: Run) -> Any:
    return next(iter(run.pending), None)


def _ordered(run: Run) -> Iterator[Any]:
    """Yield the results in the order of the tasks."""
    ready = run.ready
    number = 0
    while True:
        # Taken without the lock: only this thread takes.
        while number in ready and run.active:
            taken = [ready.pop(number, _GONE)]
            if taken[0] is _GONE:  # by another thread, with the call
                break
            number += 1
            yield taken.pop()
        with run.condition:
            run.awaited = number  # said before the last look
            try:
                while number not in ready:
                    _check(run)
                    if run.drained():
                        return
                    _wait(run, _oldest(run))
                _check(run)
            finally:
                run.awaited = None


def _unordered(run: Run) -> Iterator[Any]:
    """Yield the results as they come."""
    finished = run.finished
    while True:
        while finished and run.active:
            try:
                taken = [finished.popleft()]
            except IndexError:  # by another thread, with the call
                break
            yield taken.pop()
        with run.condition:
            run.awaited = ANY
            try:
                while not finished:
                    _check(run)
                    if run.drained():
                        return
                    _wait(run, _oldest(run))
                _check(run)
            finally:
                run.awaited = None


def _all(run: Run) -> list[Any]:
    """Wait until every task has completed; return the results in order."""
    with run.condition:
        run.awaited = END
        try:
            while not run.drained():
                _check(run)
                _wait(run, None)
            _check(run)
        finally:
            run.awaited = None
    ready, run.ready = run.ready, {}
    in_order = map(ready.__getitem__, sorted(ready))
    return list(chain.from_iterable(in_order) if run.whole else in_order)


def _fetched(run: Run) -> Iterator[Any]:
    """Yield results in order, fetched from a backend that has no callback for it."""
    retrieve = partial(run.backend.retrieve_result, timeout=run.timeout)
    if run.traced is not None:
        retrieve = run.traced.receiving(retrieve)
    while True:
        with run.condition:
            run.awaited = ANY
            try:
                while not (run.jobs and run.jobs[0].submitted):
                    _check(run)
                    if not run.jobs and run.exhausted:
                        return
                    run.condition.wait(_LONGEST_WAIT)
                _check(run)
            finally:
                run.awaited = None
            job = run.jobs.popleft()
        results = retrieve(job.job)
        # A backend that calls back late, or never, must not stop the rest.
        run.complete(job, None)
        yield from results


def _results(run: Run) -> Iterator[Any]:
    if not run.by_callback:
        return _fetched(run)
    return _ordered(run) if run.ordered else _unordered(run)


def collect(run: Run) -> list[Any]:
    """Make the call; return all results in order."""
    parallel = run.parallel
    at_once = run.by_callback and run.timeout is None
    run.whole = at_once and not run.draws
    with _Ending(run):
        run.backend.start_call()
        run.start(stays=True)
        with run.backend.retrieval_context():
            results = _all(run) if at_once else list(_results(run))
    parallel.print_progress()
    return results


def stream(run: Run) -> Iterator[Any]:
    """Make the call; yield None when it has begun, and then the results."""
    parallel = run.parallel
    with _Ending(run):
        run.backend.start_call()
        run.start(stays=False)
        yield None
        with run.backend.retrieval_context():
            yield from run.taking(_results(run))
    parallel.print_progress()


def _inline_runner(run: Run) -> Callable[[Any], Any] | None:
    """Return what runs a task in the caller; None if nothing is to be done but that."""
    plan = run.plan
    if plan.recorder is not None:
        recording = plan.recorder.recording(plan.wrappers)

        def run_recorded(task: Any) -> Any:
            try:
                return recording.run(task)
            finally:
                recording.close()

        return run_recorded
    return partial(run_wrapped, plan.wrappers) if plan.wrappers else None


def inline(run: Run, size: int) -> Iterator[Any]:
    """Run the tasks in the caller; yield None first, and then each result.

    They are taken from the caller's iterable `size` at a time.
    """
    run.begin()
    parallel = run.parallel
    progress = run.progress
    run_task = _inline_runner(run)
    iterator = run.source.iterator
    batches: Iterator[Any] = (
        iterator if size == 1 else iter(lambda: list(islice(iterator, size)), [])
    )
    task: Any
    begun: list[Any] = []  # the task at work
    try:
        run.backend.start_call()
        yield None
        for batch in batches:
            run.n_dispatched_batches += 1
            for task in (batch,) if size == 1 else batch:
                if not run.active:  # called off, by another thread or a task
                    with run.condition:
                        _check(run)
                run.n_dispatched_tasks += 1
                begun[:] = (task,)
                if run_task is not None:
                    result = run_task(task)
                else:
                    func, args, kwargs = task
                    result = func(*args, **kwargs)
                run.n_completed_tasks += 1
                if progress is not None:
                    progress()
                yield result
                result = None
        run.exhausted = True
        if not run.finish():
            with run.condition:
                _check(run)
    except (TypeError, ValueError) as error:
        better = explain_undelayed(begun, error)
        if better is None:
            raise
        raise better from None
    finally:
        run.end()
    parallel.print_progress()
