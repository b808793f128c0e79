"""How many tasks a call may run at once, on a cluster that grows and shrinks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from .clients import cores_of, is_known_well, note_workers

#: seconds between two counts
INTERVAL = 0.5
#: the same for the calls of tasks, of which there may be a thousand
CHILD_INTERVAL = 2.0


def jobs_on(cores: int, n_jobs: int | None) -> int:
    """Return how many of `cores` are asked for by `n_jobs`.

    >>> [jobs_on(12, n_jobs) for n_jobs in (-1, None, -2, 4, 100)]
    [12, 12, 11, 4, 12]
    >>> jobs_on(0, -1)
    0
    """
    if cores == 0 or n_jobs is None or n_jobs == -1:
        return cores
    return max(1, cores + 1 + n_jobs) if n_jobs < 0 else min(n_jobs, cores)


def limit_on(cores: int, n_jobs: int | None) -> int | None:
    """Return how many batches may be on the cluster at once; None if all that come.

    Where all cores may be used nothing is held back: batches that queue on the
    workers keep them busy, and workers that join later get some too.

    >>> [limit_on(12, n_jobs) for n_jobs in (-1, None, -2, 4, 100)]
    [None, None, 11, 4, None]
    """
    jobs = jobs_on(cores, n_jobs)
    return jobs if jobs < cores else None


class CoreCount:
    """Counts the cluster's cores now and then, without waiting for the answer.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    workers : list of str or None
        Count these workers alone.
    cores : int
        How many there were when the call began.
    changed : callable
        Told that there are other cores now; called on the event loop.
    interval : float
        Seconds between two counts.
    """

    def __init__(
        self,
        client: Any,
        workers: Any,
        cores: int,
        changed: Callable[[], None],
        interval: float = INTERVAL,
    ) -> None:
        self._client = client
        self._workers = workers
        self._changed = changed
        self._interval = interval
        # at once, if the number is old or hearsay
        self._asked = time.monotonic() if is_known_well(client) else -math.inf
        #: as of the last count
        self.cores = cores

    def look(self) -> None:
        """Count anew, if it is time to. From any thread; does not block."""
        now = time.monotonic()
        if now - self._asked < self._interval:
            return
        self._asked = now
        try:
            self._client.loop.add_callback(self._count)
        except RuntimeError:  # the loop is closed, as is the client
            pass

    async def _count(self) -> None:
        try:
            threads = dict(await self._client.scheduler.ncores(workers=None))
        except Exception:  # whoever waits for results hears of it
            return
        note_workers(self._client, threads)
        cores = cores_of(threads, self._workers)
        if cores and cores != self.cores:
            self.cores = cores
            self._changed()
