"""How many tasks a call may run at once, on a cluster that grows and shrinks."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .clients import call_for_worker, cores_of, is_known_well, note_workers
from .restrictions import Restrictions

#: seconds between two counts
INTERVAL = 0.5
#: where tasks may not run on any worker, it is asked what each has at every so manieth
LOOK_CLOSER = 4
#: the same for the calls of tasks, of which there may be a thousand
CHILD_INTERVAL = 2.0
#: seconds for which a call goes on, at least, on a cluster that has lost all workers
#: that it may use: others may come in their place, as pods and preempted machines do
DESERTED = 300.0
#: seconds after which its user is told
TOLD = 10.0


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
    cores : int
        How many there were when the call began.
    changed : callable
        Told that there are other cores now; called on the event loop.
    options : dict
        Keywords for ``Client.map`` that the call's tasks have.
    interval : float
        Seconds between two counts.
    patience : float
        For how many seconds there may be no worker that the tasks may run on, or
        `DESERTED` if that is more.
    """

    def __init__(
        self,
        client: Any,
        options: dict[str, Any],
        cores: int,
        changed: Callable[[], None],
        interval: float = INTERVAL,
        patience: float = 0.0,
    ) -> None:
        self._client = client
        self._options = options
        self._changed = changed
        self._restrictions = Restrictions(options)
        self._turn = 0
        self._empty = False  # there is no worker at all
        self._unfit = False  # there are some, but none for the tasks
        self._interval = interval
        self._patience = max(patience, DESERTED)
        # Counts in a row that found nobody. Not seconds: a process that was stopped
        # itself has not been waiting meanwhile.
        self._deserted = 0
        self._told = False
        self._counting = False  # one at a time: a late answer counts as one
        self._closed = False
        self._probe: Any = None
        # at once, if the number is old or hearsay
        self._asked = time.monotonic() if is_known_well(client) else -math.inf
        #: as of the last count
        self.cores = cores

    def look(self) -> None:
        """Count anew, if it is time to. From any thread; does not block."""
        now = time.monotonic()
        if self._counting or now - self._asked < self._interval:
            return
        self._asked = now
        self._counting = True
        try:
            self._client.loop.add_callback(self._count)
        except RuntimeError:  # the loop is closed, as is the client
            pass

    def close(self) -> None:
        """Count no more, and leave nothing on the cluster."""
        self._closed = True
        self._probe = None

    def suspect(self) -> None:
        """Take it that there is no worker, until the next count."""
        self._empty = True
        self._deserted = max(self._deserted, 1)

    @property
    def nobody(self) -> bool:
        """Whether there is no worker at all, as far as is known."""
        return self._empty

    def check(self) -> None:
        """See whether there is anybody left who could do the work.

        Raises
        ------
        NoWorkersLeft
            If there has been no worker for too long.
        """
        seconds = self._deserted * self._interval
        address = getattr(self._client.scheduler, "address", None)
        if seconds > self._patience:
            raise NoWorkersLeft(
                f"The cluster has had no worker{self._restrictions} for {seconds:g} "
                "seconds, and tasks of this call wait for one. The scheduler at "
                f"{address} is there: start "
                "workers, or a new cluster, and look into the logs of those that went "
                "(Ctrl-C in a terminal ends those of a LocalCluster, too). If they "
                "only take long to come, let it wait longer with "
                "parallel_config('dask', wait_for_workers_timeout=...)."
            )
        if seconds >= TOLD and not self._told:
            self._told = True
            logging.getLogger("joblib").warning(
                "The dask cluster of a call has no worker%s any more. The call waits "
                "for one to join the scheduler at %s, at most for %g seconds.",
                self._restrictions,
                address,
                self._patience,
            )

    async def _count(self) -> None:
        try:
            threads = dict(await self._client.scheduler.ncores(workers=None))
            note_workers(self._client, threads)
            await self._look_closer(threads)
        except Exception:  # whoever waits for results hears of it
            return
        finally:
            self._counting = False
        self._empty = not threads
        self._note_desertion(self._empty or self._unfit)
        cores = cores_of(threads, self._options.get("workers"))
        if cores and cores != self.cores:
            self.cores = cores
            self._changed()

    async def _look_closer(self, threads: dict[str, int]) -> None:
        """See now and then whether one of the workers may run the tasks."""
        if not self._restrictions or not threads:
            return
        if self._restrictions.names_one_of(threads):
            self._unfit = False
            return
        if self._probe is not None and self._probe.status == "finished":
            # There is one, whatever it looks like to us.
            self._restrictions = Restrictions({})
            self._unfit = False
            return
        self._turn += 1
        if self._turn % LOOK_CLOSER == 1 or LOOK_CLOSER == 1:
            # Where it is not told, the count of workers has to do.
            with suppress(Exception):
                about = await self._client.scheduler.identity()
                self._unfit = not self._restrictions.admit(about["workers"])

    def _note_desertion(self, nobody: bool) -> None:
        self._deserted = self._deserted + 1 if nobody else 0
        if not nobody:
            self._told = False
            self._probe = None
        elif self._probe is None and not self._closed:
            # An adaptive cluster starts workers when there is work, and the call may
            # hold all of its own back.
            self._probe = call_for_worker(self._client, self._options)
