"""The caller's half of the exchange: batches to whichever worker is free, results back.

::

    ship -> backlog -> [at most `window` on their way] -> a worker -> `_receive` -> settle

A batch is pickled when it leaves the backlog, so that only those about to be run take
up memory twice; on the thread that submitted it, or on the one that receives results.
A worker is here as long as one job of loky's runs in it, `serve`. Loky sees to the
processes: when one dies, all such jobs fail, and with them what is pending here.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import weakref
from collections import deque
from typing import Any

from .._engine.relief import on_waiting
from .delivery import Delivery, copy_of
from .messages import GO, Inbox, Outgoing, socket_pair
from .serving import Ends

#: batches on their way for each worker: one that it runs, others that wait in the
#: kernel, from where any worker takes them. Fewer of large ones, which take memory
WINDOW, WINDOW_OF_LARGE = 6, 2


class Exchange:
    """Queues of messages between this process and the workers of one pool.

    Parameters
    ----------
    n_workers : int
    linger : float
        Seconds after which a worker that gets nothing goes back to loky.
    """

    def __init__(self, n_workers: int, linger: float) -> None:
        self.n_workers = n_workers
        self._tasks, tasks = socket_pair()
        self._results, results = socket_pair()
        #: of the workers
        self.ends = Ends(tasks, results)
        for end in (self._tasks, self._results, *self.ends):
            end.settimeout(None)  # whatever the program's default is
        whole, part = divmod(linger, 1.0)
        limit = struct.pack("@ll", int(whole), int(part * 1e6))
        tasks.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        # Re-entrant: the collector may close this on a thread that holds it.
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._backlog: deque[Delivery] = deque()
        self._pending: dict[int, Delivery] = {}
        self._last_number = GO
        self._large = False
        self._failure: BaseException | None = None
        self._refusal: BaseException | None = None
        self._receives = False
        self._owner = os.getpid()

    @property
    def busy(self) -> bool:
        """Whether there is a batch whose outcome is not known."""
        return bool(self._pending or self._backlog)

    # -------------------------------------------------------------- outward
    def ship(self, delivery: Delivery) -> None:
        """Have a worker run a parcel; the delivery is settled, whatever happens."""
        with self._lock:
            failure = self._failure or self._refusal
            if failure is None:
                self._backlog.append(delivery)
                if not self._receives:
                    self._receives = True
                    _Shift(weakref.ref(self), self._results).start()
        if failure is not None:
            delivery.settle(None, copy_of(failure))
            return
        self.push()

    def _window(self) -> int:
        return self.n_workers * (WINDOW_OF_LARGE if self._large else WINDOW) + 1

    def push(self) -> None:
        """Send what there is room for. On any thread, no lock held."""
        while self._backlog:
            with self._lock:
                if not self._backlog or len(self._pending) >= self._window():
                    return
                delivery = self._backlog.popleft()
                number = self._last_number = self._last_number + 1
                # From here on the delivery is settled by whoever takes it out.
                self._pending[number] = delivery
            if not self._send(number, delivery):
                return

    def _send(self, number: int, delivery: Delivery) -> bool:
        """Send one parcel; False if there was no room for it."""
        message: Outgoing | None = None
        try:
            message = delivery.parcel.message(number)
            self._large = message.is_large
            message.send(self._tasks, socket.MSG_DONTWAIT)
            delivery.parcel.batch = None  # what it was made of may go
        except BlockingIOError:
            # There will be, once a worker has taken something.
            with self._lock:
                if self._pending.pop(number, None) is not None:
                    self._backlog.appendleft(delivery)
            return False
        except Exception as error:
            self._settle(number, None, delivery.parcel.error or error)
        finally:
            if message is not None:
                message.discard()
        return True

    def dismiss(self, n_workers: int) -> None:
        """Have that many workers go back to loky, once they have run what was sent."""
        message = Outgoing(GO, b"", b"")
        try:
            for _ in range(n_workers):
                message.send(self._tasks, socket.MSG_DONTWAIT)
        except OSError:  # no room, or closed: they go when nothing comes
            pass

    # --------------------------------------------------------------- inward
    def _settle(self, number: int, payload: Any, error: BaseException | None) -> None:
        delivery = self._take(number)
        if delivery is not None:
            delivery.settle(payload, error)

    def _take(self, number: int) -> Delivery | None:
        with self._lock:
            delivery = self._pending.pop(number, None)
            if not (self._pending or self._backlog):
                self._idle.notify_all()
        return delivery

    def arrived(self, number: int, payload: Any) -> None:
        """Take a worker's reply."""
        delivery = self._take(number)
        self.push()  # before the callback, which may take its time
        if delivery is not None:
            delivery.settle(payload, None)

    # --------------------------------------------------------------- the end
    def refuse(self, error: BaseException) -> None:
        """Take no more parcels: they end with an error. The others are seen to."""
        with self._lock:
            self._refusal = error

    def wait_until_idle(self) -> None:
        """Wait until all that was taken has its outcome."""
        with self._lock:
            while self.busy:
                self._idle.wait()

    def fail(self, error: BaseException) -> None:
        """Settle all that is pending with an error, and all that is still to come."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            lost = [*self._pending.values(), *self._backlog]
            self._pending.clear()
            self._backlog.clear()
            self._idle.notify_all()
        for delivery in lost:
            delivery.settle(None, copy_of(error))

    def close(self, error: BaseException) -> None:
        """Fail what is left, and give the sockets back. Idempotent."""
        if os.getpid() != self._owner:
            return  # forked: the sockets are the parent's, and so is what is pending
        self.fail(error)
        for end in (self._results, self._tasks):
            try:
                end.shutdown(socket.SHUT_RDWR)  # wakes who waits there
            except OSError:  # closed already
                pass
            end.close()
        for end in self.ends:
            end.close()


class _Shift:
    """One thread's time as the receiver."""

    def __init__(self, exchange: weakref.ref[Exchange], end: socket.socket) -> None:
        self._exchange = exchange
        self._end = end
        self._over = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="joblib-exchange", daemon=True).start()

    def _end_early(self) -> None:
        self._over = True
        _Shift(self._exchange, self._end).start()

    def _run(self) -> None:
        """Hand over what workers send, until the exchange is closed."""
        on_waiting(self._end_early)
        inbox = Inbox(self._end)
        while not self._over:
            try:
                message = inbox.receive()
            except OSError:  # closed
                return
            exchange = self._exchange()
            if message is None or exchange is None:
                return
            exchange.arrived(message.number, message.body)
            del message, exchange
