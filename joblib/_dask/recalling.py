"""Tasks called off, once and for all.

Many a release of dask takes tasks in apart from its other messages. Word that one is not
needed any more may come before there is that task, and then nothing comes of it: the task
runs, and stays for as long as its client. So it is looked, a few times, whether a task has
turned up after it was called off.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from typing import Any

from .pulse import CLOSED

#: seconds between calling off and the first look, from that to the next one, and so on
PAUSES = (0.05, 0.2, 0.35, 0.4, 4.0)
#: states of futures whose task the scheduler has surely taken in
TAKEN_IN = ("finished", "error", "lost")

#: what the event loops themselves refer to weakly
_at_work: set[asyncio.Future[None]] = set()


def release(client: Any, futures: list[Any]) -> None:
    """Let tasks go that nobody has waited for, and waits for; from any thread.

    It takes fewer messages than to have them called off, of which dask tells all clients.
    """
    if not futures or client.status in CLOSED:
        return
    for future in futures:
        future.release()
    with suppress(RuntimeError):  # the loop is closed, and all tasks are gone with it
        client.loop.add_callback(_plan, weakref.ref(client), futures, 0)


def cancel(client: Any, futures: list[Any]) -> None:
    """Have dask call tasks off; does not wait for it. From any thread."""
    if not futures or client.status in CLOSED:
        return
    with suppress(RuntimeError):  # the loop is closed, and all tasks are gone with it
        client.loop.add_callback(_begin, client, futures)


def _begin(client: Any, futures: list[Any]) -> None:
    unsure = [future for future in futures if future.status not in TAKEN_IN]
    _spawn(_call_off(client, futures))
    _plan(weakref.ref(client), unsure, 0)


def _plan(client: Any, futures: list[Any], turn: int) -> None:
    # Timers: a task that sleeps would be told of if the loop ends before.
    if futures and turn < len(PAUSES):
        loop = asyncio.get_running_loop()
        loop.call_later(PAUSES[turn], _look, client, futures, turn)


def _look(client: Any, futures: list[Any], turn: int) -> None:
    found = client()
    if found is not None and found.status not in CLOSED:
        _spawn(_call_off_late(found, futures))
        _plan(client, futures, turn + 1)


def _spawn(work: Any) -> None:
    at_work = asyncio.ensure_future(work)
    _at_work.add(at_work)
    at_work.add_done_callback(_at_work.discard)


async def _call_off(client: Any, futures: list[Any]) -> None:
    if client.status not in CLOSED:
        with suppress(Exception):  # it is being closed
            await client.cancel(futures, asynchronous=True, force=True)


async def _call_off_late(client: Any, futures: list[Any]) -> None:
    """Call off those of which the scheduler has a task."""
    try:
        states = await client.scheduler.get_task_status(
            keys=[future.key for future in futures]
        )
    except Exception:  # no scheduler; if it comes back, it knows of nothing
        return
    late = [future for future in futures if states.get(future.key) is not None]
    if late:
        await _call_off(client, late)
