"""Batches of short tasks that wait to be sent, put together into larger ones.

With ``pre_dispatch="all"`` or a large number there, the caller's iterable is read before
any task is done: each makes a batch of its own, for nothing is known of how long they
take. So a few are sent first, and the others wait for the first results, but not for
long: of long tasks the scheduler is to see all that there are, by which an adaptive
cluster grows. Once tasks are known to be short, those that wait go together.

By default there are two batches for each worker. With many workers the second ones wait
as well, for about as long as the first ones take to be sent: to send as many again would
take longer than to hear from the first, and than many tasks of next to nothing. Later
batches of such tasks go together as well if they are sent at once: with many workers they
are many, and none is large.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from .._engine.batch import BatchedCalls
from .._engine.columns import joined
from .collecting import Lost
from .dividing import results_of
from .losses import report
from .shipment import Shipment
from .sizing import WorkerTimedBatches

#: batches for each job that are sent first: more than `pre_dispatch` gives by default
FIRST = 4
#: seconds after the first one in which the others wait for what comes back
HOLDING = 0.25
#: With so many jobs, seconds for each of them in which all but the first batch of each
#: wait so; not longer than that.
MANY_JOBS, HOLDING_EACH, LONGEST_SECOND = 16, 0.0007, 0.05
#: Second ones that have waited go together as long as they take so many seconds, which
#: is about what it costs to send one.
WORTH_SENDING = 0.002


def may_join(shipment: Shipment, first: Shipment) -> bool:
    """Tell whether one may go in the same batch as another that has not been sent.

    What is a part was divided, since it is long; and what is sent again goes with the
    shared data that was sent anew for it.
    """
    batch, other = shipment.batch, first.batch
    return (
        not shipment.is_part
        and not shipment.sendings
        # others may be more than their tasks
        and type(batch) is BatchedCalls is type(other)
        and batch._plan is other._plan
        and batch._reducer_callback is other._reducer_callback is None
        and batch._pickle_cache is other._pickle_cache is None
    )


def _n_tasks(shipment: Shipment) -> int:
    return len(shipment.batch.items)


def merged(shipments: list[Shipment]) -> Shipment:
    """Return one shipment for several; each of them hears what came of its tasks."""
    items = joined([shipment.batch.items for shipment in shipments])
    waiting = deque((len(one.batch.items), one.callback) for one in shipments)
    batch = shipments[0].batch.with_items(items)
    return Shipment(batch, partial(hand_out, waiting))


def hand_out(waiting: deque[tuple[int, Callable[[Any], Any]]], out: Any) -> None:
    """Give each of several batches what came of its tasks.

    Parameters
    ----------
    waiting : deque of tuple
        For each batch how many tasks it has, and its callback. It is emptied.
    out : Results in a tuple, list in a tuple, or Lost
        What came of all tasks. If that is no results, every batch hears of it.
    """
    # Whoever keeps an error that a callback has raised keeps this frame: no result is
    # left in it.
    n_tasks, seconds = sum(n for n, _ in waiting), 0.0
    results: deque[Any] = deque()
    found: Any = None
    try:
        found = results_of(out)
        if isinstance(found, list):
            seconds = out[1] / max(n_tasks, 1)
            results, found = deque(found), None
    except BaseException as error:  # such as a lack of memory: nobody waits for ever
        found = Lost(error)
    while waiting:
        n, callback = waiting.popleft()
        out = found
        if found is None:
            out = [results.popleft() for _ in range(n)], seconds * n
        try:
            callback(out)
        except BaseException as error:  # the others still have to hear of theirs
            report(error, threading.current_thread())
        finally:
            out = None
    found = None


class Merger:
    """Puts batches of one call together as they leave the outbox.

    Parameters
    ----------
    sizes : WorkerTimedBatches or None
        What knows how many tasks go into one batch; None if batches go as they are.
    condition : threading.Condition
        Under which all here is read and changed, but `look`.
    outbox : deque of Shipment
        What waits.
    away : set of Shipment
        What is under way.
    jobs : callable
        Returns how many tasks the call may run at once.
    """

    def __init__(
        self,
        sizes: WorkerTimedBatches | None,
        condition: threading.Condition,
        outbox: deque[Shipment],
        away: set[Shipment],
        jobs: Callable[[], int],
    ) -> None:
        self._sizes = sizes
        self._condition = condition
        self._outbox = outbox
        self._away = away
        self._jobs = jobs
        #: when the others follow the first, by `time.monotonic`, whatever has come back
        self._until = math.inf
        #: the same for second ones; and whether there were some that waited
        self._second = math.inf
        self._held_second = False
        #: nothing waits for the first ones any more
        self._over = sizes is None
        #: there were more batches than those that are sent first
        self._many = False
        # how many tasks go into one batch, at most and at least, and how many wait
        self._size = self._least = 1
        self._waiting = 0

    def holds(self) -> bool:
        """Tell whether what waits is to wait for what has been sent first."""
        if self._over or not self._outbox:
            return False
        waiting = len(self._away) + len(self._outbox)
        self._many = self._many or waiting > FIRST * self._n_jobs()
        if not self._awaits() or self._outbox[0].sendings:
            return False
        self._held_second = True
        return True

    def _n_jobs(self) -> int:
        return max(self._jobs(), 1)

    def _awaits(self) -> bool:
        """Tell whether the first ones are under way, and nothing is known of them."""
        sizes, now = self._sizes, monotonic()
        if sizes is None or sizes.has_learnt or now >= self._until:
            self._over = True
        if self._over:
            return False
        return len(self._away) >= self._n_jobs() * (1 if now < self._second else FIRST)

    @property
    def pause(self) -> float:
        """After how many seconds what waits, or is to come, need wait no more."""
        if not self._awaits():
            return math.inf
        now = monotonic()
        return max((self._second if now < self._second else self._until) - now, 0.0)

    def take(self) -> Shipment:
        """Take the next one from the outbox: as many of those that wait as go together."""
        if self._until == math.inf:
            now, n_jobs = monotonic(), self._n_jobs()
            self._until = now + HOLDING
            is_many = n_jobs >= MANY_JOBS
            longer = min(HOLDING_EACH * n_jobs, LONGEST_SECOND) if is_many else 0.0
            self._second = now + longer
        outbox = self._outbox
        first = outbox[0]
        if self._size < 2 or not may_join(first, first):
            return outbox.popleft()
        waiting = max(self._waiting, len(outbox))
        # half of an equal share, as the caller's iterable is shared out at its end
        share = math.ceil(waiting / (2 * self._n_jobs()))
        size = min(max(self._least, share), self._size)
        together: list[Shipment] = []
        n_tasks = 0
        for shipment in outbox:
            n_more = _n_tasks(shipment)
            is_much = n_tasks + n_more > size or not may_join(shipment, first)
            if together and is_much:
                break
            together.append(shipment)
            n_tasks += n_more
        self._waiting = waiting - n_tasks
        taken = merged(together) if len(together) > 1 else first
        for _ in together:  # not before: whatever fails, each is in the outbox or away
            outbox.popleft()
        return taken

    def look(self) -> None:
        """Go by what is known now of how long tasks take. On the courier's thread."""
        sizes = self._sizes
        if sizes is None or not (self._outbox or self._size > 1):
            return
        if not self._outbox:
            size = least = 1  # what comes in a moment goes as it is
        elif self._many:
            size, least = sizes.compute_batch_size(), sizes.least_batch_size
        elif self._held_second and sizes.has_learnt:
            self._held_second = False
            size = least = sizes.lasting(WORTH_SENDING)
        else:
            size = least = sizes.joint_size
        with self._condition:
            self._size, self._least = size, least
            if size > 1:
                self._waiting = sum(map(_n_tasks, self._outbox))

    def close(self) -> None:
        """Keep nothing of the call's."""
        self._sizes, self._jobs, self._over = None, int, True
