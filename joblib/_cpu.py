"""How many cores there are for this process."""

from __future__ import annotations


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

    return int(count(only_physical_cores=only_physical_cores))
