"""Whether processes can be used here: ``mp`` is multiprocessing, or None."""

from __future__ import annotations

import os
import warnings
from types import ModuleType
from typing import Any

_OFF = frozenset({"0", "false", "no", "off"})


def _semaphores_work() -> bool:
    """Make one named semaphore: some sandboxes have the module but refuse this."""
    from _multiprocessing import SemLock  # type: ignore[import-not-found]

    for attempt in range(100):
        name = f"/joblib-{os.getpid()}-{attempt}"
        try:
            # kind 0 is a semaphore; the last argument unlinks the name at once
            SemLock(0, 0, 1, name, True)
        except FileExistsError:
            continue
        return True
    raise OSError("no free name for a semaphore")


def _usable_multiprocessing() -> ModuleType | None:
    switch = os.environ.get("JOBLIB_MULTIPROCESSING", "1").strip().lower()
    if switch in _OFF:
        return None
    try:
        import _multiprocessing  # noqa: F401
        import multiprocessing
        import multiprocessing.synchronize  # fails without sem_open
    except ImportError:
        return None
    try:
        _semaphores_work()
    except (ImportError, OSError) as error:
        warnings.warn(
            f"Semaphores do not work here ({error}): processes are not available "
            "and joblib will operate in serial mode.",
            stacklevel=2,
        )
        return None
    return multiprocessing


#: the multiprocessing module; None where it does not work, or was switched off
#: by the environment variable ``JOBLIB_MULTIPROCESSING=0``
mp: Any = _usable_multiprocessing()


def default_context() -> Any:
    """Return the multiprocessing context that calls use unless they name one.

    It is the one named by the environment variable ``JOBLIB_START_METHOD``,
    else Python's default, which is not fixed by asking for it; None where `mp`
    is None.
    """
    if mp is None:
        return None
    method = os.environ.get("JOBLIB_START_METHOD", "").strip()
    if not method:
        # get_context() would fix the default start method for good, after
        # which an application could not choose its own any more
        method = mp.get_start_method(allow_none=True) or mp.get_all_start_methods()[0]
    try:
        return mp.get_context(method)
    except ValueError:
        raise ValueError(
            f"JOBLIB_START_METHOD={method!r} is not a start method of this "
            f"platform, expected one of {mp.get_all_start_methods()}."
        ) from None
