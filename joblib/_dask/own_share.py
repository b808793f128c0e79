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
    jobs : callable
        Returns how many batches the call may have under way at once.
    """

    def __init__(
        self,
        work: OwnWork,
        scouts: Scouts,
        condition: threading.Condition,
        outbox: deque[Shipment],
        away: set[Shipment],
        jobs: Callable[[], int],
    ) -> None:
        self.run = work.run
        self._scouts = scouts
        self._condition = condition
        self._outbox = outbox
        self._away = away
        self._jobs = jobs
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
            has_room = len(self._away) - self.brought < self._jobs()
            if self._outbox and has_room and has_slot():
                self.at = shipment = self._outbox.popleft()
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
        others = self._jobs() - 1 - self._scouts.found
        return 0 if self.over else max(min(others, len(self._outbox)), 0)

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
