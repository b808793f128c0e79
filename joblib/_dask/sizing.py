"""How many tasks go into one batch, learnt from what workers say batches take.

The time from sending a batch to its return tells little here: it is mostly the way
there and back, and the wait behind other batches on the worker. So workers send the
seconds of work along with the results.
"""

from __future__ import annotations

from .._backends.autobatch import AutoBatchingMixin


class WorkerTimedBatches(AutoBatchingMixin):
    """Chooses batch sizes by the time that workers spend on batches."""

    # A batch more costs its worker about 3 ms in which it has nothing to do, and the
    # caller as much again. So they come to their size in few steps, and the last ones
    # do not get small. Nor are they large: those that queue on a worker stay there,
    # though another one may be done.
    MAX_GROWTH = 16
    MIN_IDEAL_BATCH_DURATION = 0.1
    LEAST_BATCH_DURATION = 0.015

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Learn nothing from how long a batch was on its way."""

    def batch_worked(self, batch_size: int, seconds: float) -> None:
        """Learn that a worker spent `seconds` on a batch."""
        super().batch_completed(batch_size, seconds)
