"""Tasks called off, whenever that is.

Many a release of dask takes tasks in apart from its other messages. Word that one is not
needed any more may come before there is that task, and then nothing comes of it: the task
runs, and stays for as long as its client. So the scheduler is first asked whether it has
the task.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from typing import Any

from .pulse import CLOSED

#: seconds between two questions: the first pause, and the longest
PAUSE, LONGEST_PAUSE = 0.01, 0.5
#: seconds after which a task that the scheduler has not heard of is given up
PATIENCE = 60.0
#: states of futures whose task the scheduler has surely taken in
TAKEN_IN = ("finished", "error", "lost")


def cancel(client: Any, futures: list[Any]) -> None:
    """Have dask call tasks off; does not wait for it. From any thread."""
    if not futures or client.status in CLOSED:
        return
    try:
        client.loop.add_callback(Recalls.of(client).add, futures)
    except RuntimeError:  # the loop is closed, and all tasks are gone with it
        pass


class Recalls:
    """The tasks of one client that are to be called off.

    All but `of` runs on the client's event loop.
    """

    _of: weakref.WeakKeyDictionary[Any, Recalls] = weakref.WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self, client: Any) -> None:
        self._client = weakref.ref(client)
        #: futures, kept until they are called off, and since when they are to be
        self._waiting: list[tuple[Any, float]] = []
        self._at_work: asyncio.Future[None] | None = None

    @classmethod
    def of(cls, client: Any) -> Recalls:
        """Return the one of a client. From any thread."""
        with cls._lock:
            found = cls._of.get(client)
            if found is None:
                found = cls._of[client] = cls(client)
            return found

    def add(self, futures: list[Any]) -> None:
        """Call these off as soon as the scheduler has them."""
        now = time.monotonic()
        self._waiting += [(future, now) for future in futures]
        if self._at_work is None:
            self._at_work = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        pause = PAUSE
        try:
            while self._waiting:
                client = self._client()
                if client is None or client.status in CLOSED:
                    break
                if await self._call_off(client):
                    pause = PAUSE
                if self._waiting:
                    del client
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._waiting = []
            self._at_work = None

    async def _call_off(self, client: Any) -> bool:
        """Call off what the scheduler has; return whether there was any."""
        waiting, self._waiting = self._waiting, []
        # those that somebody has let go of meanwhile are none of our business
        waiting = [one for one in waiting if one[0].key in client.futures]
        asked = [future.key for future, _ in waiting if future.status not in TAKEN_IN]
        states: dict[Any, Any] = {}
        if asked:
            try:
                states = await client.scheduler.get_task_status(keys=asked)
            except Exception:  # no scheduler; if it comes back, it knows of nothing
                states = dict.fromkeys(asked, "unknown")
        latest = time.monotonic() - PATIENCE
        known = []
        for future, since in waiting:
            is_known = future.status in TAKEN_IN or states.get(future.key) is not None
            if is_known or since < latest:
                known.append(future)
            else:
                self._waiting.append((future, since))
        if known:
            await client.cancel(known, asynchronous=True, force=True)
        return bool(known)
