"""The worker's half of the exchange: takes batches until there are none for a while."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
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
        #: what tasks will want that are given arrays
        self.modules = [name for name in ("numpy",) if name in sys.modules]

    def __call__(self, *args: Any) -> None:
        global _worker
        for end in self.ends:
            # not for the programs that tasks start
            os.set_inheritable(end.fileno(), False)
        _worker = Worker(self.ends, self.modules)
        _worker.heed_interrupts()
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
    modules : list of str
        What to import once there is time for it.
    """

    def __init__(self, ends: Ends, modules: list[str]) -> None:
        self._inbox = Inbox(ends.tasks)
        self._results = ends.results
        self._modules = modules
        #: bytes in use after the first job, which loky takes as the measure as well
        self._reference: int | None = None
        self._looked = time.monotonic()
        self._at_work = False

    def heed_interrupts(self) -> None:
        """From now on, let Ctrl-C interrupt tasks, and not the wait for one.

        A terminal sends it to this worker along with its parent, which may be about
        something else. Were the wait interrupted, the parent's next call would be told
        of it, or a message be lost.
        """
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with suppress(ValueError):  # not the main thread: then nothing gets there
                signal.signal(signal.SIGINT, self._interrupt)
        # Held back while this process started.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _interrupt(self, number: int, frame: Any) -> None:
        if self._at_work:
            raise KeyboardInterrupt

    def serve(self) -> None:
        if self._reference is None:
            self._serve_first()
            return
        while self._run_one() and not self._is_to_be_looked_at():
            pass

    def _serve_first(self) -> None:
        """Run what is there when this worker is new: a short job, after which loky
        takes the measure of its memory."""
        if not self._run_one():
            return
        while self._run_one(wait=False) and not self._is_time():
            pass
        for name in self._modules:
            with suppress(Exception):  # told when a task imports it
                importlib.import_module(name)
        self._reference = memory_in_use()

    def _run_one(self, wait: bool = True) -> bool:
        """Run the next batch; False if there is none, or this worker is to go."""
        try:
            message = self._inbox.receive(wait)
        except BlockingIOError:
            return False
        if message is None or message.number == GO:
            return False
        arrived = Arrived.read(message.label, message.body)
        number = message.number
        del message  # and with it its memory, as soon as the batch is opened
        self._at_work = True
        try:
            results = deliver(arrived)
        finally:
            self._at_work = False
        reply = Outgoing(number, b"", results)
        try:
            reply.send(self._results)
        finally:
            reply.discard()
        return True

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_INTERVAL:
            return False
        self._looked = now
        return True

    def _is_to_be_looked_at(self) -> bool:
        """Whether loky is to look at how much memory this worker uses."""
        if not self._is_time():
            return False
        if "psutil" not in sys.modules:  # loky can't measure, and collects instead
            gc.collect()
            return False
        from loky.process_executor import _MAX_MEMORY_LEAK_SIZE as most

        assert self._reference is not None
        return memory_in_use() - self._reference > int(most)


def memory_in_use() -> int:
    """Return how many bytes of memory this process has in use; 0 if not known."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


_worker: Worker | None = None
