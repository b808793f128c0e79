"""Tasks that do nothing, sent to learn whether a worker has nothing to do.

dask runs them after all else that waits. So one that has run has found a worker that
is idle, and a cluster that is busy pays for no more than the few that wait.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

from .clients import do_nothing
from .recalling import release

#: scouts that are out before one has come back
FIRST = 1
#: Seconds after which those that wait are sent anew: dask leaves what it takes for short
#: on the worker that it was meant for, though others have become idle. Each time they
#: are given twice as long, up to the longest, or that of each core, if there are many:
#: as many tasks may make calls, and they share one scheduler.
PATIENCE, LONGEST_PATIENCE, PATIENCE_EACH = 0.1, 2.0, 0.02


class Scouts:
    """Looks for idle workers on behalf of one call.

    All but what follows a scout runs on one thread.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    priority : float
        The one that the tasks of the outermost call have; scouts come after all else.
    cores : int
        How many the cluster has.
    found : callable
        Told of an idle worker; called on the event loop, must not block.
    """

    def __init__(
        self, client: Any, priority: float, cores: int, found: Callable[[], None]
    ) -> None:
        self._client = client
        self._options = {
            "priority": min(priority, 0) - 1,
            "fifo_timeout": 0,
            "pure": False,
        }
        self._tell = found
        self._out: set[Any] = set()
        self._running: set[asyncio.Future[None]] = set()
        self._patience = PATIENCE
        self._longest = max(LONGEST_PATIENCE, PATIENCE_EACH * cores)
        self._sent = 0.0
        #: how many workers have been found
        self.found = 0

    def lack(self, wanted: int) -> bool:
        """Tell whether fewer are out than are needed to find `wanted` workers more."""
        return len(self._out) < self._limit(wanted) or self._is_late()

    def _limit(self, wanted: int) -> int:
        # Whoever finds somebody may find more, in twice as many places.
        return min(wanted, max(FIRST, 2 * self.found))

    def _is_late(self) -> bool:
        return bool(self._out) and time.monotonic() - self._sent > self._patience

    def keep(self, wanted: int) -> None:
        """Have as many out as it takes to find `wanted` workers more."""
        if wanted <= 0:
            self.recall()
        elif self._is_late():
            self.recall()
            self._patience = min(2 * self._patience, self._longest)
        for _ in range(self._limit(wanted) - len(self._out)):
            future = self._client.submit(
                do_nothing, key=f"joblib-scout-{uuid.uuid4()}", **self._options
            )
            self._sent = time.monotonic()
            self._out.add(future)
            self._client.loop.add_callback(self._follow, future)

    def recall(self) -> None:
        """Look no further; nothing of it stays on the cluster."""
        out = list(self._out)  # the event loop discards from it meanwhile
        self._out = set()
        release(self._client, out)

    # -------------------------------------------------------- the event loop
    def _follow(self, future: Any) -> None:
        following = asyncio.ensure_future(self._watch(future))
        self._running.add(following)
        following.add_done_callback(self._running.discard)

    async def _watch(self, future: Any) -> None:
        try:
            error = await future.exception(asynchronous=True)
        except Exception:  # recalled, or the client is going away
            return
        if error is None and future in self._out:
            self._out.discard(future)
            self.found += 1
            future.release()
            self._tell()
