"""How often a cluster lets a task be tried whose workers die."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .per_client import PerClient

#: how often a batch is sent, until the scheduler has said what it allows
SENDINGS = 5


class Allowance(PerClient):
    """What the scheduler of one client allows.

    dask counts the deaths of workers against the tasks on them. It does not for tasks whose
    data went with the last worker that had it, and so that is counted here, in the same way.
    """

    def __init__(self) -> None:
        #: how often a batch is sent at most
        self.sendings = SENDINGS

    def ask(self, client: Any) -> None:
        """Ask the scheduler; does not wait for it."""
        with suppress(RuntimeError):  # the loop is closed
            client.loop.add_callback(self._ask, client)

    async def _ask(self, client: Any) -> None:
        with suppress(Exception):  # no scheduler, or one that runs nothing for clients
            allowed = await client._run_on_scheduler(_allowed_failures)
            # the first time, once for each death allowed, and once more to be sure
            self.sendings = int(allowed) + 2


def _allowed_failures(dask_scheduler: Any) -> int:
    allowed: int = dask_scheduler.allowed_failures
    return allowed
