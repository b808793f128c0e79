"""The dask task in which a call was made, if any: in its name the call is run."""

from __future__ import annotations

from typing import Any

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

    def is_called_off(self) -> bool:
        """Tell whether the task was cancelled while it ran."""
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state in _CALLED_OFF


def current_task() -> ParentTask | None:
    """Return the task that the calling thread runs, None if it is on no worker."""
    from distributed import get_worker
    from distributed.utils import thread_state  # type: ignore[attr-defined]

    key = getattr(thread_state, "key", None)
    if key is None:
        return None
    try:
        return ParentTask(get_worker(), key)
    except ValueError:
        return None
