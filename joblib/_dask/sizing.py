"""How many tasks go into one batch, learnt from what workers say batches take.

The time from sending a batch to its return tells little here: it is mostly the way
there and back, and the wait behind other batches on the worker. So workers send the
seconds of work along with the results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._backends.autobatch import (
    NEWEST_WEIGHT,
    AutoBatchingMixin,
    BatchDecision,
    decide_batch_size,
)
from .shipment import Shipment

#: seconds that batches should take, at least, and the last ones, which shrink
SHORTEST, LEAST = 0.2, 0.03
#: The same for each worker there is. A batch keeps the scheduler and the client busy for
#: one to two milliseconds, whichever worker it is for: all workers together may ask for
#: one per ten, for at the end of a call they do so five times as often.
SHORTEST_EACH, LEAST_EACH = 0.01, 0.002
#: however many workers there are
LONGEST_SHORTEST, LONGEST_LEAST = 1.0, 0.2
#: Of tasks that take next to nothing, batches of that many seconds would hold so many
#: that the caller's memory was full of them: all workers together get so many a round, and
#: each one as many as are well worth a batch.
MOST_TASKS, MOST_TASKS_EACH = 8_000, 1_000
#: Where that is few, batches cost more on their way than in their tasks. Several that are
#: sent at once go as one, of so many seconds and of so many tasks at most.
JOINT_SECONDS, JOINT_TASKS = 0.01, 4_000
#: A worker leaves the rest of a batch that takes so many times as long as was thought,
#: but no sooner than after so many seconds: to send it elsewhere has its price, too.
LATE, PATIENCE = 3, 0.1


def durations_for(
    workers: int, shortest: float = SHORTEST, least: float = LEAST
) -> tuple[float, float]:
    """Return the seconds that batches should take, at least, and those of the last.

    >>> [durations_for(workers) for workers in (2, 24, 1000)]
    [(0.2, 0.03), (0.24, 0.048), (1.0, 0.2)]
    """
    share = min(SHORTEST_EACH * workers, LONGEST_SHORTEST)
    least_share = min(LEAST_EACH * workers, LONGEST_LEAST)
    return max(shortest, share), max(least, least_share)


def most_tasks_for(workers: int) -> int:
    """Return how many tasks a batch may hold, however short they are.

    >>> [most_tasks_for(workers) for workers in (1, 2, 8, 24)]
    [8000, 4000, 1000, 1000]
    """
    return max(MOST_TASKS // max(workers, 1), MOST_TASKS_EACH)


class WorkerTimedBatches(AutoBatchingMixin):
    """Chooses batch sizes by the time that workers spend on batches."""

    # A batch more costs its worker about 3 ms in which it has nothing to do, and the
    # caller as much again. So they come to their size in few steps, and the last ones
    # do not get small: where the next tasks are slower, they are divided. Nor are they
    # large: those that queue on a worker stay there, though another one may be done.
    MAX_GROWTH = 256
    MIN_IDEAL_BATCH_DURATION: float = SHORTEST
    LEAST_BATCH_DURATION: float = LEAST
    #: the first few tasks that are measured tell of so many times as many
    FORESIGHT = 4

    #: seconds that a task takes: an average that forgets, since the first ones may have
    #: imported what the others only use
    _each: float = 0.0
    #: seconds that all have taken that were measured
    _seconds: float = 0.0
    #: whether a batch that takes too long is divided
    divided: bool = False
    #: tasks in a batch, at most
    _most: int = MOST_TASKS

    def serve(self, workers: int) -> None:
        """Choose sizes for so many workers, whose batches share one scheduler."""
        kind = type(self)
        durations = durations_for(
            workers, kind.MIN_IDEAL_BATCH_DURATION, kind.LEAST_BATCH_DURATION
        )
        self.MIN_IDEAL_BATCH_DURATION, self.LEAST_BATCH_DURATION = durations
        self._most = most_tasks_for(workers)

    def _decide_batch_size(self, measured: float) -> BatchDecision:
        """Return the next batch size; what is half as long as it should be is let be.

        Two tasks in a batch end later than each in one of its own.
        """
        size = self._effective_batch_size
        shortest, longest = self.MIN_IDEAL_BATCH_DURATION, self.MAX_IDEAL_BATCH_DURATION
        growth = max(self._foreseen() / size, 1)
        if self._smoothed_batch_duration:
            growth = max(growth, self.MAX_GROWTH)
            enough = shortest / 2 <= measured <= longest
        else:
            enough = measured >= shortest / 2 or growth < 2
        if enough:
            return BatchDecision(size, None)
        decision = decide_batch_size(size, measured, shortest, longest, growth)
        if decision.size <= self._most:
            return decision
        return BatchDecision(self._most, decision.reason if size < self._most else None)

    def _measured_duration(self) -> float:
        """Return what a batch takes in seconds.

        The first to come back decides how large those are that are sent until one of
        them does. Others that come meanwhile may tell of more tasks than it did.
        """
        measured, n = super()._measured_duration(), self._n_measured
        if measured or not n:
            return measured
        return max(self._each, self._seconds / n) * self._effective_batch_size

    def _foreseen(self) -> int:
        """Return of how many more tasks those that were measured tell something.

        If n of them were alike, the next one is another by a chance of at most about
        1/n: n batches of n hold a few of those. Where they can be divided, they may.
        """
        n = self._n_measured
        return n * max(self.FORESIGHT, n if self.divided else 0)

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Learn nothing from how long a batch was on its way."""

    def batch_worked(self, batch_size: int, seconds: float) -> None:
        """Learn that a worker spent `seconds` on a batch."""
        if seconds > 0:
            each = seconds / batch_size
            before = self._each or each
            self._each = before + NEWEST_WEIGHT * (each - before)
            self._seconds += seconds
        super().batch_completed(batch_size, seconds)
        self.least_batch_size = min(self.least_batch_size, self._most)

    def reset_batch_stats(self) -> None:
        """Forget what was learnt."""
        super().reset_batch_stats()
        self._each = self._seconds = 0.0

    @property
    def has_learnt(self) -> bool:
        """Whether it is known what a task takes."""
        return self._each > 0

    @property
    def joint_size(self) -> int:
        """How many tasks go into one batch where several are sent at once; 1 for no more.

        Only of many workers, where batches are as large as they may be, and short
        nevertheless: few workers are kept busy then, however many batches there are.
        """
        if self._most > MOST_TASKS_EACH or self._effective_batch_size < self._most:
            return 1
        return min(self.lasting(JOINT_SECONDS), JOINT_TASKS)

    def lasting(self, seconds: float) -> int:
        """Return how many tasks take no longer than `seconds`, and as many as is known."""
        each = self._each
        return max(int(min(seconds / each, self._foreseen())), 1) if each else 1

    def patience_with(self, batch_size: int) -> float | None:
        """Return after how many seconds a batch takes too long; None for never.

        It is then divided among more workers. One of a single task cannot be.
        """
        each = self._each
        if batch_size < 2 or not each:
            return None
        limit = max(LATE * each * batch_size, PATIENCE)
        return min(limit, self.MAX_IDEAL_BATCH_DURATION)


def learn_from(
    arrived: Iterable[tuple[Shipment, Any]], sizes: WorkerTimedBatches | None
) -> None:
    """Learn from all batches that have come together how long they took.

    Before any of them is answered with the next batch, whose size goes by that.
    """
    for shipment, out in arrived:
        if sizes is not None and type(out) is tuple:
            _, seconds, *done = out
            sizes.batch_worked(done[0] if done else len(shipment.batch.items), seconds)
