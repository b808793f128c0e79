"""Workers end when the process that started them is gone, however it went.

A worker learns of its parent's end from nobody: it waits for tasks on a queue whose
other end its siblings have open as well. So a thread of it waits for that end; where
the thread can't run, the kernel sees to it, see `lifeline`. What a parent that was
killed has left on disk is then removed by the resource tracker, which waits for the
last of the workers.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

from . import lifeline, native, output

#: seconds between two looks, where the system can't tell of a process that ends
LOOK_INTERVAL = 1.0
#: that of a worker whose parent is gone
EXIT_CODE = 1


class Start:
    """What each worker calls first: watches for its parent's end, then the user's.

    Two are equal if they do the same, so that a pool can be recognised by it.

    Parameters
    ----------
    initializer : callable, optional
        The user's.
    initargs : iterable
        Its arguments.
    env : dict of str to str, optional
        Environment variables about threads of native libraries, where the worker
        does not have them from its start.
    """

    def __init__(
        self,
        initializer: Callable[..., Any] | None,
        initargs: Any = (),
        env: dict[str, str] | None = None,
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError(
                f"initializer must be a callable, got {initializer!r} of type "
                f"{type(initializer).__name__}."
            )
        self.parent = os.getpid()
        self.line = lifeline.hold()
        self.initializer = initializer
        self.initargs = tuple(initargs)
        self.env = env

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Start) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None:
        if self.line is not None:
            lifeline.die_with(self.line)
        end_with(self.parent)
        output.show_lines()
        if self.env is not None:
            native.limit_worker(self.env)
        if self.initializer is not None:
            self.initializer(*self.initargs)


def end_with(parent: int) -> None:
    """End this process, whatever it does, when another one is gone.

    Parameters
    ----------
    parent : int
        The process id of the other, on this machine: the parent as a rule, or the
        process that had a server of forks start this one.
    """
    if os.name != "posix" or os.getpid() == parent:
        return
    thread = threading.Thread(
        target=_outlive, args=(parent,), name="joblib-parent-watch", daemon=True
    )
    thread.start()


def _outlive(parent: int) -> None:
    _wait_for_end(parent)
    os._exit(EXIT_CODE)


def _is_alive(parent: int) -> bool:
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _wait_for_end(parent: int) -> None:
    is_child = os.getppid() == parent
    try:
        descriptor = os.pidfd_open(parent)  # type: ignore[attr-defined,unused-ignore]
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # not on this system
        pause = threading.Event()  # nobody sets it: it only passes the time
        while (os.getppid() == parent) if is_child else _is_alive(parent):
            pause.wait(LOOK_INTERVAL)
        return
    if is_child and os.getppid() != parent:
        return  # it ended just before, and another process may have its number
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)  # readable once the process has ended
    poll.poll()
