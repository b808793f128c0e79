"""How many batches are on their way beyond the initial ones: more of short ones.

Of short tasks the initial ones are done before others can have arrived, and workers
would wait. As long as batches come back soon, what is on its way is little work, and
more of it does no harm; when they take longer, no more is given out than was asked for.
"""

from __future__ import annotations

#: seconds from the dispatch of a batch to its completion, in which it is back soon
SOON = 0.02


def adapt_credit(credit: int, most: int, lapse: float) -> int:
    """Return how many batches more than the initial ones may be on their way now.

    Parameters
    ----------
    credit : int
        How many have been so far.
    most : int
        How many there may ever be.
    lapse : float
        Seconds from the dispatch of the batch that has just completed.

    Examples
    --------
    >>> adapt_credit(3, 8, lapse=0.001), adapt_credit(8, 8, lapse=0.001)
    (4, 8)
    >>> adapt_credit(3, 8, lapse=0.5), adapt_credit(0, 8, lapse=0.5)
    (2, 0)
    """
    if lapse > SOON:
        return max(credit - 1, 0)
    return min(credit + 1, most)
