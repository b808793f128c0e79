"""Lanes: worker processes that run one task at a time, each looked after by a thread.

::

    put -> queue -> a lane's thread -> its process: "begun", then the results
                        |    (dead, or at it for too long: another process)
                        '-> Delivery.settle

What happens to a process happens to the one task that it runs. That costs a thread and a
way there and back for each task; so it is used only where that is asked for.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from queue import Empty, SimpleQueue
from typing import Any

from .._engine.controls import TaskTimedOut
from .delivering import deliver
from .delivery import Delivery
from .guard import describe_exit, exit_code
from .orphans import Start

#: seconds between two looks at a worker of which nothing is heard
LOOK_INTERVAL = 1.0
#: seconds that a worker has to end when it is told to
PATIENCE = 1.0
#: what a worker says when its task begins, and is told to end with
BEGUN = END = b""

# A process that starts inherits what is open: also what another one is to have alone.
_hiring = threading.Lock()


# ----------------------------------------------------------------- in the worker
def serve_lane(line: Connection, start: Start) -> None:
    """Run tasks one after the other, until told to end."""
    # A terminal interrupts this process along with its parent, which will end it.
    # What it has started itself is interrupted as ever: a handler is not inherited.
    with suppress(ValueError):
        signal.signal(signal.SIGINT, _leave_it_to_the_parent)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    start()

    def begin() -> None:
        line.send_bytes(BEGUN)

    while True:
        try:
            message = line.recv_bytes()
        except (EOFError, OSError):  # the parent is gone
            return
        if message == END:
            return
        line.send_bytes(deliver(pickle.loads(message), begin))


def _leave_it_to_the_parent(number: int, frame: Any) -> None:
    pass


# ----------------------------------------------------------------- in the caller
class WorkerLost(Exception):
    """A worker ended before it had replied."""


class Worker:
    """A process, and the line to it.

    Parameters
    ----------
    make_process : callable
        ``make_process(target, args)`` returns a process that can be started.
    start : Start
        What it does first.
    """

    def __init__(
        self, make_process: Callable[[Any, tuple[Any, ...]], Any], start: Start
    ) -> None:
        mask = getattr(signal, "pthread_sigmask", None)
        with _hiring:
            ours, theirs = Pipe()
            # The mask is this thread's, and what it starts has the same one.
            before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else None
            try:
                self.process = make_process(serve_lane, (theirs, start))
                self.process.start()
            except BaseException:
                ours.close()
                raise
            finally:
                if mask:
                    mask(signal.SIG_SETMASK, before)
                theirs.close()
        self._line = ours

    def tell(self, message: bytes) -> None:
        """Send a message; raise `WorkerLost` if there is nobody to take it."""
        try:
            self._line.send_bytes(message)
        except OSError as error:
            raise WorkerLost from error

    def hear(self, limit: float | None = None) -> bytes:
        """Return what it says next.

        Raises
        ------
        TaskTimedOut
            If it says nothing for `limit` seconds.
        WorkerLost
            If it has ended.
        """
        from time import monotonic

        deadline = None if limit is None else monotonic() + limit
        while True:
            left = LOOK_INTERVAL if deadline is None else deadline - monotonic()
            if left <= 0:
                raise TaskTimedOut
            wait([self._line, self.process.sentinel], min(left, LOOK_INTERVAL))
            # Its children may have its end of the line open as well, and what tells
            # of its end: so it is looked at.
            dead = self.process.exitcode is not None
            try:
                if self._line.poll(0):
                    return self._line.recv_bytes()
            except (EOFError, OSError) as error:
                raise WorkerLost from error
            if dead:
                raise WorkerLost

    def kill(self) -> None:
        """Kill the process, whatever it does, with what it has started."""
        from loky.backend.utils import kill_process_tree

        if self.process.exitcode is None:
            with suppress(OSError, ValueError):
                kill_process_tree(self.process)

    def end(self) -> None:
        """Kill the process if it has not ended, and give back what belongs to it."""
        self.kill()
        self.process.join(PATIENCE)
        self._line.close()

    def dismiss(self) -> None:
        """Have the process end by itself, which has nothing to do."""
        with suppress(WorkerLost):
            self.tell(END)
        self.process.join(PATIENCE)
        self.end()


class Crew:
    """Lanes that share a queue.

    Parameters
    ----------
    size : int
        The number of lanes; each starts when there is a task for it.
    hire : callable
        Returns a new `Worker`.
    time_limit : float or None
        Seconds that a task may run.
    """

    def __init__(
        self, size: int, hire: Callable[[], Worker], time_limit: float | None
    ) -> None:
        self._size = size
        self._hire = hire
        self._time_limit = time_limit
        self._queue: SimpleQueue[Delivery | None] = SimpleQueue()
        # re-entrant: the collector may end the call on a thread that holds it
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._workers: set[Worker] = set()
        self._failure: BaseException | None = None
        self._owner = os.getpid()

    def put(self, delivery: Delivery) -> None:
        """Have a lane run a parcel; the delivery is settled, whatever happens."""
        with self._lock:
            failure = self._failure
            if failure is None:
                self._queue.put(delivery)
                if len(self._threads) < self._size:
                    thread = threading.Thread(
                        target=self._work, name="joblib-lane", daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()
        if failure is not None:
            delivery.settle(None, failure)

    # ------------------------------------------------------------- a lane's thread
    def _work(self) -> None:
        worker: Worker | None = None
        while True:
            delivery = self._queue.get()
            if delivery is None:
                break
            worker = self._serve(delivery, worker)
            del delivery
        if worker is not None:
            self._forget(worker)
            worker.dismiss()

    def _serve(self, delivery: Delivery, worker: Worker | None) -> Worker | None:
        """Run a parcel and settle it; return the worker, if it is of further use."""
        payload: bytes | None = None
        error: BaseException | None = None
        try:
            message = pickle.dumps(delivery.parcel, pickle.HIGHEST_PROTOCOL)
            if worker is not None:
                payload = self._ask(worker, message)
            if payload is None:
                worker = self._new_worker()
                with suppress(WorkerLost):  # noticed when it says nothing
                    worker.tell(message)
                payload = worker.hear()
            if payload == BEGUN:
                assert worker is not None
                payload = worker.hear(self._time_limit)
        except (TaskTimedOut, WorkerLost) as reason:
            assert worker is not None
            error = self._end_of(worker, delivery, reason)
            worker = None
        except Exception as reason:  # it can't be pickled, or no worker be started
            error = delivery.parcel.error or reason
        delivery.settle(payload, self._failure or error)
        return worker

    def _ask(self, worker: Worker, message: bytes) -> bytes | None:
        """Return what a worker says first that has had tasks before.

        None if it has died meanwhile: it is ended, and no task is to blame.
        """
        try:
            if worker.process.exitcode is None:
                worker.tell(message)
                return worker.hear()
        except WorkerLost:
            pass
        self._forget(worker)
        worker.end()
        return None

    def _new_worker(self) -> Worker:
        worker = self._hire()
        with self._lock:
            self._workers.add(worker)
        if self._failure is not None:  # nobody else will end it
            self._forget(worker)
            worker.end()
            raise self._failure
        return worker

    def _end_of(
        self, worker: Worker, delivery: Delivery, reason: BaseException
    ) -> BaseException:
        """End a worker; return the error of the task that it ran."""
        self._forget(worker)
        if isinstance(reason, TaskTimedOut):
            worker.end()
            return reason
        worker.process.join(PATIENCE)
        code = exit_code(worker.process)
        worker.end()
        from loky.process_executor import TerminatedWorkerError

        error: BaseException = TerminatedWorkerError(
            f"The worker process that ran a call of {delivery.parcel.name!r} (pid "
            f"{worker.process.pid}) was {describe_exit(code)}. No other task was lost. "
            "If the worker wrote to the standard error stream, the cause is told there."
        )
        return error

    def _forget(self, worker: Worker) -> None:
        with self._lock:
            self._workers.discard(worker)

    # ------------------------------------------------------------------- the end
    def close(self, kill: bool = True) -> None:
        """End all lanes: now, or when they are done with what they have. Idempotent."""
        if os.getpid() != self._owner:
            return  # forked: the processes are the parent's
        with self._lock:
            if self._failure is None:
                self._failure = RuntimeError(
                    "The worker processes were shut down before this task ended."
                )
            threads, workers = self._threads, list(self._workers) if kill else []
        lost = []
        with suppress(Empty):
            while True:
                lost.append(self._queue.get_nowait())
        for _ in threads:
            self._queue.put(None)
        for worker in workers:
            worker.kill()
        for delivery in lost:
            if delivery is not None:
                delivery.settle(None, self._failure)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(3 * PATIENCE)


def _renew_lock() -> None:
    # After a fork nobody is left in the child to let go of it.
    global _hiring
    _hiring = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
