"""What ``verbose`` prints: a snapshot of a run -> a line, or None."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..logger import short_format_time


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands.

    Attributes
    ----------
    done : int
        Tasks completed.
    dispatched : int
        Batches given out.
    total : int or None
        Tasks in all; None while the iterable has not been read to its end.
    given_total : int or None
        Tasks in all, where the iterable has a length.
    finished : bool
        Whether this is the last line of the run.
    elapsed : float
        Seconds since the start.
    """

    done: int
    dispatched: int
    total: int | None
    given_total: int | None
    finished: bool
    elapsed: float


def is_milestone(count: int, verbose: int) -> bool:
    """Whether the line for `count` is shown: ever rarer, the more as verbose falls.

    >>> [n for n in range(1, 41) if is_milestone(n, verbose=10)]
    [1, 4, 7, 12, 17, 24, 31, 40]
    >>> [n for n in range(1, 41) if is_milestone(n, verbose=5)]
    [17]
    """
    if verbose > 10:
        return True
    if verbose <= 0:
        return False
    scale = 0.5 * (11 - verbose) ** 2
    return math.isqrt(int(count / scale)) != math.isqrt(int((count + 1) / scale))


def progress_line(now: Snapshot, verbose: int) -> str | None:
    """Return the line for this moment of a run, or None when it is not shown."""
    if not verbose:
        return None
    elapsed = short_format_time(now.elapsed)
    total = now.total if now.total is not None else now.given_total
    width = 3 if now.given_total is None else len(str(now.given_total))
    counts = f"Done {now.done:{width}d}"
    if total is not None:
        counts = f"{counts} out of {total:{width}d}"
    if now.finished:
        return f"{counts} | elapsed: {elapsed} finished"
    if now.total is None:
        if not is_milestone(now.dispatched, verbose):
            return None
        blank = "" if total is not None else " tasks     "
        return f"{counts}{blank} | elapsed: {elapsed}"
    # The end is in sight: about `verbose` more lines, with what is left.
    step = now.total // verbose + 1
    left = now.total - now.done
    if not now.done or not left or left % step:  # the last line says "finished"
        return None
    remaining = now.elapsed / now.done * left
    return f"{counts} | elapsed: {elapsed} remaining: {short_format_time(remaining)}"
