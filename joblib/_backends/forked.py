"""A forked process gets an executor of its own from loky, not its parent's."""

from __future__ import annotations

import os
import threading
from typing import Any

from loky import reusable_executor

#: what belongs to processes that this one was forked from
_of_parents: list[Any] = []


def _start_anew() -> None:
    """Forget the parent's executor, whose threads were not forked with it.

    A task given to it would never be sent, and its caller would wait for ever. It
    is kept and not collected: its end would be told to the parent's threads.
    """
    storage = getattr(reusable_executor, "_executor_storage", None)
    if storage is not None:
        _of_parents.append(storage)
        reusable_executor._executor_storage = type(storage)()
    else:  # older releases keep one executor for all threads
        _of_parents.append(reusable_executor._executor)
        reusable_executor._executor = reusable_executor._executor_kwargs = None
    reusable_executor._executor_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
