"""The dask task in which a call was made, if any: in its name the call is run."""

from __future__ import annotations

import math
import time
from typing import Any

from .slots import worker_here

#: seconds within which calls are told apart by when they began: eleven days
_ROUND = 1e6

#: says why a call has ended with its task
CANCELLED = "The task that made the call was cancelled."
#: a worker's states of a task whose result nobody waits for any more
_CALLED_OFF = ("cancelled", "forgotten", "released")


class ParentTask:
    """A task on a worker, seen from a call that it makes.

    Parameters
    ----------
    worker : distributed.Worker
        Where it runs.
    key : str or tuple
        Its key.
    """

    def __init__(self, worker: Any, key: Any) -> None:
        self._worker = worker
        self._key = key

    def speak_for_it(self) -> None:
        """Submit from this thread in the task's name.

        dask runs the tasks that a task has started before new ones like itself.
        """
        from distributed.utils import thread_state  # type: ignore[attr-defined]

        thread_state.key = self._key

    def put_forward(self, options: dict[str, Any]) -> None:
        """Set the priority of the tasks of a call that the task makes now.

        They go before those of calls that began later at its level, so that tasks
        with calls of their own end one after the other, and new ones can start while
        the rest go on. If all of them had the same, all would end together, and
        workers be idle until new ones have come that far. And they go before tasks
        that have not started, or these would have to wait as well.

        Parameters
        ----------
        options : dict
            Keywords for ``Client.map``, in which it is set. One that was annotated,
            by ``dask.annotate``, stays.
        """
        import dask

        if dask.get_annotations().get("priority") is not None:  # type: ignore[attr-defined]
            return
        base = own = options.get("priority") or 0
        task = self._worker.state.tasks.get(self._key)
        if task is not None and task.priority:
            own = max(-task.priority[0], base)
        level = math.floor(own - base) + 1
        options["priority"] = base + level + 1 - (time.time() % _ROUND) / _ROUND

    @property
    def holds_resources(self) -> bool:
        """Whether it has resources of its worker, which others may wait for."""
        task = self._worker.state.tasks.get(self._key)
        return task is not None and bool(task.resource_restrictions)

    def is_called_off(self) -> bool:
        """Tell whether the task was cancelled while it ran."""
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state in _CALLED_OFF


def current_task() -> ParentTask | None:
    """Return the task that the calling thread runs, None if it is on no worker.

    The method of an actor is no task, though dask gives its thread a key.
    """
    from distributed.utils import thread_state  # type: ignore[attr-defined]

    key = getattr(thread_state, "key", None)
    if key is None or getattr(thread_state, "actor", False):
        return None
    worker = worker_here()
    return None if worker is None else ParentTask(worker, key)
