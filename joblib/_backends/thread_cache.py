"""Threads kept for a moment after a call, for the next one.

Starting a thread costs as much as running a hundred short tasks, and calls often
come one after the other. A thread here serves one call at a time; between two
calls it waits for `IDLE_SECONDS` and then ends. Context variables start empty for
each call, as they do in a new thread; values in ``threading.local`` may be those
that earlier tasks have left there, as between two tasks of one call.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

#: how long a thread waits for the next call
IDLE_SECONDS = 1.0

#: runs on the thread until the call is over; must not raise. Returns whether the
#: thread has to report back itself: else `give_back` was called for it
Work = Callable[[], bool]

# re-entrant: the collector may end another call on a thread that holds it
_lock = threading.RLock()
_idle: list[CachedThread] = []


class CachedThread(threading.Thread):
    """A daemon thread that runs one `Work` after the other."""

    def __init__(self, work: Work) -> None:
        super().__init__(name="joblib-thread", daemon=True)
        #: whether it is running a batch, as its work sees it
        self.busy = False
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        self._inbox.put(work)

    def serve(self, work: Work) -> None:
        """Have an idle thread run `work`."""
        self._inbox.put(work)

    def end(self) -> None:
        """Have an idle thread, which is not on the list any more, end."""
        self._inbox.put(None)

    def run(self) -> None:
        work: Any = None
        while True:
            try:
                work = self._inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                with _lock:
                    if self in _idle:
                        _idle.remove(self)
                        return
                # somebody has just taken it for a call, which is on its way
                continue
            if work is None:  # taken off the list, to end
                return
            if contextvars.Context().run(work):
                give_back([self])
            del work  # while it waits, it keeps no call alive


def start(work: Work) -> CachedThread:
    """Run `work` on an idle thread, or on a new one; return the thread.

    Raises
    ------
    RuntimeError
        If the system has no more threads.
    """
    with _lock:
        thread = _idle.pop() if _idle else None
    if thread is None:
        thread = CachedThread(work)
        thread.start()
    else:
        thread.serve(work)
    return thread


def give_back(threads: list[CachedThread]) -> None:
    """Say that these threads are free for another call, or about to be."""
    with _lock:
        _idle.extend(threads)


def end_idle() -> None:
    """End the threads that wait for a call, and wait for them."""
    with _lock:
        ending = _idle[:]
        _idle.clear()
    for thread in ending:
        thread.end()
    for thread in ending:
        if thread is not threading.current_thread():
            thread.join(IDLE_SECONDS)


def _forget_all() -> None:
    # After a fork the child has none of the threads, and a lock that may be held.
    global _lock
    _lock = threading.RLock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
