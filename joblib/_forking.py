"""Worker processes are forked one at a time, and looked after by several threads.

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


if hasattr(context, "ForkServerProcess"):

    class ServedFork(context.ForkServerProcess):
        """A process that a server forks, whose exit code several threads may ask for."""

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - of multiprocessing
            from ._forkserver import LonePoll

            return LonePoll(process_obj)


#: what stands in for processes of multiprocessing, by the names of their classes
_OURS = {"ForkProcess": "LoneFork", "ForkServerProcess": "ServedFork"}


def make_process(ctx: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a process of a multiprocessing context, not started yet."""
    kind = ctx.Process
    name = kind.__name__
    ours = _OURS.get(name)
    if ours is None or kind is not getattr(context, name, None):
        return kind(*args, **kwargs)
    process = globals()[ours](*args, **kwargs)
    # told in logs, and looked for there: the name that it would have
    process.name = process.name.replace(ours, name)
    return process


def _start_anew() -> None:
    # it is held, by the thread that was forked
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
