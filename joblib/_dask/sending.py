"""Batches packed and sent to the cluster, in messages of bearable size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from .collecting import Lost
from .loading import pack
from .orders import Orders
from .packing import Packed
from .pulse import CLOSED, SchedulerSilent
from .remote import run_batch
from .sharing import Sharing
from .shipment import Shipment
from .sizing import WorkerTimedBatches

#: at most about this many bytes of batches go out in one message
MESSAGE = 4_000_000


class Sender:
    """Sends the batches of one call. Used by one thread.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    sharing : Sharing
        What knows the call's large arguments.
    orders : Orders
        How its tasks are sent.
    in_process : bool
        Client and workers share a process.
    failed : callable
        ``failed(shipment, lost)`` is told of what could not be sent.
    sizes : WorkerTimedBatches, optional
        What knows after how many seconds a worker leaves the rest of a batch; by
        default it stays with it to the end.
    """

    def __init__(
        self,
        client: Any,
        sharing: Sharing,
        orders: Orders,
        in_process: bool,
        failed: Callable[[Shipment, Lost], None],
        sizes: WorkerTimedBatches | None = None,
    ) -> None:
        self._client = client
        self._sharing = sharing
        self._orders = orders
        self._in_process = in_process
        self._failed = failed
        self._sizes = sizes

    def send(self, going: list[Shipment]) -> Iterator[list[tuple[Shipment, Any]]]:
        """Send shipments; yield the futures of each message.

        Raises
        ------
        SchedulerSilent
            If data that they share found no scheduler.
        """
        try:
            # What is sent for the second time, in a part, is not used by more for that.
            self._sharing.survey(
                [
                    shipment.batch.items
                    for shipment in going
                    if not shipment.is_part or shipment.sendings > 1
                ]
            )
        except SchedulerSilent:
            raise
        except Exception as error:
            for shipment in going:
                self._failed(shipment, Lost(error))
            return
        waiting = deque(going)
        while waiting:
            packed = self._pack(waiting)
            if not packed:
                return
            try:
                yield self._dispatch(packed)
            except Exception as error:
                closed = self._client.status in CLOSED
                for shipment, _ in packed:
                    self._failed(shipment, Lost(error, cancelled=closed))

    def _pack(self, waiting: deque[Shipment]) -> list[tuple[Shipment, Packed]]:
        """Pack as many as go into one message."""
        done: list[tuple[Shipment, Packed]] = []
        nbytes = 0
        while waiting and nbytes < MESSAGE:
            shipment = waiting.popleft()
            try:
                packed = pack(shipment, self._sharing, self._in_process)
            except SchedulerSilent:
                raise
            except Exception as error:
                self._failed(shipment, Lost(error))
                continue
            self._limit(shipment, packed)
            done.append((shipment, packed))
            nbytes += packed.nbytes
        return done

    def _dispatch(
        self, packed: list[tuple[Shipment, Packed]]
    ) -> list[tuple[Shipment, Any]]:
        shipments = [shipment for shipment, _ in packed]
        columns: list[list[Any]] = [[row for _, row in packed]]
        if any(shipment.values for shipment in shipments):
            columns.append([shipment.values for shipment in shipments])
        keys = [self._orders.keys.of_batch(shipment.batch) for shipment in shipments]
        options = {**self._orders.options, "key": keys}
        futures = self._client.map(run_batch, *columns, pure=False, **options)
        return list(zip(shipments, futures, strict=True))

    def _limit(self, shipment: Shipment, packed: Packed) -> None:
        """Set how long a worker stays with a batch."""
        if self._sizes is not None:
            patience = self._sizes.patience_with(len(shipment.batch.items))
            packed.patience = shipment.patience = patience
            shipment.due = monotonic() + (patience or 0.0)
