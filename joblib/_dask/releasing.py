"""Futures that are done with, let go many at a time.

A client sends its scheduler one message per ten milliseconds. Told at once that
results are not needed any more, it would have the first batches of the next call, or
the next ones of the same, wait for the rest of that time. So results stay on the
cluster for a moment, if they are small, and word of them goes out once a moment.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .per_client import PerClient

#: seconds for which futures are kept at most
MOMENT = 0.25
#: bytes of results that are kept at most
KEPT = 1_000_000


class Releases(PerClient):
    """The futures of one client that are to be released soon.

    All but `of` runs on the client's event loop.
    """

    def __init__(self) -> None:
        self._futures: list[Any] = []
        self._nbytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, futures: list[Any], nbytes: int) -> None:
        """Release these in a moment; at once if their results have many bytes."""
        self._futures += futures
        self._nbytes += nbytes
        if self._nbytes > KEPT:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(MOMENT, self.flush)

    def flush(self) -> None:
        """Release all at once.

        Here, and not where the last reference goes: on the loop's own thread it takes
        no system call to tell the loop.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        futures, self._futures = self._futures, []
        self._nbytes = 0
        for future in futures:
            future.release()
