"""A batch that is not closed: a worker of this process draws its tasks one by one.

Coming back to the engine for each task costs a few microseconds, ten times what it
takes to advance the caller's iterable under a lock. A worker that is done with its
task within `SLICE` therefore takes the next one from the iterable itself, and comes
back when its slice of time is over. Each task is still taken by whichever worker is
free for it, and each result is handed over before the next task is asked for: the
iterable may well wait for that result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .batch import BatchedCalls, Plan, Task, run_wrapped
from .states import ANY

if TYPE_CHECKING:
    from .run import Run

#: seconds after which a worker draws no further task
SLICE = 200e-6


class OpenBatch(BatchedCalls):
    """One task of a call, and as many of those that follow as there is time for.

    Parameters
    ----------
    first : list of task
        The task it was dispatched with, alone in a list.
    plan : Plan
        How tasks are run.
    run : Run
        The call; gives out the tasks and takes the results.
    job : Job
        The batch's callback; told in the end how many tasks there were.
    """

    def __init__(self, first: list[Task], plan: Plan, run: Run, job: Any) -> None:
        super().__init__(first, plan)
        self._run = run
        self._job = job

    def _results(self, tasks: Iterable[Task]) -> list[Any]:
        wrappers, recorder = self._plan.wrappers, self._plan.recorder
        if recorder is not None:
            recording = recorder.recording(wrappers)
            try:
                return self._draw(recording.run)
            finally:
                recording.close()
        return self._draw(partial(run_wrapped, wrappers) if wrappers else None)

    def _draw(self, run_task: Callable[[Task], Any] | None) -> list[Any]:
        """Run tasks until it is time to come back; with `run_task`, if there is one."""
        end = perf_counter() + SLICE
        run, job = self._run, self._job
        (task,), index, count = self.items, job.start, 1
        while True:
            if run_task is not None:
                publish(run, index, run_task(task))
            else:
                func, args, kwargs = task
                publish(run, index, func(*args, **kwargs))
            if perf_counter() >= end:
                break
            drawn = draw(run)
            if drawn is None:
                break
            task, index = drawn
            self.items = [task]  # for the message, if this is no task
            count += 1
        job.batch_size = count
        return []  # they have been handed over


def draw(run: Run) -> tuple[Task, int] | None:
    """Give a worker that has time its next task, and the task's number.

    None where there is none to be had at once.
    """
    lock = run.source.lock
    if not run.draining or not lock.acquire(False):
        return None
    try:
        items = run.source.take(1)
        if not items:
            return None
        number = run.n_dispatched_tasks
        run.n_dispatched_tasks = number + 1
    except BaseException as error:  # told before the lock goes, as in `dispatch_one`
        run.fail(error)
        raise
    finally:
        lock.release()
    # Somebody may have found the lock taken, and left a batch to us.
    if run.owes():
        run.pay()
    return items[0], number


def publish(run: Run, number: int, result: Any) -> None:
    """Hand the result of one task over; wake the caller if it waits for it."""
    if not run.active:
        return  # nobody will take it, and it must not be kept
    if run.ordered:
        run.ready[number] = result
    else:
        run.finished.append(result)
    # Without the lock: the caller says first what it waits for, and then looks.
    awaited = run.awaited
    if awaited is not None and (awaited is ANY or awaited == number):
        run.wake()
