"""How many tasks go into one batch, learnt from what workers say batches take.

The time from sending a batch to its return tells little here: it is mostly the way
there and back, and the wait behind other batches on the worker. So workers send the
seconds of work along with the results.
"""

from __future__ import annotations

import math

from .._backends.autobatch import (
    MAX_GROWTH,
    AutoBatchingMixin,
    BatchDecision,
    decide_batch_size,
)


def decide_size(
    size: int, duration: float, shortest: float, longest: float
) -> BatchDecision:
    """Return the next batch size, given what batches of `size` took.

    Each change costs a way there and back, in which workers have little to do. So
    far too small batches grow by more than the usual factor: by the square root of
    what is missing, which leaves the same factor for tasks that are slower than
    those seen so far.

    Examples
    --------
    >>> decide_size(1, 5e-6, 0.2, 2)
    BatchDecision(size=200, reason='fast')
    >>> decide_size(10, 0.1, 0.2, 2)
    BatchDecision(size=25, reason='fast')
    >>> decide_size(10, 0.5, 0.2, 2)
    BatchDecision(size=10, reason=None)
    """
    if 0 < duration < shortest / MAX_GROWTH**2:
        return BatchDecision(int(size * math.sqrt(shortest / duration)), "fast")
    return decide_batch_size(size, duration, shortest, longest)


class WorkerTimedBatches(AutoBatchingMixin):
    """Chooses batch sizes by the time that workers spend on batches."""

    def _decide_batch_size(self, measured: float) -> BatchDecision:
        """Return the next batch size, given what a batch takes in seconds."""
        return decide_size(
            self._effective_batch_size,
            measured,
            self.MIN_IDEAL_BATCH_DURATION,
            self.MAX_IDEAL_BATCH_DURATION,
        )

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Learn nothing from how long a batch was on its way."""

    def batch_worked(self, batch_size: int, seconds: float) -> None:
        """Learn that a worker spent `seconds` on a batch."""
        super().batch_completed(batch_size, seconds)
