"""Results from the cluster, gathered in bulk on the client's event loop.

All but `Collector.follow` runs on the loop's thread, so that it needs no lock;
nothing here pickles, calls user code or blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .clients import known_workers

if TYPE_CHECKING:
    from .courier import Shipment

#: a shipment, the future it was sent as, and what came of it: a value or a `Lost`
Arrival = tuple["Shipment", Any, Any]

#: seconds after which results are asked for anew, if a worker has been lost
PATIENCE = 1.0
#: how often results are asked for at most, each time with twice the patience
QUESTIONS = 4


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
        self._running: set[asyncio.Future[Any]] = set()
        #: addresses of all workers of which the call has heard
        self._workers = known_workers(client)

    def follow(self, sent: list[tuple[Shipment, Any]]) -> None:
        """Deliver these when they are done; may be called from any thread."""
        self._client.loop.add_callback(self._start, sent)

    def _start(self, sent: list[tuple[Shipment, Any]]) -> None:
        for shipment, future in sent:
            self._spawn(self._follow(shipment, future))

    def _spawn(self, work: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

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
            values = await self._gather(futures)
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

    async def _gather(self, futures: list[Any]) -> list[Any]:
        """Return the values; ask for them again if a lost worker may be in the way.

        The scheduler now and then tries for half a minute (its timeout) to reach
        a worker that has just died, while the results have long been computed
        anew elsewhere.
        """
        asked: set[asyncio.Future[Any]] = set()
        for attempt in range(1, QUESTIONS + 1):
            question = self._spawn(self._client.gather(futures, asynchronous=True))
            question.add_done_callback(_hear)
            asked.add(question)
            patience = None if attempt == QUESTIONS else PATIENCE * 2**attempt / 2
            answer = await self._first(asked, patience)
            if answer is None:
                continue
            asked.discard(answer)
            # The client joins questions of the same moment, so ours is called off
            # with that of somebody else who presses Ctrl-C.
            if not answer.cancelled():
                values: list[Any] = answer.result()
                if asked:  # these keep the futures, and so the data, for a while
                    for future in futures:
                        future.release()
                return values
        raise ConnectionError("Gathering the results was called off again and again.")

    async def _first(
        self, asked: set[asyncio.Future[Any]], patience: float | None
    ) -> asyncio.Future[Any] | None:
        """Return the first answer; None if it is time to ask again."""
        while True:
            done, _ = await asyncio.wait(
                asked, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                answer: asyncio.Future[Any] = done.pop()
                return answer
            if await self._has_lost_workers():
                return None

    async def _has_lost_workers(self) -> bool:
        try:
            now = set(await self._client.nthreads())
        except Exception:  # no scheduler: the question itself will fail
            return False
        self._workers |= now
        return self._workers != now


def _hear(answer: asyncio.Future[Any]) -> None:
    """Take note of an error, lest asyncio logs that nobody has."""
    if not answer.cancelled():
        answer.exception()


def _lost(future: Any, error: BaseException | None) -> Lost:
    cancelled = future.status != "error"
    if error is not None:
        # its frames refer to futures, and whoever keeps it would keep their data
        error = error.with_traceback(None)
    if error is None:
        # dask keeps why a task was cancelled with the state of its future
        error = getattr(getattr(future, "_state", None), "exception", None)
    if error is None:
        error = RuntimeError(f"The future's status is {future.status!r}.")
    return Lost(error, cancelled)
