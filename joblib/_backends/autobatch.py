"""How many tasks to send in one batch, learnt from how long batches take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..parallel import Parallel

#: a batch grows at most by this factor in one step: the next tasks may be slower
MAX_GROWTH = 4

#: weight of the newest batch in the moving average of durations
NEWEST_WEIGHT = 0.25

#: tasks must be told of from this verbosity on
TELLING_VERBOSITY = 11


class BatchDecision(NamedTuple):
    """The size of the next batch, and the word for why it changed, if it did."""

    size: int
    reason: str | None


def decide_batch_size(
    size: int,
    duration: float,
    shortest: float,
    longest: float,
    growth: float = MAX_GROWTH,
) -> BatchDecision:
    """Return the next batch size, given what batches of `size` took.

    Batches should be long enough for the cost of sending one to be small
    beside it, and short enough that workers end at about the same time.

    Each step costs a way there and back, in which workers have little to do. So
    far too small batches grow by more than `growth`: by the square root of
    what is missing, which leaves the same factor for tasks that are slower than
    those seen so far.

    Parameters
    ----------
    size : int
        Number of tasks in each of the batches that `duration` is about.
    duration : float
        Smoothed duration of such a batch in seconds; 0 when none has ended.
    shortest, longest : float
        The range in seconds in which batches should lie.
    growth : float
        By how much batches grow at most in one step, but for far too small ones.

    Examples
    --------
    >>> decide_batch_size(1, 5e-6, 0.2, 2)
    BatchDecision(size=200, reason='fast')
    >>> decide_batch_size(10, 0.1, 0.2, 2)
    BatchDecision(size=25, reason='fast')
    >>> decide_batch_size(10, 0.5, 0.2, 2)
    BatchDecision(size=10, reason=None)
    """
    if duration <= 0:
        return BatchDecision(size, None)
    if duration < shortest / growth**2:
        return BatchDecision(int(size * math.sqrt(shortest / duration)), "fast")
    if duration < shortest:
        # aim a little above the lower end, so as not to grow again at once
        wanted = math.ceil(1.25 * size * min(shortest / duration, growth))
        return BatchDecision(int(min(max(wanted, size + 1), growth * size)), "fast")
    if duration > longest and size > 1:
        aim = math.sqrt(shortest * longest)
        return BatchDecision(max(int(size * aim / duration), 1), "slow")
    return BatchDecision(size, None)


class AutoBatchingMixin:
    """Chooses batch sizes for backends whose batches are costly to send."""

    #: seconds: batches shorter than this grow, longer than that shrink
    MIN_IDEAL_BATCH_DURATION = 0.2
    MAX_IDEAL_BATCH_DURATION = 2
    #: seconds: the last batches, which shrink so that all workers end at about the
    #: same time, do not become shorter than this
    LEAST_BATCH_DURATION = 0.001
    #: a batch grows at most by this factor in one step, unless it is far too small
    MAX_GROWTH: float = MAX_GROWTH

    _DEFAULT_EFFECTIVE_BATCH_SIZE = 1
    _DEFAULT_SMOOTHED_BATCH_DURATION = 0.0

    parallel: Parallel | None

    #: set where tasks are given copies to write to: the tasks of one batch would be
    #: given the same one, and a result would depend on how many came together
    _sends_alone: bool = False

    # class-level defaults, for subclasses that do not call our __init__
    _effective_batch_size: int = _DEFAULT_EFFECTIVE_BATCH_SIZE
    _smoothed_batch_duration: float = _DEFAULT_SMOOTHED_BATCH_DURATION
    #: how many tasks the least size of a batch was learnt from
    _n_measured: int = 0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reset_batch_stats()

    def compute_batch_size(self) -> int:
        """Return how many tasks the next batch should hold."""
        if self._sends_alone:
            return 1
        measured = self._measured_duration()
        size, reason = self._decide_batch_size(measured)
        if reason is not None:
            self._effective_batch_size = size
            # what batches of the old size took says nothing of the new one
            self._smoothed_batch_duration = self._DEFAULT_SMOOTHED_BATCH_DURATION
            self._tell(reason, measured, size)
        return size

    def _measured_duration(self) -> float:
        """Return what a batch takes in seconds; 0 if none has ended."""
        return self._smoothed_batch_duration

    def _decide_batch_size(self, measured: float) -> BatchDecision:
        """Return the next batch size, given what a batch takes in seconds."""
        return decide_batch_size(
            self._effective_batch_size,
            measured,
            self.MIN_IDEAL_BATCH_DURATION,
            self.MAX_IDEAL_BATCH_DURATION,
            self.MAX_GROWTH,
        )

    def _tell(self, reason: str, duration: float, size: int) -> None:
        parallel = getattr(self, "parallel", None)
        if parallel is not None and parallel.verbose >= TELLING_VERBOSITY:
            parallel._print(
                f"Batch computation too {reason} ({duration}s.) "
                f"Setting batch_size={size}."
            )

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Learn that a batch of `batch_size` tasks took `duration` seconds."""
        if duration > 0:
            # Of the first tasks a few may be short, and the rest not: together in
            # one batch, other workers would have nothing to do meanwhile.
            self._n_measured += batch_size
            least = int(batch_size * self.LEAST_BATCH_DURATION / duration)
            self.least_batch_size = max(min(least, self._foreseen()), 1)
        if batch_size != self._effective_batch_size:
            # sent before the size changed, or the short last one
            return
        before = self._smoothed_batch_duration
        if before == self._DEFAULT_SMOOTHED_BATCH_DURATION:
            self._smoothed_batch_duration = duration
        else:
            self._smoothed_batch_duration = before + NEWEST_WEIGHT * (duration - before)

    def _foreseen(self) -> int:
        """Return of how many more tasks those that were measured tell something."""
        return self._n_measured

    def reset_batch_stats(self) -> None:
        """Forget what was learnt: the tasks of the next call may be others."""
        self.least_batch_size = 1
        self._n_measured = 0
        self._effective_batch_size = self._DEFAULT_EFFECTIVE_BATCH_SIZE
        self._smoothed_batch_duration = self._DEFAULT_SMOOTHED_BATCH_DURATION
