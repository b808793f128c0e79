"""A worker's stint at a batch, which may end before the batch does.

How many tasks go into one batch is learnt from those before them. If these are slower,
the last of the batch would wait for all the others of it, while other workers have
nothing to do. So a worker that takes much longer than was thought leaves the rest, and
it may be told to while it is still at a task. And it leaves what nobody waits for any more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from .parents import current_task

#: what is under way in this process, by the key of dask's task
_stints: dict[str, Stint] = {}


class Stint:
    """The tasks of a batch, given out as long as there is time for them.

    Parameters
    ----------
    tasks : list of task
    seconds : float
        After so many no further task is begun. The first one always is.

    Examples
    --------
    >>> stint = Stint(["a", "b", "c"], 60)
    >>> tasks = iter(stint)
    >>> next(tasks), next(tasks), stint.cut()
    ('a', 'b', 2)
    >>> list(tasks)
    []
    """

    def __init__(self, tasks: list[Any], seconds: float) -> None:
        self._tasks = tasks
        self._end = perf_counter() + seconds
        self._lock = threading.Lock()
        self._cut = False
        self._begun = 0

    def __iter__(self) -> Iterator[Any]:
        lock = self._lock
        for task in self._tasks:
            with lock:
                if self._begun and (self._cut or perf_counter() > self._end):
                    return
                self._begun += 1
            yield task

    def cut(self) -> int:
        """Have no further task begun; return how many were. From any thread.

        The first task is, in any case.
        """
        with self._lock:
            self._cut = True
            return max(self._begun, 1)


class CalledOff(Exception):
    """Nobody waits any more for what a task does."""


def while_wanted(tasks: Iterable[Any]) -> Iterator[Any]:
    """Give out tasks, until dask has called off the one that runs them.

    Raises
    ------
    CalledOff
        If it has, and there would be more to do.
    """
    own = current_task()
    for task in tasks:
        if own is not None and own.is_called_off():
            raise CalledOff
        yield task


def run_stint(batch: Any, seconds: float) -> list[Any]:
    """Run the tasks of `batch` for which there is time; return their results."""
    from distributed.utils import thread_state  # type: ignore[attr-defined]

    stint = Stint(batch.items, seconds)
    key = getattr(thread_state, "key", "")
    # A task that runs batches of its own call meanwhile stays the one that is meant.
    _stints.setdefault(key, stint)
    try:
        results: list[Any] = batch(while_wanted(stint))
        return results
    finally:
        if _stints.get(key) is stint:
            del _stints[key]


def cut_stints(keys: Iterable[str]) -> dict[str, int]:
    """Have a worker begin no further task of these batches.

    Returns
    -------
    begun : dict
        How many tasks of each batch were begun; without those that are not under way.
    """
    found = [(key, _stints.get(key)) for key in keys]
    return {key: stint.cut() for key, stint in found if stint is not None}
