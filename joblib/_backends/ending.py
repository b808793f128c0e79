"""`shutdown`: end the pools of workers that are kept for the next call, now."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from . import thread_cache

# re-entrant: the collector may get here on a thread that holds it
_lock = threading.RLock()
_pools: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = (
    weakref.WeakKeyDictionary()
)


def remember(pool: Any, end: Callable[[Any], None]) -> None:
    """Have `shutdown` end a pool.

    Parameters
    ----------
    pool : object
        Not kept alive by this.
    end : callable
        Takes the pool. It may be called more than once, also for a pool that has
        ended, and must take bounded time.
    """
    with _lock:
        _pools[pool] = end


def shutdown() -> None:
    """End all workers that `Parallel` has started in this process and keeps.

    Processes and threads stay for a while after a call, to serve the next one. This
    ends them at once, whichever thread had them started, and gives back the memory
    that they take. The next call starts new ones. Calls that are still running in
    other threads fail with an error that says so.

    Clusters, and pools that were not started by joblib, are not touched.

    Examples
    --------
    >>> import joblib
    >>> joblib.shutdown()
    """
    with _lock:
        pools = list(_pools.items())
        _pools.clear()
    failures = []
    for pool, end in pools:
        try:
            end(pool)
        except Exception as error:  # the others are to end, too
            failures.append(error)
    thread_cache.end_idle()
    if failures:
        raise failures[0]


def _forget_all() -> None:
    # After a fork: what is remembered belongs to the parent.
    global _lock, _pools
    _lock = threading.RLock()
    _pools = weakref.WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
