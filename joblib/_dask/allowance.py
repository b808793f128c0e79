"""How often a cluster lets a task be tried whose workers die."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .per_client import PerClient

#: how often a batch may be lost, until the scheduler has said what it allows
LOSSES = 4


class Allowance(PerClient):
    """What the scheduler of one client allows.

    dask counts the deaths of workers against the tasks on them. It does not for tasks whose
    data went with the last worker that had it, and so that is counted here, in the same way.
    """

    def __init__(self) -> None:
        #: after how many losses a batch is still sent again
        self.losses: float = LOSSES
        self._asks = False

    def ask(self, client: Any) -> None:
        """Ask the scheduler, unless it is being asked; does not wait for it.

        Thousands of batches may be lost at once: a question each would take a connection.
        """
        if self._asks:
            return
        self._asks = True
        with suppress(RuntimeError):  # the loop is closed
            client.loop.add_callback(self._ask, client)

    async def _ask(self, client: Any) -> None:
        try:
            # there may be no scheduler, or one that runs nothing for clients
            with suppress(Exception):
                allowed = await client._run_on_scheduler(_allowed_failures)
                # once for each death allowed, and once more to be sure
                self.losses = allowed + 1
        finally:
            self._asks = False


def _allowed_failures(dask_scheduler: Any) -> float:
    allowed: float = dask_scheduler.allowed_failures
    return allowed
