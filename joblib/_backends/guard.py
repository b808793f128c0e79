"""Keeps the promises that a plain ``multiprocessing`` pool does not keep.

A plain pool replaces a worker that was killed, and never says what became of
the task it ran. It can also wait for ever in its own ``terminate``, for a lock
that the dead worker held. Here every submitted parcel has one outcome, also
when a worker dies or the pool is ended, and ending takes bounded time.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from multiprocessing.pool import TERMINATE
from typing import Any

from .delivering import deliver
from .delivery import Delivery, copy_of
from .transport import Parcel

#: seconds given to each step of ending a pool, before the next harder one
PATIENCE = 5.0


def describe_exit(code: int | None) -> str:
    """Return in words what an exit code of a worker means.

    >>> describe_exit(-9)
    'killed by SIGKILL, most often because the system ran out of memory'
    >>> describe_exit(3)
    'ended by itself with exit code 3'
    """
    if code is None or code >= 0:
        return f"ended by itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    causes = {
        "SIGKILL": ", most often because the system ran out of memory",
        "SIGSEGV": ", by a segmentation fault in compiled code",
    }
    return f"killed by {name}{causes.get(name, '')}"


def exit_code(worker: Any) -> int | None:
    """Return the exit code of a process that has ended."""
    # The pool's own thread waits for the same process; the one of the two that
    # comes second is told of no such child, until the first has noted the code.
    deadline = time.monotonic() + 1.0
    while worker.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.001)
    code: int | None = worker.exitcode
    return code


def end_pool(pool: Any) -> None:
    """End a pool's workers and threads, whatever state they are in.

    Unlike the pool's own ``terminate`` it needs no lock that a killed worker
    may have taken along, and each of its steps has a limit in time.
    """
    pool._state = TERMINATE
    # 1. no more replacements, no more tasks
    pool._worker_handler._state = TERMINATE
    pool._task_handler._state = TERMINATE
    pool._result_handler._state = TERMINATE
    pool._change_notifier.put(None)
    pool._worker_handler.join(PATIENCE)
    # 2. the workers: asked first, then made to
    workers = list(pool._pool)
    for worker in workers:
        with suppress(ValueError, OSError):  # closed, or gone
            worker.terminate()
    deadline = time.monotonic() + 1.0
    for worker in workers:
        worker.join(max(deadline - time.monotonic(), 0.01))
    for worker in workers:
        if worker.exitcode is None:
            with suppress(ValueError, OSError):
                worker.kill()
            worker.join(PATIENCE)
    # A worker that was ended while it wrote a result took the lock along, for
    # which the pool's thread of tasks would wait when it says that it ends.
    lock = pool._outqueue._wlock
    if lock is not None:  # on Windows there is none
        # Held for longer than a thread holds it, its owner is dead.
        lock.acquire(timeout=0.25)
        lock.release()
    # 3. the threads: nobody reads or writes at the other end any more, and
    #    closed pipes wake those that wait there
    with suppress(OSError):
        pool._inqueue._reader.close()
    pool._taskqueue.put(None)
    pool._task_handler.join(PATIENCE)
    with suppress(OSError):
        pool._outqueue._writer.close()
    pool._result_handler.join(PATIENCE)
    # 4. what the pool would do of this at exit is done
    pool._terminate.cancel()


class PoolGuard:
    """Stands between a backend and its pool.

    Parameters
    ----------
    pool : multiprocessing.pool.Pool
        The pool; the guard ends it.
    recycles : bool, default=False
        Whether workers end by themselves after some tasks and are replaced.
    """

    def __init__(self, pool: Any, recycles: bool = False) -> None:
        self._pool = pool
        self._recycles = recycles
        self._lock = threading.Lock()
        self._pending: set[Delivery] = set()
        self._failure: BaseException | None = None
        self._ended = False
        # written to when the guard is to look up from its wait
        self._wakeup_reader, self._wakeup_writer = Pipe(duplex=False)
        self._watch = threading.Thread(
            target=self._watch_workers,
            # listed now: the pool is new, and none of them has had a task yet
            args=(list(pool._pool),),
            name="joblib-pool-guard",
            daemon=True,
        )
        self._watch.start()

    # ------------------------------------------------------------ submitting
    def submit(self, parcel: Parcel, callback: Callable[[Any], Any] | None) -> Delivery:
        """Have a worker run `parcel`; `callback` gets the delivery, exactly once."""
        delivery = Delivery(parcel, callback)
        with self._lock:
            failure = self._failure
            if failure is None:
                self._pending.add(delivery)
        if failure is not None:
            delivery.settle(None, failure)
            return delivery

        def arrived(payload: bytes) -> None:
            self._settle(delivery, payload, None)

        def failed(error: BaseException) -> None:
            self._settle(delivery, None, parcel.error or error)

        try:
            self._pool.apply_async(
                deliver, (parcel,), callback=arrived, error_callback=failed
            )
        except ValueError as error:  # "Pool not running": ended meanwhile
            self._settle(delivery, None, self._failure or error)
        return delivery

    def _settle(
        self, delivery: Delivery, payload: bytes | None, error: BaseException | None
    ) -> None:
        # whoever takes the delivery out of the set is the one to settle it
        with self._lock:
            if delivery not in self._pending:
                return
            self._pending.remove(delivery)
        delivery.settle(payload, error)

    def _fail_all(self, error: BaseException) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
            lost, self._pending = self._pending, set()
        for delivery in lost:
            delivery.settle(None, copy_of(error))

    # -------------------------------------------------------------- watching
    def _watch_workers(self, workers: list[Any]) -> None:
        """Wait for a worker to die; then fail what is pending and end the pool."""
        while True:
            # Replacements come without notice: with them, look again regularly.
            timeout = 0.5 if self._recycles else None
            ready = wait([self._wakeup_reader, *(w.sentinel for w in workers)], timeout)
            if self._ended:
                return
            # Seen before the pool's list is read again: the pool takes the dead
            # off its list as fast as it can.
            for worker in workers:
                if worker.sentinel in ready and not self._is_recycled(worker):
                    self._worker_died(worker)
                    return
            workers = [w for w in list(self._pool._pool) if w.exitcode is None]

    def _is_recycled(self, worker: Any) -> bool:
        return self._recycles and exit_code(worker) == 0

    def _worker_died(self, worker: Any) -> None:
        from loky.process_executor import TerminatedWorkerError

        error = TerminatedWorkerError(
            f"A worker process of the multiprocessing backend (pid {worker.pid}) was "
            f"{describe_exit(exit_code(worker))}. The tasks that had not ended are lost. "
            "If the worker wrote to the standard error stream, the cause is told there."
        )
        self._fail_all(error)
        end_pool(self._pool)

    # ---------------------------------------------------------------- ending
    def end(self) -> None:
        """End the pool now; what is pending fails. Idempotent, bounded in time."""
        with self._lock:
            already, self._ended = self._ended, True
        if already:
            return
        self._wakeup_writer.send_bytes(b"x")
        self._fail_all(
            RuntimeError(
                "The pool of worker processes was shut down before this task ended."
            )
        )
        if self._watch is not threading.current_thread():
            self._watch.join(4 * PATIENCE)
        end_pool(self._pool)
        self._wakeup_reader.close()
        self._wakeup_writer.close()
