"""A batch that is not closed: a worker of this process draws its tasks one by one.

Coming back to the engine for each task costs a few microseconds, ten times what it
takes to advance the caller's iterable under a lock. A worker that is done with its
task within `SLICE` therefore takes the next one from the iterable itself, and comes
back when its slice of time is over. Each task is still taken by whichever worker is
free for it, and each result is handed over before the next task is asked for: the
iterable may well wait for that result.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from .batch import BatchedCalls, Plan, Task, run_wrapped

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

    def _results(self) -> list[Any]:
        end = perf_counter() + SLICE
        run, job = self._run, self._job
        wrappers = self._plan.wrappers
        (task,), index, count = self.items, job.start, 1
        while True:
            if wrappers:
                run.publish(index, run_wrapped(wrappers, task))
            else:
                func, args, kwargs = task
                run.publish(index, func(*args, **kwargs))
            if perf_counter() >= end:
                break
            drawn = run.draw()
            if drawn is None:
                break
            task, index = drawn
            self.items = [task]  # for the message, if this is no task
            count += 1
        job.batch_size = count
        return []  # they have been handed over
