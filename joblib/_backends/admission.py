"""Whether worker processes may be started from here, and how many."""

from __future__ import annotations

import sys
import threading
import warnings
from typing import NamedTuple

from .._engine.context import share_of_cores
from .._multiprocessing_helpers import mp


class Situation(NamedTuple):
    """Where a call is made, as far as it matters for starting processes."""

    #: multiprocessing works here
    processes_work: bool
    #: this process is a daemonic one, which may not have children
    daemonic: bool
    #: this process is itself a worker of loky
    loky_worker: bool
    #: the calling thread is a worker of an outer call
    worker_thread: bool


class Admission(NamedTuple):
    """The number of workers, and what stands against having more, if anything."""

    n_jobs: int
    obstacle: str | None


def admit(
    n_jobs: int | None, cores: int, situation: Situation, *, may_nest_in_loky: bool
) -> Admission:
    """Return how many worker processes a call that asks for `n_jobs` may have.

    Parameters
    ----------
    n_jobs : int or None
        What was asked for; -1 is all cores, -2 all but one, None means 1.
    cores : int
        The number of cores; only looked at for a negative `n_jobs`.
    situation : Situation
        Where the call is made.
    may_nest_in_loky : bool
        Whether the backend's processes may be started from a loky worker.

    Raises
    ------
    ValueError
        If `n_jobs` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    if n_jobs is None or n_jobs == 1 or not situation.processes_work:
        return Admission(1, None)
    if situation.daemonic:
        return Admission(1, "called in a daemonic process, which can't have children")
    if situation.loky_worker and not may_nest_in_loky:
        return Admission(1, "nested below loky's processes")
    if situation.worker_thread:
        return Admission(1, "nested below threads")
    if n_jobs < 0:
        n_jobs = max(cores + 1 + n_jobs, 1)
    return Admission(n_jobs, None)


def present_situation(nesting_level: int | None) -> Situation:
    """Return the situation of the calling thread."""
    if mp is None:
        return Situation(False, False, False, False)
    loky = sys.modules.get("loky.process_executor")
    in_main_thread = threading.current_thread() is threading.main_thread()
    return Situation(
        processes_work=True,
        daemonic=mp.current_process().daemon,
        loky_worker=getattr(loky, "_CURRENT_DEPTH", 0) > 0,
        # a thread that the user started by hand is as good as the main one
        worker_thread=bool(nesting_level) and not in_main_thread,
    )


def _in_dask_worker() -> bool:
    # only asked for where dask has long been imported, if it plays any part
    worker = sys.modules.get("distributed.worker")
    if worker is None:
        return False
    try:
        worker.get_worker()
    except ValueError:
        return False
    return True


def count_workers(
    n_jobs: int | None,
    nesting_level: int | None,
    *,
    label: str,
    may_nest_in_loky: bool,
    stacklevel: int = 3,
) -> int:
    """Return the number of workers for a call made here; warn if it is cut to 1."""
    cores = share_of_cores() if n_jobs is not None and n_jobs < 0 else 1
    situation = present_situation(nesting_level)
    decision = admit(n_jobs, cores, situation, may_nest_in_loky=may_nest_in_loky)
    if decision.obstacle is not None:
        hint = ""
        if situation.daemonic and _in_dask_worker():
            hint = (
                " This is a worker of dask: use the dask backend, or configure "
                "dask with 'distributed.worker.daemon: False'."
            )
        warnings.warn(
            f"{label}-backed parallel loops cannot be {decision.obstacle}, "
            f"setting n_jobs=1.{hint}",
            stacklevel=stacklevel,
        )
    return decision.n_jobs


def refuse_while_starting() -> None:
    """Raise RuntimeError in a worker that is importing its parent's main module.

    Were a call there run here, in this one process, the program would do once
    more in each worker all that it does.
    """
    # what multiprocessing itself goes by
    if mp is not None and getattr(mp.current_process(), "_inheriting", False):
        raise RuntimeError(
            "A worker process came upon a parallel call while it imported the main "
            "module of the program. Protect the main module: put what is to run "
            "only in the program itself below `if __name__ == '__main__':`."
        )


def workers_have_main(start_method: str) -> bool:
    """Whether workers have the main module of this process as their own.

    Forked ones do; others import it anew, which takes a file or a module name.
    """
    if start_method == "fork":
        return True
    main = sys.modules.get("__main__")
    named = getattr(getattr(main, "__spec__", None), "name", None)
    return named is not None or getattr(main, "__file__", None) is not None
