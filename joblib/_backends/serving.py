"""The worker's half of the exchange: takes batches until there are none for a while."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .delivering import Arrived, deliver
from .messages import GO, Inbox, Outgoing

#: seconds between two looks at how much memory this worker has come to use
LOOK_INTERVAL = 1.0


class Ends(NamedTuple):
    """The worker's ends of the queues."""

    tasks: Any
    results: Any


class Station:
    """What a worker of the exchange calls first: keeps its ends of the queues.

    Parameters
    ----------
    ends : Ends
        Pickled when the worker is started, and then only.
    initializer : callable or None
        Called after that, with what it is given.
    """

    def __init__(self, ends: Ends, initializer: Callable[..., Any] | None) -> None:
        self.ends = ends
        self.initializer = initializer

    def __call__(self, *args: Any) -> None:
        global _worker
        for end in self.ends:
            # not for the programs that tasks start
            os.set_inheritable(end.fileno(), False)
        _worker = Worker(self.ends)
        if self.initializer is not None:
            self.initializer(*args)


def serve() -> None:
    """Run batches in this worker until told to go, or until none has come for long.

    A job of loky's. Between two of them loky looks after its worker: it measures how
    much memory it uses, has it end when that grows, or when it has been idle for too
    long.
    """
    if _worker is not None:
        _worker.serve()


class Worker:
    """Serves the exchange from this process.

    Parameters
    ----------
    ends : Ends
    """

    def __init__(self, ends: Ends) -> None:
        self._inbox = Inbox(ends.tasks)
        self._results = ends.results
        #: bytes in use after the first batch, which loky takes as the measure as well
        self._reference: int | None = None
        self._looked = 0.0

    def serve(self) -> None:
        while True:
            try:
                message = self._inbox.receive()
            except BlockingIOError:
                return
            if message is None or message.number == GO:
                return
            number = message.number
            arrived = Arrived.read(message.label, message.body)
            del message
            reply = Outgoing(number, b"", deliver(arrived))
            del arrived
            try:
                reply.send(self._results)
            finally:
                reply.discard()
            del reply
            if self._is_to_be_looked_at():
                return

    def _is_to_be_looked_at(self) -> bool:
        """Whether loky is to look at how much memory this worker uses."""
        now = time.monotonic()
        if self._reference is None:
            # The first batch is a job of its own: loky measures after that.
            self._reference = memory_in_use()
            self._looked = now
            return True
        if now - self._looked < LOOK_INTERVAL:
            return False
        self._looked = now
        if "psutil" not in sys.modules:  # loky can't measure, and collects instead
            gc.collect()
            return False
        from loky.process_executor import _MAX_MEMORY_LEAK_SIZE as most

        return bool(memory_in_use() - self._reference > most)


def memory_in_use() -> int:
    """Return how many bytes of memory this process has in use; 0 if not known."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


_worker: Worker | None = None
