"""What of a call is kept for the task that makes it, and what goes to the cluster."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from .own_work import OwnWork
from .scouting import Scouts
from .shipment import Shipment
from .slots import has_slot

#: seconds for which a task that works waits for a batch, if there are some to come
PAUSE = 0.05


class OwnShare:
    """The share of a task in a call that it makes.

    It takes one batch after the other, until there is none for a moment; the cluster
    gets as many at a time as idle workers have been found.

    Parameters
    ----------
    work : OwnWork
        What runs the task's batches.
    scouts : Scouts
        What looks for idle workers.
    condition : threading.Condition
        Under which all here is read and changed, but `look` and what it runs.
    outbox : deque of Shipment
        What waits.
    away : set of Shipment
        What is under way, what the task is at included.
    limit : callable
        Returns how many batches the call may have under way at once; None if all that
        there are, as many as there are workers or will be.
    pick : callable
        Takes the next one from the outbox.
    """

    def __init__(
        self,
        work: OwnWork,
        scouts: Scouts,
        condition: threading.Condition,
        outbox: deque[Shipment],
        away: set[Shipment],
        limit: Callable[[], int | None],
        pick: Callable[[], Shipment],
    ) -> None:
        self.run = work.run
        self._scouts = scouts
        self._condition = condition
        self._outbox = outbox
        self._away = away
        self._limit = limit
        self._pick = pick
        #: all goes to the cluster from now on
        self.over = False
        #: the batch that the task is at
        self.at: Shipment | None = None
        #: how many it has run for which there was no callback yet
        self.brought = 0

    def take(self, call: Any, given_up: Callable[[], bool]) -> Shipment | None:
        """Take a batch from the outbox; None if the task is to work no more."""

        def has_ended() -> bool:
            return given_up() or not call.active

        def is_decided() -> bool:
            is_last = call.exhausted and not self.brought
            return bool(self._outbox) or is_last or has_ended()

        with self._condition:
            self._condition.wait_for(is_decided, PAUSE)
            if has_ended():
                return None  # and nobody else is to do what is left
            limit = self._limit()
            is_full = limit is not None and len(self._away) - self.brought >= limit
            if self._outbox and not is_full and has_slot():
                self.at = shipment = self._pick()
                self._away.add(shipment)
                return shipment
            self.over = True
            self._condition.notify_all()
            return None

    # ---------------------------------------------------- the courier's thread
    def is_all(self) -> bool:
        """Tell whether no more goes to the cluster now."""
        theirs = len(self._away) - self.brought - (self.at is not None)
        return not self.over and theirs >= self._scouts.found

    def _wanted(self) -> int:
        """How many workers more would be given something that waits."""
        if self.over:
            return 0
        limit, waiting = self._limit(), len(self._outbox)
        # Some always wait at the scheduler where there is no limit, though all workers
        # have been found: by them an adaptive cluster sees that it should grow.
        return (
            waiting if limit is None else min(limit - 1 - self._scouts.found, waiting)
        )

    def lacks(self) -> bool:
        """Tell whether it is time to look for workers."""
        wanted = self._wanted()
        return wanted > 0 and self._scouts.lack(wanted)

    def look(self) -> None:
        """Look for as many idle workers as there is work for."""
        with self._condition:
            wanted = self._wanted()
        self._scouts.keep(wanted)

    def close(self) -> None:
        """Look no further."""
        self._scouts.recall()
