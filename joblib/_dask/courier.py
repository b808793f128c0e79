"""The thread that takes the batches of one call to the cluster and back.

::

    submit -> [outbox] -> Sender: pack, share -> Client.map -> (cluster) -> Collector
                 |    callback <-- [arrived] <------------------------------------'
                 `-> work, in the slot of the task that makes the call -^

The courier pickles and unpickles, so neither the caller nor the client's event
loop is kept waiting by it; and what has piled up meanwhile goes out as one message.
All callbacks of a call are made on its courier's thread, one after the other, also those
of batches that its caller runs itself while it waits, see `own_work`.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .carrying import Carrier
from .collecting import Arrival, Collector, Lost
from .counting import (
    CHILD_INTERVAL,
    INTERVAL,
    CoreCount,
    NoWorkersLeft,
    jobs_on,
    limit_on,
)
from .dividing import Divider
from .losses import explained, lost_values, report, sent_again
from .merging import Merger
from .orders import Orders
from .own_share import OwnShare
from .own_work import OwnWork, await_end, has_failed
from .parents import CANCELLED
from .pulse import CHILD_HEARTBEAT, CLOSED, HEARTBEAT, Pulse, SchedulerSilent
from .recalling import cancel
from .scouting import Scouts
from .sending import Sender
from .sharing import Sharing
from .shipment import Shipment
from .sizing import WorkerTimedBatches, learn_from

#: seconds for which the first batches of a call are waited for, to go out together
FILLING = 0.005


class Courier(threading.Thread):
    """Carries the batches of one call.

    Parameters
    ----------
    call : object
        The call, for the backend to know its courier by.
    client : distributed.Client
        The cluster's client.
    given : dict
        Futures of what its context has scattered, by ``id``.
    orders : Orders
        How its tasks are sent.
    n_jobs : int or None
        How many of the cluster's cores the call asks for.
    cores : int
        How many there are.
    in_process : bool
        Client and workers share a process.
    patience : float
        For how many seconds the cluster may be without workers, at least.
    sizes : WorkerTimedBatches, optional
        What learns how long batches take. Those of a call that allows it are divided.
    own_work : OwnWork, optional
        What the caller, a task, runs batches with while it waits, if it may.
    """

    def __init__(
        self,
        call: Any,
        client: Any,
        given: dict[int, Any],
        orders: Orders,
        n_jobs: int | None,
        cores: int,
        in_process: bool,
        patience: float,
        sizes: WorkerTimedBatches | None = None,
        own_work: OwnWork | None = None,
    ) -> None:
        super().__init__(name="joblib-dask-courier", daemon=True)
        self.call = call
        self._client = client
        self._sizes = sizes
        bound = sizes if getattr(call, "divisible", False) else None
        options = orders.options
        self._n_jobs = n_jobs
        self._limit = limit_on(cores, n_jobs)
        # It acts for the task that made it: dask has to see it on that worker.
        self._context = contextvars.copy_context()
        self._parent = orders.parent
        carrier = Carrier(client, orders)
        workers = options.get("workers")
        self._sharing = Sharing(client, given, in_process, workers, carrier)
        ways = client, self._sharing, orders, in_process
        self._sender = Sender(*ways, self._settle, bound)
        self._quiet = 0.0  # seconds for which nothing has come
        self._beat = HEARTBEAT if self._parent is None else CHILD_HEARTBEAT
        # With a limit, each completion is waited for: the next batch is held back.
        self._collector = Collector(client, self._deliver, self._limit is None)
        self._cores = CoreCount(
            client,
            options,
            cores,
            self._note_cores,
            INTERVAL if self._parent is None else CHILD_INTERVAL,
            patience,
        )
        self._pulse = Pulse(client)
        self._condition = threading.Condition()
        # all below under the condition
        self._outbox: deque[Shipment] = deque()
        self._away: set[Shipment] = set()
        self._arrived: list[Arrival] = []
        self._filling = True
        self._resized = False
        self._closing = False
        self._error: BaseException | None = None
        here = self._condition, self._outbox, self._away
        self._divider = Divider(client, bound, *here, self._jobs)
        self._merger = Merger(bound, *here, self._jobs)
        self._share: OwnShare | None = None
        if own_work is not None:
            scouts = Scouts(client, orders.priority, cores, self._notify)
            pick = self._merger.take
            self._share = OwnShare(own_work, scouts, *here, lambda: self._limit, pick)

    # ------------------------------------------------------------ any thread
    def submit(self, batch: Any, callback: Callable[[Any], Any]) -> None:
        """Take a batch; `callback` hears of it once, on the courier's thread."""
        with self._condition:
            if self._closing:
                raise RuntimeError(
                    "The dask backend was given a task after its call had ended."
                ) from self._error
            self._outbox.append(Shipment(batch, callback))
            if self._share is None or self._share.at is None:
                news = not self._filling or len(self._outbox) == 1
            else:
                news = self._has_work()  # the caller itself looks again anyway
            if news:
                self._condition.notify_all()

    def flush(self) -> None:
        """Wait for no more first batches."""
        with self._condition:
            if self._filling:
                self._filling = False
                self._condition.notify_all()

    def close(self) -> None:
        """Take no more batches; end once all callbacks are made."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()

    def abort(self, error: BaseException) -> None:
        """Call everything off: what waits, and what is on the cluster."""
        with self._condition:
            self._closing = True
            if self._error is None:
                self._error = error
            self._cancel(self._away)
            self._condition.notify_all()

    # ------------------------------------------------------ the caller's thread
    @property
    def works(self) -> bool:
        """Whether the caller may run batches."""
        share = self._share  # which goes with the courier
        return share is not None and not share.over

    def work(self, call: Any) -> None:
        """Run batches of `call`, if the caller may, until none is left for it to do."""
        share = self._share
        while share is not None:
            shipment = share.take(call, lambda: self._error is not None)
            if shipment is None:
                break
            out = share.run(shipment)
            with self._condition:
                share.at = None
                share.brought += 1
                self._deliver([(shipment, None, out)])
            if has_failed(out):
                await_end(call)
                break

    # -------------------------------------------------------- the event loop
    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _deliver(self, arrived: list[Arrival]) -> None:
        with self._condition:
            self._arrived += arrived
            self._condition.notify_all()

    def _note_cores(self) -> None:
        with self._condition:
            self._resized = True
            self._condition.notify_all()

    # ------------------------------------------- any thread, under the condition
    def _cancel(self, shipments: Iterable[Shipment]) -> None:
        """Have dask call off what is away; does not wait for it."""
        futures = [shipment.future for shipment in shipments if shipment.future]
        cancel(self._client, futures)

    def _jobs(self) -> int:
        return jobs_on(self._cores.cores, self._n_jobs)

    def _is_full(self) -> bool:
        if self._cores.nobody:  # nor anybody to send its data to
            return True
        if self._merger.holds():
            return True
        limit = self._jobs() if self._outbox[0].is_part else self._limit
        if limit is not None and len(self._away) >= limit:
            return True
        return self._share is not None and self._share.is_all()

    def _has_work(self) -> bool:
        news = self._arrived or self._resized or self._divider.cut
        if news or self._error is not None:
            return True
        if self._outbox:
            lacks = self._share is not None and self._share.lacks()
            return lacks or not self._is_full()
        return self._closing and not self._away

    def _pause(self) -> float | None:
        """Return after how many seconds to look around, though nothing has come."""
        if not (self._away or self._outbox or self.works):
            return None
        return min(self._beat, self._divider.pause, self._merger.pause)

    # ----------------------------------------------------------- the courier
    def run(self) -> None:
        self._context.run(self._serve)

    def _serve(self) -> None:
        try:
            if self._parent is not None:
                self._parent.speak_for_it()
            while self._turn():
                pass
        except BaseException as error:  # whoever waits has to hear of it
            self.abort(error)
            self._call_off()
        finally:
            self._sharing.clear()
            for one in (self._collector, self._cores, self._divider, self._merger):
                one.close()
            if self._share is not None:
                self._share.close()
            # no cycles: whoever keeps the call would keep its backend by them
            del self._collector, self._cores, self._divider, self._sender, self.call
            self._share = self._sizes = None

    def _turn(self) -> bool:
        with self._condition:
            pause = self._pause()
            timely = self._condition.wait_for(self._has_work, pause)
            self._quiet = 0.0 if timely else self._quiet + (pause or 0.0)
            if self._filling:
                self._condition.wait_for(lambda: not self._filling, FILLING)
                self._filling = False
        if self._parent is not None and self._parent.is_called_off():
            self.abort(RuntimeError(CANCELLED))
        if self._quiet >= self._beat or self._client.status in CLOSED:
            self._quiet = 0.0
            self._look_around()
        self._cores.look()
        if self._resized:
            self._resize()
        # If the call is given up, what has arrived goes the same way as the rest.
        arrived = self._take_in() if self._error is None else []
        while arrived:  # an error that is kept refers to this list, too
            self._call_back(*arrived.pop(0))
        if self._share is not None and self._share.brought:
            with self._condition:
                self._share.brought = sum(one[1] is None for one in self._arrived)
                self._condition.notify_all()
        if self._error is not None:
            self._call_off()
            return False
        if self._share is not None:
            self._share.look()
        self._divider.look(not timely)
        self._merger.look()
        self._send()
        with self._condition:
            return bool(
                self._outbox or self._away or self._arrived or not self._closing
            )

    def _resize(self) -> None:
        """Go by the cores that the cluster has now."""
        with self._condition:
            self._resized = False
            self._limit = limit_on(self._cores.cores, self._n_jobs)
        resize = getattr(self.call, "resize", None)
        if resize is not None:
            resize(self._jobs())

    def _look_around(self) -> None:
        """Look for what nobody will tell us of, when nothing has come for a while."""
        if self._client.status in CLOSED:
            self.abort(RuntimeError("The dask client was closed."))
            return
        try:
            self._pulse.beat()
            self._cores.check()
        except (SchedulerSilent, NoWorkersLeft) as error:
            self.abort(error)
            return
        with self._condition:
            # futures of what has arrived are released, and look lost
            away = self._away.difference(one[0] for one in self._arrived)
            if self._share is not None:
                away.discard(self._share.at)
        for shipment in away:
            if shipment.future.status != "finished" and lost_values(shipment):
                self._cancel([shipment])
                why = RuntimeError("Its shared data was lost.")
                self._settle(shipment, Lost(why, cancelled=True))

    def _take_in(self) -> list[tuple[Shipment, Any]]:
        """Return what has arrived and is done with."""
        # An error that a callback raises, and somebody keeps, refers to the frames
        # it went through. So none of them may hold a future, which would keep the
        # task and its data on the cluster: all are let go of before.
        with self._condition:
            arrived, self._arrived = self._arrived, []
            done = [
                (shipment, out)
                for shipment, future, out in arrived
                # what was sent again meanwhile is awaited anew
                if shipment.future is future and self._finish(shipment, out)
            ]
            learn_from(done, None if self._error else self._sizes)
            return done

    def _finish(self, shipment: Shipment, out: Any) -> bool:
        """Take a batch off the list, the condition held; False if it goes again."""
        if shipment not in self._away:
            return False
        self._away.discard(shipment)
        shipment.future = None
        if type(out) is Lost and self._error is None:
            if sent_again(shipment, out, self._client, self._sharing, self._cores):
                self._outbox.appendleft(shipment)
                return False
        shipment.values = []
        return True

    def _settle(self, shipment: Shipment, out: Any) -> None:
        with self._condition:
            if not self._finish(shipment, out):
                return
        self._call_back(shipment, out)

    def _call_back(self, shipment: Shipment, out: Any) -> None:
        if type(out) is Lost:
            out = explained(shipment.batch, out, self._client, self._error)
        try:
            if not self._divider.receive(shipment, shipment.named(out)):
                shipment.callback(out)
        except BaseException as error:
            report(error, self)
        finally:
            out = None

    def _send(self) -> None:
        while going := self._pick():
            try:
                for sent in self._sender.send(going):
                    with self._condition:
                        for shipment, future in sent:
                            shipment.future = future
                    self._collector.follow(sent)
                    if self._error is not None:
                        return
            except SchedulerSilent as error:
                self.abort(error)
                return

    def _pick(self) -> list[Shipment]:
        """Take what may go to the cluster now from the outbox."""
        going: list[Shipment] = []
        with self._condition:
            while self._outbox and not self._is_full() and not self._error:
                shipment = self._merger.take()
                self._away.add(shipment)
                shipment.sendings += 1
                going.append(shipment)
        return going

    def _call_off(self) -> None:
        """Tell all who still wait that there will be no result."""
        with self._condition:
            self._cancel(self._away)  # what was sent out while `abort` was running
            self._away.update(self._outbox)
            self._outbox.clear()
            rest, error = list(self._away), self._error
        self._sharing.clear()
        for shipment in rest:
            self._settle(shipment, Lost(error or RuntimeError("aborted"), True))
