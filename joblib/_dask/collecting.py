"""Results from the cluster, gathered in bulk on the client's event loop.

All but `Collector.follow` runs on the loop's thread, so that it needs no lock;
nothing here pickles, calls user code or blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .courier import Shipment

#: a shipment, the future it was sent as, and what came of it: a value or a `Lost`
Arrival = tuple["Shipment", Any, Any]


class Lost:
    """A task that ended without a result, and why.

    Parameters
    ----------
    error : BaseException
        What dask says.
    cancelled : bool
        The task was called off, by whomever; otherwise it has failed.
    """

    __slots__ = ("cancelled", "error")

    def __init__(self, error: BaseException, cancelled: bool = False) -> None:
        self.error = error
        self.cancelled = cancelled


class Collector:
    """Follows the futures of one call and delivers their values.

    Parameters
    ----------
    client : distributed.Client
        Whose futures they are.
    deliver : callable
        Takes what has arrived; called on the loop, must not block.
    """

    def __init__(self, client: Any, deliver: Callable[[list[Arrival]], None]) -> None:
        self._client = client
        self._deliver = deliver
        self._ready: list[tuple[Shipment, Any]] = []
        # the loop itself keeps only weak references to its tasks
        self._running: set[asyncio.Task[None]] = set()

    def follow(self, sent: list[tuple[Shipment, Any]]) -> None:
        """Deliver these when they are done; may be called from any thread."""
        self._client.loop.add_callback(self._start, sent)

    def _start(self, sent: list[tuple[Shipment, Any]]) -> None:
        for shipment, future in sent:
            self._spawn(self._follow(shipment, future))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _follow(self, shipment: Shipment, future: Any) -> None:
        try:
            error = await future.exception(asynchronous=True)
        except Exception as reason:  # the client is going away
            error = reason
        if error is None and future.status == "finished":
            self._ready.append((shipment, future))
            if len(self._ready) == 1:
                # after all that this turn of the loop finds done
                asyncio.get_running_loop().call_soon(self._fetch_ready)
            return
        self._deliver([(shipment, future, _lost(future, error))])

    def _fetch_ready(self) -> None:
        ready, self._ready = self._ready, []
        self._spawn(self._fetch(ready))

    async def _fetch(self, done: list[tuple[Shipment, Any]]) -> None:
        futures = [future for _, future in done]
        try:
            values = await self._client.gather(futures, asynchronous=True)
        except Exception as error:
            if len(done) == 1:
                [(shipment, future)] = done
                self._deliver([(shipment, future, _lost(future, error))])
                return
            # one of them was lost on the way: find out which
            for one in done:
                self._spawn(self._fetch([one]))
            return
        arrivals = zip(done, values, strict=True)
        self._deliver([(*one, value) for one, value in arrivals])


def _lost(future: Any, error: BaseException | None) -> Lost:
    cancelled = future.status != "error"
    if error is None:
        # dask keeps why a task was cancelled with the state of its future
        error = getattr(getattr(future, "_state", None), "exception", None)
    if error is None:
        error = RuntimeError(f"The future's status is {future.status!r}.")
    return Lost(error, cancelled)
