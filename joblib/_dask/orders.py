"""How the tasks of a call are sent: their options, their keys, and in whose name."""

from __future__ import annotations

from typing import Any

from .naming import Keys
from .parents import current_task


class Orders:
    """How the tasks of a call are sent, for all who send some.

    Parameters
    ----------
    options : dict
        Keywords of ``Client.submit`` that were given; of them, `key` is what the keys of
        the tasks begin with.
    apart : bool, default=False
        A task that waits for this call holds resources. Others may fill its worker that
        wait for them: dask is not to wait for room there.

    Attributes
    ----------
    options : dict
        Keywords for ``Client.submit``, but for the key.
    keys : Keys
        Makes the keys.
    priority : int
        The one that was given.
    parent : ParentTask or None
        The task that makes the call.
    """

    def __init__(self, options: dict[str, Any], apart: bool = False) -> None:
        self.options = {"fifo_timeout": 0, **options}
        prefix = self.options.pop("key", None)
        workers = self.options.get("workers")
        if workers is not None:
            one = isinstance(workers, str)
            self.options["workers"] = [workers] if one else list(workers)
        self.priority = self.options.get("priority") or 0
        self.parent = current_task()
        if self.parent is not None:
            self.parent.put_forward(self.options)
            apart = apart or self.parent.holds_resources
        self.keys = Keys(prefix, apart)


def holds_resources(options: dict[str, Any]) -> bool:
    """Tell whether tasks with these options, or the task that sends them, have resources.

    They keep them while they wait for calls of their own.
    """
    import dask

    if options.get("resources") or dask.get_annotations().get("resources"):  # type: ignore[attr-defined]
        return True
    parent = current_task()
    return parent is not None and parent.holds_resources
