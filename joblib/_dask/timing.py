"""A task that may take no longer than so many seconds, on a thread of its own.

Nothing can stop a function on a thread of a worker. So it runs beside the task's own
thread, which waits for it, and goes its way when the time is up: the worker's slot is
free then, and the function is left to itself. What concerns the slot itself, to leave
it and to come back, the waiting thread does in the function's name.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from .._engine.controls import RETRY_ON, TaskTimedOut
from .slots import act_by

_Request = tuple[Callable[[], Any], "SimpleQueue[Any]"]


class _Timed:
    """One run of a function, seen from both threads."""

    def __init__(self, func: Callable[[], Any]) -> None:
        self._func = func
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._outcome: Any = None
        self._lock = threading.Lock()
        self._given_up = False
        from distributed.utils import thread_state  # type: ignore[attr-defined]

        self._states = thread_state, dict(vars(thread_state))

    # ---------------------------------------------------- the function's thread
    def work(self) -> None:
        """Run the function."""
        state, values = self._states
        vars(state).update(values)  # dask tells by it which task this is
        act_by(self.ask)
        try:
            self._outcome = (self._func(), None)
        except BaseException as error:  # handed over
            self._outcome = (None, error)
        finally:
            act_by(None)
        self._requests.put(None)

    def ask(self, action: Callable[[], Any]) -> Any:
        """Have the waiting thread do something; False if it has gone."""
        reply: SimpleQueue[Any] = SimpleQueue()
        with self._lock:
            if self._given_up:
                return False
            self._requests.put((action, reply))
        return reply.get()

    # ----------------------------------------------------- the waiting thread
    def wait(self, limit: float) -> Any:
        """Return what the function returns, or raise what it raises."""
        deadline = monotonic() + limit
        while True:
            try:
                left = max(deadline - monotonic(), 0)
                request = self._requests.get(timeout=min(left, threading.TIMEOUT_MAX))
            except Empty:
                with self._lock:
                    self._given_up = True
                self._turn_down()
                raise TaskTimedOut from None
            if request is None:
                break
            action, reply = request
            reply.put(action())
        result, error = self._outcome
        self._outcome = None
        if error is not None:
            try:
                raise error
            finally:
                error = None  # it refers to this frame
        return result

    def _turn_down(self) -> None:
        while not self._requests.empty():
            request = self._requests.get()
            if request is not None:
                request[1].put(False)


def run_timed(func: Callable[[], Any], limit: float) -> Any:
    """Return ``func()``, unless it takes longer than `limit` seconds.

    Raises
    ------
    TaskTimedOut
        If it does.
    """
    timed = _Timed(func)
    context = contextvars.copy_context()
    threading.Thread(
        target=context.run, args=(timed.work,), name="joblib-timed", daemon=True
    ).start()
    return timed.wait(limit)


def options_for(controls: Any) -> dict[str, Any]:
    """Return the keywords for ``Client.map`` that a call's `Controls` ask for.

    dask tries a task again whatever it has raised; where that is not what is asked
    for, the engine does it.
    """
    options: dict[str, Any] = {}
    if controls is not None:
        if controls.retries and controls.retry_on == RETRY_ON:
            options["retries"] = controls.retries
        if controls.task_timeout is not None:
            options["time_limit"] = controls.task_timeout  # of `run_batch`
    return options
