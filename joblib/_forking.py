"""Worker processes are forked one at a time.

What is registered to be called before and after a fork holds locks in between, and may
not expect a second one to begin meanwhile: filelock refuses that with a RuntimeError
from the moment it is imported. Two threads may start workers at once all the same.
"""

from __future__ import annotations

import os
import threading
from multiprocessing import context
from typing import Any

_lock = threading.Lock()

if hasattr(context, "ForkProcess"):

    class LoneFork(context.ForkProcess):
        """A forked process, whose start waits for the end of another's."""

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - of multiprocessing
            with _lock:
                return context.ForkProcess._Popen(process_obj)


def make_process(ctx: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a process of a multiprocessing context, not started yet."""
    kind = ctx.Process
    if kind is getattr(context, "ForkProcess", None):
        kind = LoneFork
    return kind(*args, **kwargs)


def _start_anew() -> None:
    # it is held, by the thread that was forked
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
