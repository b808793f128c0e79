"""From a configured `Parallel` object and the caller's tasks to the run of one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from .batch import Plan
from .context import SHARED_BY, TRACES, WRAPPERS, current
from .controls import Controls, check_controls
from .credit import Credit
from .forwarding import wrappers_for_call
from .recording import traced_call
from .report import CallReport
from .run import Run
from .source import Source, initial_tasks

if TYPE_CHECKING:
    from ..parallel import Parallel

#: what `pre_dispatch` is where the user has not said what it is to be
DEFAULT_PRE_DISPATCH = "2 * n_jobs"


def make_run(
    parallel: Parallel,
    iterator: Iterator[Any],
    n_jobs: int,
    make_job: Callable[[float, int, Any], Any],
) -> tuple[Run, int]:
    """Return the run, and the size of its batches if it is to run in the caller.

    Parameters
    ----------
    parallel : Parallel
        Its backend is configured.
    iterator : iterator of task
    n_jobs : int
        The effective number of jobs.
    make_job : callable
        Makes the callback of each batch.
    """
    backend = parallel._backend
    runs_inline = n_jobs == 1 and backend.runs_single_job_inline
    fixed = None if parallel.batch_size == "auto" else int(parallel.batch_size)
    controls: Controls | None = parallel._controls
    if controls is not None:
        check_controls(controls, backend, runs_inline)
        if controls.one_by_one or (runs_inline and controls.max_pending_results):
            fixed = 1
    config = current()
    shared_by = config.get(SHARED_BY, 1)
    if backend.shares_machine:
        shared_by *= n_jobs
    user_wrappers = config.get(WRAPPERS, ())
    wrappers = [
        *wrappers_for_call(user_wrappers),
        *(b.wrap_task() for b in (*parallel._declined, backend)),
    ]
    if controls is not None:
        from .controlled import ControlledRun, WindowedSource, prepared

        seed = None if controls.seed is None else controls.seed.of_next_call()
        inner = tuple(w for w in wrappers if w is not None) if runs_inline else None
        if seed is not None or inner is not None or controls.one_by_one:
            iterator = prepared(iterator, controls, seed, inner)
        if runs_inline:
            wrappers = []  # they run around each try
    traced = traced_call(backend, n_jobs) if TRACES in config else None
    plan = Plan(
        # Tasks that run in the caller leave its context as it is.
        None if runs_inline else backend.get_nested_backend(),
        user_wrappers,
        wrappers,
        shared_by,
        None if traced is None else traced.recorder,
    )
    is_default = parallel.pre_dispatch == DEFAULT_PRE_DISPATCH
    limit = None if runs_inline else initial_tasks(parallel.pre_dispatch, n_jobs)
    parallel._start_time = time.time()
    if parallel.verbose > 0 and not runs_inline:
        if parallel.verbose >= 10:
            parallel._print(parallel._reason)
        parallel._print(
            f"Using backend {type(backend).__name__} with {n_jobs} concurrent workers."
        )
    kind = type(parallel)
    watched = kind.dispatch_one_batch is not CallReport.dispatch_one_batch
    silent = not parallel.verbose and kind.print_progress is CallReport.print_progress
    window = None if controls is None else controls.max_pending_results
    # what each task comes back with must be no more than its result
    is_plain = traced is None and not (controls and controls.one_by_one)
    divisible = backend.divides_batches and fixed is None and is_plain
    shrinks = fixed is None and not window
    compact = divisible and controls is None
    given = (iterator, n_jobs, limit, shrinks, parallel.pre_dispatch, not divisible)
    source = (
        WindowedSource(*given, window=window) if window else Source(*given, compact)
    )
    make: Any = Run if controls is None else partial(ControlledRun, controls=controls)
    run = make(
        parallel,
        backend,
        source,
        make_job,
        batch_size=fixed,
        plan=plan,
        ordered=parallel.return_ordered,
        timeout=parallel.timeout if backend.supports_timeout else None,
        managed=parallel._managed_backend,
        credit=Credit(
            backend.look_ahead if is_default and not window else 0,
            backend.look_ahead_within,
            n_jobs,
        ),
        dispatch=parallel.dispatch_one_batch if watched else None,
        progress=None if silent else parallel.print_progress,
    )
    run.divisible = divisible
    if traced is not None:
        run.trace(traced)
    return run, (fixed or 1) if runs_inline else 0
