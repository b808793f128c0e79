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
#: seconds for which a call goes on, at least, on a cluster that has lost all workers:
#: those that died are replaced
DESERTED = 60.0


class NoWorkersLeft(TimeoutError):
    """The cluster has had no worker for too long."""


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
    patience : float
        For how many seconds there may be no worker at all, or `DESERTED` if that is
        more.
    """

    def __init__(
        self,
        client: Any,
        workers: Any,
        cores: int,
        changed: Callable[[], None],
        interval: float = INTERVAL,
        patience: float = 0.0,
    ) -> None:
        self._client = client
        self._workers = workers
        self._changed = changed
        self._interval = interval
        self._patience = max(patience, DESERTED)
        # Counts in a row that found nobody. Not seconds: a process that was stopped
        # itself has not been waiting meanwhile.
        self._deserted = 0
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

    def check(self) -> None:
        """See whether there is anybody left who could do the work.

        Raises
        ------
        NoWorkersLeft
            If there has been no worker for too long.
        """
        seconds = self._deserted * self._interval
        if seconds > self._patience:
            address = getattr(self._client.scheduler, "address", None)
            raise NoWorkersLeft(
                f"The cluster has had no worker for {seconds:g} seconds, and tasks of "
                f"this call wait for one. The scheduler at {address} is there: start "
                "workers, or a new cluster, and look into the logs of those that went "
                "(Ctrl-C in a terminal ends those of a LocalCluster, too). If they "
                "only take long to come, let it wait longer with "
                "parallel_config('dask', wait_for_workers_timeout=...)."
            )

    async def _count(self) -> None:
        try:
            threads = dict(await self._client.scheduler.ncores(workers=None))
        except Exception:  # whoever waits for results hears of it
            return
        note_workers(self._client, threads)
        self._deserted = 0 if threads else self._deserted + 1
        cores = cores_of(threads, self._workers)
        if cores and cores != self.cores:
            self.cores = cores
            self._changed()
