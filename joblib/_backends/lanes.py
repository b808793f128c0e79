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
from multiprocessing.connection import Connection, Pipe
from queue import Empty, SimpleQueue
from typing import Any

from .._engine.controls import TaskTimedOut
from .delivering import deliver
from .delivery import Delivery
from .guard import describe_exit, exit_code
from .line import Line, WorkerLost
from .orphans import Start

#: seconds that a worker has to end when it is told to
PATIENCE = 1.0
#: what a worker says when its task begins, and is told to end with
BEGUN = END = b""
#: what it says first; results are pickles, and never this
READY = b"ready"
#: how often a worker may die before it has said so
MOST_STARTS = 2

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
    line.send_bytes(READY)

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
        self.line = Line(ours, self.process)

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
        self.line.close()

    def dismiss(self) -> None:
        """Have the process end by itself, which has nothing to do."""
        with suppress(WorkerLost):
            self.line.tell(END)
        self.process.join(PATIENCE)
        self.end()


class _NoWorker(Exception):
    """No worker could be had, which is no task's fault."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _never_ready(worker: Worker, code: int | None) -> BaseException:
    from loky.process_executor import TerminatedWorkerError

    error: BaseException = TerminatedWorkerError(
        f"A worker process (pid {worker.process.pid}) was {describe_exit(code)} before "
        "it was ready for a task: its `initializer` may have failed, or an import of the "
        "main module. The cause is told on the standard error stream."
    )
    return error


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
        self._n_hiring = 0  # lanes that are getting one
        self._failure: BaseException | None = None
        self._owner = os.getpid()

    def put(self, delivery: Delivery) -> None:
        """Have a lane run a parcel; the delivery is settled, whatever happens."""
        with self._lock:
            failure = self._failure
            if failure is None:
                self._queue.put(delivery)
                if len(self._threads) < self._size:
                    self._start_lane()
        if failure is not None:
            delivery.fail_call(failure)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more tasks."""
        return self._failure is not None

    def _start_lane(self) -> None:
        thread = threading.Thread(target=self._work, name="joblib-lane", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            if not self._threads:
                raise
            self._size = len(self._threads)
        else:
            self._threads.append(thread)

    # ------------------------------------------------------------- a lane's thread
    def _work(self) -> None:
        worker: Worker | None = None
        while True:
            delivery = self._queue.get()
            if delivery is None:
                break
            try:
                worker = self._serve(delivery, worker)
            except _NoWorker as failed:
                if self._leave_to_others(delivery):
                    return
                delivery.fail_call(self._failure or failed.error)
                worker = None
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
                    worker.line.tell(message)
                payload = worker.line.hear()
            if payload == BEGUN:
                assert worker is not None
                payload = worker.line.hear(self._time_limit)
        except (TaskTimedOut, WorkerLost) as reason:
            assert worker is not None
            error = self._end_of(worker, delivery, reason)
            worker = None
        except _NoWorker:
            raise
        except Exception as reason:  # it can't be pickled
            error = delivery.parcel.error or reason
        if self._failure is not None:
            delivery.fail_call(self._failure)
        else:
            delivery.settle(payload, error)
        return worker

    def _leave_to_others(self, delivery: Delivery) -> bool:
        """Have other lanes run a parcel, if there are any at work; this one ends."""
        with self._lock:
            if self._failure is not None or not (self._workers or self._n_hiring):
                return False
            self._threads.remove(threading.current_thread())
            self._size = len(self._threads)
            self._queue.put(delivery)
            return True

    def _ask(self, worker: Worker, message: bytes) -> bytes | None:
        """Return what a worker says first that has had tasks before.

        None if it has died meanwhile: it is ended, and no task is to blame.
        """
        try:
            if worker.process.exitcode is None:
                worker.line.tell(message)
                return worker.line.hear()
        except WorkerLost:
            pass
        self._forget(worker)
        worker.end()
        return None

    def _new_worker(self) -> Worker:
        """Return a worker that is ready.

        Raises
        ------
        _NoWorker
            If none can be had.
        """
        for attempt in range(1, MOST_STARTS + 1):
            with self._lock:
                self._n_hiring += 1
            hired = None
            try:
                hired = worker = self._hire()
            except Exception as error:
                raise _NoWorker(error) from error
            finally:
                with self._lock:
                    self._n_hiring -= 1
                    if hired is not None:
                        self._workers.add(hired)
            try:
                if self._failure is not None:  # nobody else will end it
                    raise _NoWorker(self._failure)
                if worker.line.hear() == READY:
                    return worker
                raise WorkerLost
            except (WorkerLost, _NoWorker) as reason:
                self._forget(worker)
                worker.process.join(0 if self._failure else PATIENCE)
                code = exit_code(worker.process)
                worker.end()
                if isinstance(reason, _NoWorker):
                    raise
                if self._failure is not None:
                    raise _NoWorker(self._failure) from None
                if attempt == MOST_STARTS:
                    raise _NoWorker(_never_ready(worker, code)) from None
        raise AssertionError  # the last attempt has raised

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
                delivery.fail_call(self._failure)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(3 * PATIENCE)


def _renew_lock() -> None:
    # After a fork nobody is left in the child to let go of it.
    global _hiring
    _hiring = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
