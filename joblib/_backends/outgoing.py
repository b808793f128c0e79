"""What is looked at before a batch leaves the process: does it hold tasks?"""

from __future__ import annotations

from typing import Any

from .._engine.batch import explain_undelayed


def check_tasks(batch: Any) -> None:
    """Raise TypeError or ValueError if an item of `batch` is no task.

    In the caller's process such an item is met when it is unpacked to be run.
    Before a batch is sent away its function is asked for its name, which would
    fail sooner, and in words that nobody understands.
    """
    items = getattr(batch, "items", None)
    if not isinstance(items, list):
        return  # no batch of the engine's: its maker knows what it is
    try:
        for _func, _args, _kwargs in items:
            pass
    except (TypeError, ValueError) as error:
        raise explain_undelayed(items, error) or error from None
