"""The caller's iterable, cut into batches as workers become free.

How far the iterable is read ahead of the work is said by `pre_dispatch`: that
many tasks are given out at the start, and one more batch for each that ends.
"""

from __future__ import annotations

import numbers
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from .._utils import eval_expr
from .columns import Ahead


def initial_tasks(pre_dispatch: Any, n_jobs: int) -> int | None:
    """Return how many tasks are given out at the start; None for all.

    Parameters
    ----------
    pre_dispatch : "all", int or str
        A string may hold arithmetic of numbers and ``n_jobs``.
    n_jobs : int
        The effective number of jobs.

    Raises
    ------
    ValueError
        If it is none of these, or less than 1.
    TypeError
        If it is neither a string nor a number.

    Examples
    --------
    >>> initial_tasks("2 * n_jobs", 4)
    8
    >>> initial_tasks("all", 4) is None
    True
    """
    if pre_dispatch == "all":
        return None
    value = pre_dispatch
    if isinstance(pre_dispatch, str):
        value = _evaluate(pre_dispatch, n_jobs)
    elif not isinstance(pre_dispatch, numbers.Real):
        raise TypeError(
            "pre_dispatch must be 'all', a number of tasks or an expression such as "
            f"'2 * n_jobs', got {pre_dispatch!r} of type "
            f"{type(pre_dispatch).__name__}."
        )
    if not value >= 1:
        raise ValueError(
            "pre_dispatch must give out at least one task, got "
            f"{pre_dispatch!r} (that is {value}) with n_jobs={n_jobs}."
        )
    return int(value)


@lru_cache(maxsize=64)
def _evaluate(expression: str, n_jobs: int) -> Any:
    # the same few expressions, call after call
    try:
        return eval_expr(expression.replace("n_jobs", str(n_jobs)))
    except ValueError as error:
        raise ValueError(
            f"pre_dispatch={expression!r} is neither 'all' nor arithmetic of numbers "
            f"and n_jobs, such as '2 * n_jobs': {error}"
        ) from error


def share(size: int, left: int, n_jobs: int, least: int = 1) -> int:
    """Return how many of the `left` last tasks one batch of at most `size` takes.

    Half of an equal share, so that batches shrink towards the end and no worker
    is left with a long one while the others idle (guided self-scheduling:
    Polychronopoulos and Kuck, IEEE Trans. Computers C-36, 1987). Of `least` tasks
    or fewer a batch is over so soon that sharing them were not worth a batch more.

    >>> [share(100, left, n_jobs=2) for left in (1000, 40, 10, 1)]
    [100, 10, 3, 1]
    >>> [share(100, left, n_jobs=2, least=8) for left in (1000, 40, 10, 1)]
    [100, 10, 8, 8]
    """
    return max(1, min(size, max(least, -(-left // (2 * n_jobs)))))


class Source:
    """An iterator shared by all threads that dispatch.

    `lock` must be held around `take`; the caller's code runs under it, and so
    it is not the lock that guards the state of the run.

    Parameters
    ----------
    iterable : iterable of task
    n_jobs : int
        The effective number of jobs, for the sizes of the last batches.
    limit : int, optional
        How many tasks `take` may give out until `release`.
    shrinks : bool, default=True
        Whether the last batches may be smaller than what `take` is asked for.
    pre_dispatch : "all", int or str, default="all"
        What `limit` comes from, in case that the number of workers changes.
    fair : bool, default=True
        Whether none of the last batches has more than an equal share of what is left,
        however few tasks that are. They may be slower than those before them.
    compact : bool, default=False
        Whether batches may come as `Columns`.
    """

    def __init__(
        self,
        iterable: Iterable[Any],
        n_jobs: int,
        limit: int | None,
        shrinks: bool = True,
        pre_dispatch: Any = "all",
        fair: bool = True,
        compact: bool = False,
    ) -> None:
        self.lock = threading.Lock()
        self.exhausted = False
        self.iterator = iter(iterable)
        self._n_jobs = n_jobs
        self._limit = self._budget = limit
        self._pre_dispatch = pre_dispatch
        self._shrinks = shrinks
        self._fair = fair
        self._ahead = Ahead(compact)

    def release(self) -> None:
        """End the initial phase: from here on each `take` is one batch."""
        self._budget = None

    def resize(self, n_jobs: int) -> int:
        """Go by so many workers; return how many tasks more the start would have had."""
        self._n_jobs = n_jobs
        limit = initial_tasks(self._pre_dispatch, n_jobs)
        return 0 if limit is None or self._limit is None else limit - self._limit

    def take(self, size: int, least: int = 1) -> Sequence[Any]:
        """Return the tasks of the next batch, at most `size`; empty at the end.

        In the initial phase empty means that the budget is spent. The last batches
        shrink, but not below `least`.
        """
        budget = self._budget
        if size == 1 and budget is None and not self._ahead:
            # by far the most common case, and on the way of every task
            for task in self.iterator:
                return [task]
            self.exhausted = True
            return []
        if budget is not None:
            # The first batches share the budget, else one worker had it all.
            size = min(size, -(-budget // self._n_jobs))
            if size <= 0:
                return []
            self._budget = budget - size
        return self._take_ahead(size, least, budget is None and self._shrinks)

    def _take_ahead(self, size: int, least: int, read_on: bool) -> Sequence[Any]:
        """Take a batch, reading on one round to see the end before it comes."""
        ahead = self._ahead
        wanted = size * self._n_jobs if read_on else size
        if not self.exhausted:
            # of smaller batches than before, more than a round may be there
            missing = max(wanted - len(ahead), 0)
            self.exhausted = ahead.extend(islice(self.iterator, missing)) < missing
        if self.exhausted and read_on:
            if self._fair:
                least = min(least, -(-len(ahead) // self._n_jobs))
            size = share(size, len(ahead), self._n_jobs, least)
        return ahead.take(size)

    def drop(self) -> None:
        """Keep nothing of what was read and not given out."""
        self._ahead = Ahead(compact=False)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to take."""
        return self.exhausted and not self._ahead
