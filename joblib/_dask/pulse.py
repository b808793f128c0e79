"""Waiting for a scheduler that may have frozen: its silence is bounded.

A scheduler that has died is noticed by dask, for its connections break. One that
hangs, or is stopped, keeps them: whoever waits for it would do so for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import time
from typing import Any

#: states of a client that takes no more tasks
CLOSED = ("closed", "closing")

#: seconds between two looks at whether there is anybody left to work for
HEARTBEAT = 0.5
#: the same where the call is a task's: the task may have been cancelled, and what it
#: has started must soon go, level by level
CHILD_HEARTBEAT = 0.1


class SchedulerSilent(ConnectionError):
    """The scheduler is connected and does not answer."""


def longest_silence() -> float:
    """Return for how many seconds a scheduler may leave questions unanswered.

    It is dask's ``distributed.comm.timeouts.tcp``: after that much time without an
    answer it, too, takes a connection for dead.
    """
    import dask
    from dask.utils import parse_timedelta

    return float(parse_timedelta(dask.config.get("distributed.comm.timeouts.tcp")))


def silent(client: Any, seconds: float) -> SchedulerSilent:
    """Return the error that says that a scheduler is frozen."""
    address = getattr(client.scheduler, "address", None)
    return SchedulerSilent(
        f"The scheduler at {address} has not answered for {seconds:g} seconds: it "
        "hangs, is stopped, or cannot be reached any more. Look at its log, and "
        "restart it if need be. If it was only busy, let it take longer: "
        "dask.config.set({'distributed.comm.timeouts.tcp': '120s'})."
    )


class Pulse:
    """Asks the scheduler now and then whether it is there.

    Beats are counted, and not seconds: a process that was stopped itself, or whose
    event loop was blocked, has not been waiting meanwhile.

    Parameters
    ----------
    client : distributed.Client
        Whose scheduler it is.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._queued = False
        self._last = 0.0
        # on the client's event loop only
        self._question: asyncio.Future[Any] | None = None
        self._missed = 0

    def beat(self) -> None:
        """Ask, if it is time to; to be called while nothing is heard.

        From one thread that is not the event loop's; does not block.

        Raises
        ------
        SchedulerSilent
            If the last question was left unanswered for too long.
        """
        seconds = self._missed * HEARTBEAT
        if self._missed > 1 and seconds >= longest_silence():
            raise silent(self._client, seconds)
        now = time.monotonic()
        if now - self._last < HEARTBEAT:
            return
        self._last = now
        if self._queued:  # the loop is busy: that says nothing about the scheduler
            return
        self._queued = True
        try:
            self._client.loop.add_callback(self._ask)
        except RuntimeError:  # the loop is closed, as is the client
            pass

    def _ask(self) -> None:
        self._queued = False
        if self._question is not None:
            self._missed += 1
            return
        self._question = asyncio.ensure_future(self._client.scheduler.who_has(keys=[]))
        self._question.add_done_callback(self._hear)

    def _hear(self, answer: asyncio.Future[Any]) -> None:
        self._question = None
        if not answer.cancelled() and answer.exception() is None:
            self._missed = 0
        else:  # no answer either; dask tells us if it gives the scheduler up
            self._missed += 1


def answer_of(client: Any, question: Any) -> Any:
    """Return the answer to a question that may take long, as scattering does.

    Parameters
    ----------
    client : distributed.Client
        Who asks.
    question : coroutine
        What one of its methods has returned with ``asynchronous=True``. Anything
        else is taken for the answer itself.

    Raises
    ------
    SchedulerSilent
        If the scheduler answers nothing at all any more.
    RuntimeError
        If the client is closed meanwhile, or this is its event loop.
    """
    if not inspect.iscoroutine(question):
        return question
    if client.asynchronous:
        question.close()
        raise RuntimeError(
            "Parallel was called on the event loop of its dask client, which would "
            "wait for itself. Call it from another thread."
        )

    async def ask() -> Any:
        return await question

    loop = client.loop.asyncio_loop
    answer: concurrent.futures.Future[Any] = asyncio.run_coroutine_threadsafe(
        ask(), loop
    )
    pulse = Pulse(client)
    try:
        while True:
            done, _ = concurrent.futures.wait([answer], HEARTBEAT)
            if done:
                return answer.result()
            if client.status in CLOSED:
                raise RuntimeError("The dask client was closed.")
            pulse.beat()
    finally:
        answer.cancel()
        # no cycle: its error refers to this frame, and to those of whoever asks, with
        # all that they hold on the cluster
        del answer
