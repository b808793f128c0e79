"""Batches that take too long, divided among workers that have nothing to do.

Their tasks are slower than those before them, by which it was decided how many go into
one. Between two tasks a worker sees that itself, and leaves the rest (`stints`). One
that is at a slow task is told to, as soon as others have nothing to do.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from .._captured import CapturedError
from .collecting import Lost
from .packing import Results, load_results
from .shipment import Shipment
from .sizing import WorkerTimedBatches
from .stints import cut_stints

#: seconds between two looks for batches that take too long, at least
INTERVAL = 0.1
#: and at most, if nothing could be done about those that were found
LONGEST_INTERVAL = 2.0
#: seconds in which workers answer, or are asked again
SILENCE = 2.0

_MISSING: Any = object()


def results_of(out: Any) -> list[Any] | Lost | tuple[Any, ...]:
    """Return the results in what came of a batch, or else what its call is to be told.

    What that fails with is not raised here: whoever keeps an error keeps the frames it
    went through, and with them the futures of others.
    """
    if type(out) is Lost:
        return out
    results, seconds, *_ = out
    if isinstance(results, Results):
        try:
            results = load_results(results)
        except Exception as error:  # once: the next time might bring something else
            return Lost(error)
    if isinstance(results, CapturedError):
        return results, seconds
    return list(results)


#: batches for each worker that the rest of one is divided into, at least and at most, if
#: it has as many tasks: of equal ones some are always slower
FEW, MANY = 2, 8


def portion(n_tasks: int, workers: int, seconds: float, shortest: float) -> int:
    """Return how many of the tasks that a worker has left go into one batch.

    Parameters
    ----------
    n_tasks : int
        How many there are.
    workers : int
        How many workers there are for them.
    seconds : float
        How long one of those before them took. It may have been the only slow one: what
        is sent out as too much can be divided again, and what is sent one by one cannot
        be put together any more.
    shortest : float
        Seconds that batches should take.

    Examples
    --------
    >>> [portion(100, 4, seconds, shortest=0.2) for seconds in (0.001, 0.02, 2)]
    [13, 10, 4]
    >>> portion(12, 4, 2, shortest=0.2)
    1
    """
    most = math.ceil(n_tasks / (FEW * max(workers, 1)))
    least = math.ceil(n_tasks / (MANY * max(workers, 1)))
    size = int(shortest / seconds) if seconds > 0 else most
    return max(1, least, min(size, most))


class Division:
    """A batch of which several workers do a part.

    Parameters
    ----------
    shipment : Shipment
        The batch as it was sent. Its call hears of it once all parts have come, or one
        has failed.
    sizes : WorkerTimedBatches, optional
        What learns how long the whole took: its size was the wrong one.
    """

    def __init__(
        self, shipment: Shipment, sizes: WorkerTimedBatches | None = None
    ) -> None:
        self._shipment = shipment
        self._sizes = sizes
        self._results = [_MISSING] * len(shipment.batch.items)
        self._n_missing = len(self._results)
        self._seconds = 0.0
        #: the number of the first task that others were given
        self.end = len(self._results)

    @property
    def over(self) -> bool:
        """Whether its call has heard of it."""
        return not self._n_missing

    def part(self, start: int, stop: int) -> Shipment:
        """Return a part of it, to be sent to a worker."""
        batch = self._shipment.batch
        items = batch.items[start:stop]
        return Shipment(batch.with_items(items), partial(self.take, start), True)

    def take(self, start: int, out: Any) -> None:
        """Take what came of the tasks from the one of number `start` on."""
        if not self._n_missing:
            return
        results = results_of(out)
        if not isinstance(results, list):
            self._end(results)
            return
        self._seconds += out[1]
        for number, result in enumerate(results, start):
            # a worker that is killed may have done some that others do again
            if self._results[number] is _MISSING:
                self._results[number] = result
                self._n_missing -= 1
        if not self._n_missing:
            try:
                if self._sizes is not None:
                    self._sizes.batch_worked(len(self._results), self._seconds)
            finally:  # whatever is wrong with that, the call waits for this
                self._end((self._results, self._seconds))

    def _end(self, out: Any) -> None:
        callback, self._n_missing, self._results = self._shipment.callback, 0, []
        self._sizes = None
        try:
            callback(out)
        finally:
            out = None  # whoever keeps an error of that keeps this frame


class Divider:
    """Divides the batches of one call. Used by the courier's thread.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    sizes : WorkerTimedBatches or None
        What knows how long batches should take; None if none is to be divided.
    condition : threading.Condition
        Under which the following are read and changed.
    outbox : deque of Shipment
        What waits.
    away : set of Shipment
        What is under way.
    jobs : callable
        Returns how many tasks the call may run at once.
    """

    def __init__(
        self,
        client: Any,
        sizes: WorkerTimedBatches | None,
        condition: threading.Condition,
        outbox: deque[Shipment],
        away: set[Shipment],
        jobs: Callable[[], int],
    ) -> None:
        self._client = client
        self._sizes = sizes
        self._condition = condition
        self._outbox = outbox
        self._away = away
        self._jobs = jobs
        self._divisions: dict[Shipment, Division] = {}
        self._asking = False
        self._wait = INTERVAL
        self._next = 0.0
        #: Keys of dask's tasks, and how many tasks of their batches have been begun, on
        #: workers that will begin no more of them. Filled on the event loop.
        self.cut: deque[tuple[str, int]] = deque()

    def receive(self, shipment: Shipment, out: Any) -> bool:
        """Take what came of a batch, if that is a part; False if it is for its call."""
        try:
            return self._receive(shipment, out)
        except (
            BaseException
        ) as error:  # such as a lack of memory: nobody waits for ever
            shipment.callback(Lost(error))
            return True

    def _receive(self, shipment: Shipment, out: Any) -> bool:
        is_part = type(out) is tuple and len(out) == 3
        division = self._divisions.pop(shipment, None)
        if division is None:
            if not is_part:
                return False
            division = Division(shipment, self._sizes)
        division.take(0, out)
        if is_part and not division.over:
            _, seconds, n_done = out
            with self._condition:
                self._give_out(division, n_done, seconds / n_done)
        return True

    def _give_out(self, division: Division, start: int, seconds: float) -> None:
        """Have others do what nobody has of a batch, from task number `start` on.

        One task of it takes so many `seconds`. The condition is held.
        """
        end, division.end = division.end, min(start, division.end)
        shortest = 0.0 if self._sizes is None else self._sizes.MIN_IDEAL_BATCH_DURATION
        size = portion(end - start, self._jobs(), seconds, shortest)
        parts = [
            division.part(first, min(first + size, end))
            for first in range(start, end, size)
        ]
        self._outbox.extendleft(reversed(parts))

    def close(self) -> None:
        """Divide nothing more; a question that is under way keeps nothing of the call."""
        self._sizes, self._jobs = None, int

    # ------------------------------------------------- while a worker is at a task
    @property
    def pause(self) -> float:
        """After how many seconds to look again; the condition is held."""
        return INTERVAL if self._is_worth_a_look() else math.inf

    def _is_worth_a_look(self) -> bool:
        """Tell whether something could be divided, and there may be workers for it."""
        return (
            self._sizes is not None
            and not self._outbox
            and len(self._away) < self._jobs()
            and any(shipment.patience is not None for shipment in self._away)
        )

    def look(self, is_quiet: bool) -> None:
        """Look for batches that take too long, and have their workers leave the rest.

        Only if nothing has come for a while: else it may be the way back that is long.
        """
        with self._condition:
            if self.cut:
                self._divide()
            if not is_quiet or self._asking or not self._is_worth_a_look():
                return
            now = monotonic()
            if now < self._next:
                return
            late = [
                str(shipment.future.key)
                for shipment in self._away
                if shipment.patience is not None
                and shipment.future is not None
                and shipment.due < now
            ]
        if late:
            self._asking = True
            # what is late without having been begun waits for others: it may be long
            self._next = now + self._wait
            self._wait = min(2 * self._wait, LONGEST_INTERVAL)
            with suppress(RuntimeError):  # the loop is closed, as is the client
                self._client.loop.add_callback(self._ask, late)

    async def _ask(self, keys: list[str]) -> None:
        # If anything fails, each worker still sees it itself, between two tasks.
        try:
            with suppress(Exception):
                await asyncio.wait_for(self._cut(keys), SILENCE)
        finally:
            self._asking = False

    async def _cut(self, keys: list[str]) -> None:
        wanted = set(keys)
        held = await self._client.scheduler.processing(workers=None)
        # each by itself: the answer of one that hangs is not waited for by the others
        questions = [
            self._cut_at(worker, keys)
            for worker in held
            if not wanted.isdisjoint(held[worker])
        ]
        await asyncio.gather(*questions, return_exceptions=True)

    async def _cut_at(self, worker: str, keys: list[str]) -> None:
        answers = await self._client.run(cut_stints, keys, workers=[worker])
        for begun in answers.values():
            self.cut += begun.items()
        self._notify()

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _divide(self) -> None:
        """Have others do what workers will not begin; the condition is held."""
        by_key = {
            str(shipment.future.key): shipment
            for shipment in self._away
            if shipment.future is not None
        }
        while self.cut:
            key, begun = self.cut.popleft()
            shipment = by_key.get(key)
            if shipment is not None and shipment not in self._divisions:
                shipment.due = math.inf
                self._wait = INTERVAL
                division = Division(shipment, self._sizes)
                self._divisions[shipment] = division
                # one task takes longer than a batch should: as many parts as may be
                self._give_out(division, begun, math.inf)
