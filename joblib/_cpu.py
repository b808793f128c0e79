"""How many cores there are for this process."""

from __future__ import annotations

import os
import time
from typing import Any

#: seconds for which a count holds: to find the limits of a container takes reading
#: several files, and would be the greater part of what a short call costs
COUNT_HOLDS = 1.0

#: the last count, what it was made of, and until when it holds
_last: tuple[int, Any, float] = (0, None, 0.0)


def cpu_count(only_physical_cores: bool = False) -> int:
    """Return the number of CPU cores this process may use.

    Affinity masks, cgroup quotas of containers and ``LOKY_MAX_CPU_COUNT`` are
    taken into account, by loky.

    Parameters
    ----------
    only_physical_cores : bool, default=False
        Count physical cores instead of hardware threads, where the operating
        system tells them apart.

    Returns
    -------
    int
        At least 1; always 1 where multiprocessing is missing or was switched
        off by ``JOBLIB_MULTIPROCESSING=0``.
    """
    from ._multiprocessing_helpers import mp

    if mp is None:
        return 1
    from loky import cpu_count as count

    if only_physical_cores:
        return int(count(only_physical_cores=True))
    return _recent(count)


def _recent(count: Any) -> int:
    """Return what `count` returns, or did a moment ago if nothing cheap has changed."""
    global _last
    affinity = getattr(os, "sched_getaffinity", None)
    made_of = (
        count,
        os.environ.get("LOKY_MAX_CPU_COUNT"),
        affinity and affinity(0),
    )
    now = time.monotonic()
    number, before, until = _last
    if before != made_of or now >= until:
        number = int(count())
        _last = number, made_of, now + COUNT_HOLDS
    return number
