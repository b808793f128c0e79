"""Giving up a worker's slot while a task on it waits for tasks of its own.

A dask worker runs as many tasks at once as it has threads. A task that waits for
tasks it started itself would keep them from running: with one worker of one
thread for ever. So the waiting thread leaves the pool (secedes), and takes a place
in it again (rejoins) when the wait is over. Both concern the calling thread only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

_HERE = threading.local()


class _Waits:
    """How many waits are open on a thread that has left the pool."""

    __slots__ = ("count", "seceded")

    def __init__(self) -> None:
        self.count = 0
        self.seceded = False


def worker_here() -> Any:
    """Return the worker whose task the calling thread runs, None if there is none.

    The thread is asked first: its context may be that of a task of another worker in
    this process, where something that was made there runs.
    """
    from distributed import get_worker
    from distributed.utils import thread_state  # type: ignore[attr-defined]

    state = getattr(thread_state, "execution_state", None)
    if state is not None:
        return state["worker"]
    try:
        return get_worker()
    except ValueError:
        return None


def _secede_here() -> bool:
    """Leave the worker's pool; False if this thread has no place in one.

    ``distributed.secede`` may start a thread for the one that leaves while the worker
    itself, about to run a task, does so as well: then the pool has one too many, for good.
    What is submitted to the pool starts one if there is none, one after the other.
    """
    from distributed.threadpoolexecutor import secede
    from distributed.threadpoolexecutor import thread_state as of_pool

    if worker_here() is None:
        return False
    try:
        secede(adjust=False)
        has_left = True
    except (AttributeError, KeyError):
        # a thread of the task's own, or one that has left the pool already
        has_left = False
    _say_it_waits()
    if has_left:
        with suppress(RuntimeError):  # the worker is closing
            of_pool.executor.submit(_do_nothing)
    return has_left


def _do_nothing() -> None:
    pass


def _say_it_waits() -> None:
    """Tell the worker of the task that it waits, and is not one of those that run.

    It may run on another executor of the worker, or on a thread of its own.
    """
    from distributed.utils import thread_state  # type: ignore[attr-defined]

    key = getattr(thread_state, "key", None)
    start = getattr(thread_state, "start_time", None)
    if key is None or start is None or getattr(thread_state, "actor", False):
        return
    worker = worker_here()
    if worker is None:
        return
    with suppress(ImportError, RuntimeError):
        from distributed.worker_state_machine import SecedeEvent

        duration = time.time() - start
        event = SecedeEvent(
            key=key, compute_duration=duration, stimulus_id=f"secede-{time.time()}"
        )
        worker.loop.add_callback(worker.handle_stimulus, event)


def _rejoin_here() -> None:
    from distributed.threadpoolexecutor import rejoin

    try:
        rejoin()
    except RuntimeError:
        # The pool takes no more work: the worker is closing, there is no place
        # to wait for, and the task must be able to end.
        pass


def has_slot() -> bool:
    """Tell whether the calling thread holds a slot of a worker."""
    from distributed.threadpoolexecutor import thread_state as of_pool
    from distributed.utils import thread_state as of_task  # type: ignore[attr-defined]

    waits: _Waits | None = getattr(_HERE, "waits", None)
    has_left = not getattr(of_pool, "proceed", True)
    is_task = getattr(of_task, "key", None) is not None
    is_actor = bool(getattr(of_task, "actor", False))  # it has but one thread
    return (
        is_task and not is_actor and not has_left and (waits is None or not waits.count)
    )


def act_by(ask: Callable[[Callable[[], Any]], Any] | None) -> None:
    """Have another thread leave and come back in the name of the calling one.

    Parameters
    ----------
    ask : callable or None
        ``ask(action)`` has the other thread call `action` and returns what that
        returns, or False if there is no such thread any more.
    """
    _HERE.ask = ask


def _secede() -> bool:
    ask = getattr(_HERE, "ask", None)
    return bool(_secede_here() if ask is None else ask(_secede_here))


def _rejoin() -> None:
    ask = getattr(_HERE, "ask", None)
    if ask is None:
        _rejoin_here()
    else:
        ask(_rejoin_here)


class SlotReleased:
    """A context in which the calling thread holds no slot of its worker.

    Contexts may overlap in any order on one thread (generators do): it leaves
    with the first and rejoins after the last. One that is closed on another
    thread, by the garbage collector for one, never rejoins in its name.
    """

    def __init__(self) -> None:
        self._waits: _Waits | None = None

    def __enter__(self) -> SlotReleased:
        waits: _Waits | None = getattr(_HERE, "waits", None)
        if waits is None:
            waits = _HERE.waits = _Waits()
        if waits.count == 0:
            waits.seceded = _secede()
        waits.count += 1
        self._waits = waits
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        waits, self._waits = self._waits, None
        if waits is None:
            return
        waits.count -= 1
        is_own_thread = getattr(_HERE, "waits", None) is waits
        if waits.count == 0 and waits.seceded and is_own_thread:
            waits.seceded = False
            _rejoin()
