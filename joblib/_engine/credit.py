"""How many batches are on their way beyond the initial ones: more of short ones.

Of short tasks the initial ones are done before others can have arrived, and workers
would wait. As long as batches come back soon, what is on its way is little work, and
more of it does no harm; when they take longer, no more is given out than was asked for.
Where workers join while a call runs, what was asked for grows with them.
"""

from __future__ import annotations

#: seconds from the dispatch of a batch to its completion, in which it is back soon
SOON = 0.02
#: batches that there may be for each worker however large they are
FEW = 1
#: the credit grows to the most there may be in so many steps, or by single batches
STEPS = 16


def adapt_credit(credit: int, most: int, lapse: float, soon: float = SOON) -> int:
    """Return how many batches more than the initial ones may be on their way now.

    Parameters
    ----------
    credit : int
        How many have been so far.
    most : int
        How many there may ever be.
    lapse : float
        Seconds from the dispatch of the batch that has just completed.
    soon : float
        Seconds within which it is back soon.

    Examples
    --------
    >>> adapt_credit(3, 8, lapse=0.001), adapt_credit(8, 8, lapse=0.001)
    (4, 8)
    >>> adapt_credit(3, 8, lapse=0.5), adapt_credit(0, 8, lapse=0.5)
    (2, 0)
    >>> adapt_credit(0, 128, lapse=0.1, soon=0.2)
    8
    """
    if lapse > soon:
        return max(credit - 1, 0)
    return min(credit + max(1, most // STEPS), most)


class Credit:
    """The batches that a call may dispatch without a completion in return.

    Parameters
    ----------
    look_ahead : int, default=0
        How many a worker there may be of short ones.
    soon : float
        Seconds within which they have to be back.
    n_jobs : int
        The number of workers at the start.
    """

    __slots__ = ("look_ahead _most _n_jobs _of_short _of_workers _soon granted").split()

    def __init__(self, look_ahead: int = 0, soon: float = SOON, n_jobs: int = 1):
        self.look_ahead = look_ahead
        self._soon = soon
        self._n_jobs = n_jobs
        self._most = look_ahead * n_jobs
        self._of_short = self._of_workers = 0
        self.granted = 0

    def learn(self, lapse: float, size: int, next_size: int) -> None:
        """Learn how long a batch of `size` was on its way, in seconds.

        Of larger batches, such as the next one of `next_size`, it takes fewer to have a
        worker busy. As long as they still grow, how soon small ones are back tells
        nothing of the next, and more of those than workers were too many.
        """
        if self._most:
            most = max(self._most // next_size, min(self._most, FEW * self._n_jobs))
            if size >= next_size:
                self._of_short = adapt_credit(self._of_short, most, lapse, self._soon)
            else:
                self._of_short = min(self._of_short, most)
            self.granted = self._of_short + self._of_workers

    def resize(self, n_jobs: int, more: int) -> None:
        """Go by `n_jobs` workers, for whom `more` initial batches would be given."""
        self._n_jobs = n_jobs
        self._most = self.look_ahead * n_jobs
        self._of_short = min(self._of_short, self._most)
        self._of_workers = max(more, 0)
        self.granted = self._of_short + self._of_workers
