"""Results from the cluster, gathered in bulk on the client's event loop.

All but `Collector.follow` runs on the loop's thread, so that it needs no lock;
nothing here pickles, calls user code or blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .clients import known_workers, on_worker, shares_process
from .packing import Results
from .releasing import Releases
from .shipment import Shipment

#: a shipment, the future it was sent as, and what came of it: a value or a `Lost`
Arrival = tuple[Shipment, Any, Any]

#: seconds for which results wait for another one to be fetched with them: workers and
#: scheduler send a message per two milliseconds, with what is done by then
QUIET = 0.004
#: seconds for which a result waits for others at most
LINGER = 0.012
#: seconds after which a fetch is no longer waited for by the next one: it is large
OVERLAP = 0.02
#: seconds after which results are asked for anew, if a worker has been lost
PATIENCE = 1.0
#: what futures are whose worker has died with the result
RECOMPUTED = ("lost", "pending")
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
    linger : bool, default=True
        Whether a result may wait a moment for others to come along.
    """

    def __init__(
        self,
        client: Any,
        deliver: Callable[[list[Arrival]], None],
        linger: bool = True,
    ) -> None:
        self._client = client
        self._deliver = deliver
        self._releases = Releases.of(client)
        self._linger = LINGER if linger else 0.0
        #: when the first of those that are ready became so
        self._since = 0.0
        self._ready: list[tuple[Shipment, Any]] = []
        #: how many futures are not done yet
        self._pending = 0
        #: the fetch that the next one waits for, so that more results join that
        self._current: object | None = None
        self._timer: asyncio.TimerHandle | None = None
        # the loop itself keeps only weak references to its tasks
        self._running: set[asyncio.Future[Any]] = set()
        #: those of them that wait for a future to be done
        self._following: set[asyncio.Future[Any]] = set()
        self._closed = False
        #: addresses of all workers of which the call has heard
        self._workers = known_workers(client)

    def follow(self, sent: list[tuple[Shipment, Any]]) -> None:
        """Deliver these when they are done; may be called from any thread."""
        self._client.loop.add_callback(self._start, sent)

    def close(self) -> None:
        """Follow nothing any more; may be called from any thread.

        A future that was called off while its result was computed anew may never tell.
        """
        with suppress(RuntimeError):  # the loop is closed
            self._client.loop.add_callback(self._stop)

    def _stop(self) -> None:
        # No fetch is called off: the client may be asking for others' results with it.
        self._closed = True
        for task in list(self._following):
            task.cancel()

    def _start(self, sent: list[tuple[Shipment, Any]]) -> None:
        if self._closed:
            return
        self._pending += len(sent)
        for shipment, future in sent:
            task = self._spawn(self._follow(shipment, future))
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    def _spawn(self, work: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _follow(self, shipment: Shipment, future: Any) -> None:
        try:
            error = await future.exception(asynchronous=True)
            while error is None and future.status in RECOMPUTED:
                error = await future.exception(asynchronous=True)
        except Exception as reason:  # the client is going away
            error = reason
        self._pending -= 1
        if error is None and future.status == "finished":
            self._ready.append((shipment, future))
        else:
            self._deliver([(shipment, future, _lost(future, error))])
        self._consider()

    def _consider(self) -> None:
        """Fetch what is ready, now or as soon as it pays.

        A fetch costs several messages, however much it brings. While one is under
        way, what becomes ready is left to the next.
        """
        if not self._ready or self._current is not None or self._closed:
            return
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._since = loop.time()
        else:
            self._timer.cancel()
        # If nothing else is to come, after all that this turn of the loop finds done.
        latest = self._since + (self._linger if self._pending else 0.0)
        when = min(loop.time() + QUIET, latest)
        self._timer = loop.call_at(when, self._fetch_ready)

    def _fetch_ready(self) -> None:
        self._timer = None
        if not self._ready:
            return
        ready, self._ready = self._ready, []
        self._current = fetch = self._spawn(self._fetch(ready))
        fetch.add_done_callback(self._next)
        asyncio.get_running_loop().call_later(OVERLAP, self._next, fetch)

    def _next(self, fetch: object) -> None:
        if self._current is fetch:
            self._current = None
            self._consider()

    async def _fetch(self, done: list[tuple[Shipment, Any]]) -> None:
        futures = [future for _, future in done]
        try:
            values = await self._gather(futures)
        except Exception as error:
            if len(done) == 1:
                [(shipment, future)] = done
                if future.status in RECOMPUTED:
                    self._start(done)
                    return
                self._deliver([(shipment, future, _lost(future, error))])
                return
            # one of them was lost on the way: find out which
            for one in done:
                self._spawn(self._fetch([one]))
            return
        arrivals = zip(done, values, strict=True)
        self._deliver([(*one, value) for one, value in arrivals])
        self._releases.add(futures, sum(map(_size_of, values)))

    async def _gather(self, futures: list[Any]) -> list[Any]:
        """Return the values; ask for them again if a lost worker may be in the way.

        The scheduler now and then tries for half a minute (its timeout) to reach
        a worker that has just died, while the results have long been computed
        anew elsewhere.
        """
        asked: set[asyncio.Future[Any]] = set()
        for attempt in range(1, QUESTIONS + 1):
            question = self._spawn(ask_for(self._client, futures))
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
        self._workers |= now | known_workers(self._client)
        return self._workers != now


def _size_of(value: Any) -> int:
    """Return the bytes of a batch's outcome; 0 if it shares our memory."""
    return value[0].nbytes if isinstance(value[0], Results) else 0


def _held_here(client: Any, keys: list[Any]) -> list[Any] | None:
    """Return values that workers of this event loop have in memory; None if not all.

    The scheduler would ask each worker for its own, in messages that cost as much as
    a small task.
    """
    from distributed import Worker

    stores = [
        getattr(worker.data, "fast", worker.data)  # without what is spilled to disk
        for worker in list(Worker._instances)
        if worker.loop is client.loop and worker.address.startswith("inproc://")
    ]
    values = []
    for key in keys:
        store = next((store for store in stores if key in store), None)
        if store is None:
            return None
        values.append(store[key])
    return values


async def ask_for(client: Any, futures: list[Any]) -> list[Any]:
    """Return the values of finished futures.

    ``Client.gather`` first waits for each of them, by a task of its own.
    """
    if shares_process(client):
        try:
            here = _held_here(client, [future.key for future in futures])
        except Exception:  # such as a worker that has not started yet
            here = None
        if here is not None:
            return here
    if not client.direct_to_workers and not on_worker():
        keys = [future.key for future in futures]
        answer = await client.scheduler.gather(keys=keys)
        if answer["status"] == "OK":
            return [answer["data"][key] for key in keys]
    # the worker's own data, or one that was lost: it is waited for
    found: list[Any] = await client.gather(futures, asynchronous=True)
    return found


def _hear(answer: asyncio.Future[Any]) -> None:
    """Take note of an error, lest asyncio logs that nobody has."""
    if not answer.cancelled():
        answer.exception()


#: what dask gives as reasons for the end of tasks that it cannot run again, since
#: what was scattered for them died with its last holder
_DROPPED = {"lost dependencies", "already forgotten"}


def reasons_of(error: BaseException) -> set[Any]:
    """Return the words that dask gives for why it called a task off."""
    groups = getattr(error, "error_groups", [error])
    return {getattr(group, "reason", None) for group in groups}


def was_dropped(error: BaseException) -> bool:
    """Tell whether dask called a task off because its scattered data was lost."""
    return not reasons_of(error).isdisjoint(_DROPPED)


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
