"""A thread that hands results over may have to wait for some: another takes its place.

The caller's iterable is read on, among others, by the thread that has just handed a
result over. If the iterable is a generator of results itself, from the same workers,
that thread waits for results which only it would hand over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Here(threading.local):
    relieve: Callable[[], None] | None = None


_here = _Here()


def on_waiting(relieve: Callable[[], None] | None) -> None:
    """Have `relieve` called when this thread is about to wait for results.

    Parameters
    ----------
    relieve : callable or None
        Sees to it that another thread does what this one is here for. Called once,
        perhaps with locks held; must not wait.
    """
    _here.relieve = relieve


def before_waiting() -> None:
    """Say that this thread is about to wait for results."""
    relieve = _here.relieve
    if relieve is not None:
        _here.relieve = None
        relieve()
