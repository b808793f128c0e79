"""`Parallel`: a loop of independent tasks, on whatever there is to run them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import _parallel_backends
from ._backends.base import FallbackToBackend, ParallelBackendBase
from ._cpu import cpu_count
from ._engine.ask import (
    effective_n_jobs,
    explain_backend,
    get_active_backend,
    select_for_call,
    tell_override,
)
from ._engine.batch import BatchedCalls, delayed
from ._engine.config import parallel_backend, parallel_config
from ._engine.context import DEFAULTS as default_parallel_config
from ._engine.context import _backend, current, setting
from ._engine.controls import NOT_GIVEN, controls_of
from ._engine.forwarding import (
    forward_context,
    register_task_context,
    unregister_task_context,
)
from ._engine.holding import BackendHolder
from ._engine.job import TASK_DONE, TASK_ERROR, TASK_PENDING, Job
from ._engine.launch import make_run
from ._engine.options import (
    check_return_as,
    checked_batch_size,
    checked_iterator,
    checked_n_jobs,
    checked_return_as,
    start_method_option,
)
from ._engine.registry import ANNOUNCED as EXTERNAL_BACKENDS
from ._engine.registry import BACKENDS
from ._engine.resolve import VALID_BACKEND_CONSTRAINTS, VALID_BACKEND_HINTS
from ._engine.retrieval import collect, inline, stream
from ._engine.run import Run
from ._engine.seeds import task_seed
from ._engine.select import (
    MAYBE_AVAILABLE_BACKENDS,
    DefaultNames,
    set_default_names,
)
from ._utils import eval_expr
from .disk import memstr_to_bytes
from .logger import short_format_time

if TYPE_CHECKING:
    from ._parallel_backends import (
        AutoBatchingMixin,
        LokyBackend,
        MultiprocessingBackend,
        SequentialBackend,
        ThreadingBackend,
    )

# Other projects assign to these: they are read from here at each use.
DEFAULT_BACKEND = (
    "threading" if os.environ.get("JOBLIB_MULTIPROCESSING") == "0" else "loky"
)
DEFAULT_THREAD_BACKEND = "threading"
DEFAULT_PROCESS_BACKEND = "loky"
#: the multiprocessing context where none is named; None for the platform's own
DEFAULT_MP_CONTEXT: Any = None


def __getattr__(name: str) -> Any:
    # The backends' classes and what else imports multiprocessing: when asked for.
    if name.startswith("__") or not hasattr(_parallel_backends, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_parallel_backends, name)
    return value


# whoever selects a backend reads them here
set_default_names(
    lambda: DefaultNames(
        DEFAULT_BACKEND, DEFAULT_THREAD_BACKEND, DEFAULT_PROCESS_BACKEND
    )
)


def register_parallel_backend(
    name: str, factory: Any, make_default: bool = False
) -> None:
    """Make a backend known by a name.

    Parameters
    ----------
    name : str
        What users write: ``parallel_config(name)``, ``Parallel(backend=name)``.
    factory : callable
        Returns an instance of `ParallelBackendBase`; usually the class itself.
    make_default : bool, default=False
        Use it where neither call nor context names a backend.
    """
    BACKENDS[name] = factory
    if make_default:
        global DEFAULT_BACKEND
        DEFAULT_BACKEND = name


class BatchCompletionCallBack(Job):
    """What a backend calls when a batch is done; one for each batch.

    Other projects replace this class in `joblib.parallel` by a subclass, to
    count ``self.batch_size`` tasks in ``__call__``.
    """


class Parallel(BackendHolder):
    """Run tasks at once, on threads, processes or a cluster; return their results.

    Called with an iterable of tasks made by `delayed`. Which backend runs them
    is settled by what the call prefers and requires, and by what its user has
    set around it with `parallel_config`; see `explain_backend`.

    Parameters
    ----------
    n_jobs : int, optional
        How many tasks run at once; -1 for all cores, -2 for all but one, and
        so on. None (the default) takes the context's number, else 1. With 1
        the tasks run in the caller, one after the other.
    backend : str, ParallelBackendBase or multiprocessing context, optional
        The backend, if it must be this one and no other. Libraries should pass
        `prefer` or `require` instead, and leave the choice to their users.
    return_as : {"list", "generator", "generator_unordered"}, default="list"
        A list of all results in order; or a generator that yields them in
        order, each as soon as it is there; or one that yields them as they
        come. A generator that is closed or collected cancels what is left.
    verbose : int, default=0
        0 is silent; the higher, the more progress messages; over 10 one for
        each batch; over 50 they go to stdout instead of stderr.
    timeout : float, optional
        Seconds that the task next in line may keep the caller waiting; then
        the call is aborted with a TimeoutError. Not used with ``n_jobs=1``.
    pre_dispatch : {"all"}, int or str, default="2 * n_jobs"
        How many tasks are taken from the iterable at the start; after that,
        one batch for each that is done. A string may hold arithmetic.
    batch_size : {"auto"} or int, default="auto"
        How many tasks are sent to a worker at once. "auto" starts with one
        and grows while batches take much less than half a second.
    temp_folder : str, optional
        Where large arrays are written for worker processes to map. By default
        the first that will do of: ``JOBLIB_TEMP_FOLDER``, ``/dev/shm``, the
        system's folder for temporary files.
    max_nbytes : int, str or None, default="1M"
        Arrays larger than this, in bytes or with a suffix K, M or G, are
        mapped instead of copied into worker processes; None switches it off.
    mmap_mode : {None, "r+", "r", "w+", "c"}, default="r"
        How worker processes map these arrays.
    prefer : {"processes", "threads", None}, optional
        Which kind of worker is faster for these tasks. A wish: a backend that
        the user has set goes before it.
    require : {"sharedmem", None}, optional
        "sharedmem" if the result is right only when the tasks change the
        caller's own objects. Holds whatever the user has set.
    on_error : {"raise", "return"}, default="raise"
        "raise" ends the call with the first error of a task. With "return" the
        exception takes the place of the task's result, its traceback as text in its
        ``__cause__``, and the others run on; so it does if a worker dies that ran the
        task. Errors of the iterable, or of the backend as a whole, are raised.
    task_timeout : float, optional
        Seconds that each task may run, from its start on its worker; then its worker
        process is replaced, and the task fails with a TimeoutError. On dask it is
        given up. A ValueError with threads and ``n_jobs=1``, where nothing can stop a
        function. (`timeout` is about how long the caller waits.)
    retries : int, default=0
        How often a task that has failed is tried again, by an exception of its own,
        a `task_timeout` or the death of its worker.
    retry_on : type or tuple of type, default=Exception
        The exceptions that `retries` is for; others fail the task at once.
    max_pending_results : int, optional
        How many tasks a generator may have given out whose results have not been
        taken: the iterable is not read further ahead, and no more results wait.
        Workers may idle if it is less than `n_jobs`. Default: no bound.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Each task gets a child of it by its number; see `task_seed`. Default: none.
    progress : bool, str or callable, default=False
        True or a label shows a bar of the tasks that are done: tqdm's where that is
        installed, else a line on stderr. A callable gets ``(done, total, seconds)``
        after each batch that is done, one call at a time; `total` is None while it is
        not known. An error in it ends the call.
    **backend_kwargs
        Passed to the backend's ``configure``.

    Raises
    ------
    ValueError
        For an argument that is not one of those allowed.
    TypeError
        If called with something that is not iterable.

    See Also
    --------
    parallel_config : What a user sets around calls.

    Examples
    --------
    >>> from math import sqrt
    >>> from joblib import Parallel, delayed
    >>> Parallel(n_jobs=2, prefer="threads")(delayed(sqrt)(i**2) for i in range(4))
    [0.0, 1.0, 2.0, 3.0]

    Results one by one:

    >>> parallel = Parallel(n_jobs=2, prefer="threads", return_as="generator")
    >>> for root in parallel(delayed(sqrt)(i**2) for i in range(3)):
    ...     print(root)
    0.0
    1.0
    2.0
    """

    def __init__(
        self,
        n_jobs: Any = default_parallel_config["n_jobs"],
        backend: Any = default_parallel_config["backend"],
        return_as: str = "list",
        verbose: Any = default_parallel_config["verbose"],
        timeout: float | None = None,
        pre_dispatch: Any = "2 * n_jobs",
        batch_size: Any = "auto",
        temp_folder: Any = default_parallel_config["temp_folder"],
        max_nbytes: Any = default_parallel_config["max_nbytes"],
        mmap_mode: Any = default_parallel_config["mmap_mode"],
        prefer: Any = default_parallel_config["prefer"],
        require: Any = default_parallel_config["require"],
        on_error: Any = NOT_GIVEN,
        task_timeout: Any = NOT_GIVEN,
        retries: Any = NOT_GIVEN,
        retry_on: Any = NOT_GIVEN,
        max_pending_results: Any = NOT_GIVEN,
        seed: Any = NOT_GIVEN,
        progress: Any = NOT_GIVEN,
        **backend_kwargs: Any,
    ) -> None:
        super().__init__()
        config = current()
        self.verbose = setting(verbose, config, "verbose")
        self.timeout = timeout
        self.pre_dispatch = pre_dispatch
        self.batch_size = checked_batch_size(batch_size)
        self.return_as = checked_return_as(return_as)
        self.return_generator = return_as != "list"
        self.return_ordered = return_as != "generator_unordered"
        self._controls = controls_of(
            config,
            return_as,
            {
                "on_error": on_error,
                "task_timeout": task_timeout,
                "retries": retries,
                "retry_on": retry_on,
                "max_pending_results": max_pending_results,
                "seed": seed,
                "progress": progress,
            },
        )

        chosen, extra = select_for_call(n_jobs, backend, prefer, require)
        tell_override(chosen, self.verbose)
        self._reason = chosen.reason
        self._backend = chosen.backend
        check_return_as(self._backend, self.return_as)
        self.n_jobs = checked_n_jobs(chosen.n_jobs)

        max_nbytes = setting(max_nbytes, config, "max_nbytes")
        self._backend_kwargs = {
            **start_method_option(self._backend, DEFAULT_MP_CONTEXT),
            **backend_kwargs,
            "max_nbytes": (
                memstr_to_bytes(max_nbytes)
                if isinstance(max_nbytes, str)
                else max_nbytes
            ),
            "temp_folder": setting(temp_folder, config, "temp_folder"),
            "mmap_mode": setting(mmap_mode, config, "mmap_mode"),
            "prefer": setting(prefer, config, "prefer"),
            "require": setting(require, config, "require"),
            "verbose": max(0, self.verbose - 50),
            **extra,
        }

        self._gate = threading.Lock()

    # ---------------------------------------------------------------- a call
    def __call__(self, iterable: Iterable[Any]) -> Any:
        """Run the tasks of `iterable`; return their results.

        Parameters
        ----------
        iterable : iterable of task
            Usually ``delayed(function)(argument) for argument in ...``.

        Returns
        -------
        list or generator
            As `return_as` says.

        Raises
        ------
        RuntimeError
            If this object is running another call.
        """
        if not self._gate.acquire(blocking=False):
            raise RuntimeError(_ALREADY_RUNNING)
        try:
            if self._run is not None:
                if not self._run.ended:
                    raise RuntimeError(_ALREADY_RUNNING)
                self._run.wait_until_over()
            run, inline_size = self._make_run(iterable)
            self._run = run
        finally:
            self._gate.release()

        if inline_size:
            outputs = inline(run, inline_size)
        elif self.return_generator:
            outputs = stream(run)
        else:
            return collect(run)
        next(outputs)  # the tasks are under way before this returns
        return outputs if self.return_generator else list(outputs)

    def _make_run(self, iterable: Iterable[Any]) -> tuple[Run, int]:
        """Return the call's state, and the batch size if it runs in the caller."""
        iterator = checked_iterator(iterable)
        managed = self._managed_backend
        n_jobs = self._effective_n_jobs() if managed else self._initialize_backend()
        backend = self._backend
        if n_jobs == 0:
            if not managed:
                self._give_back(backend)
            raise RuntimeError(
                f"{type(backend).__name__} has no active worker. Start one, or use "
                "another backend."
            )
        try:
            self.n_tasks = len(iterable) if hasattr(iterable, "__len__") else None
            return make_run(self, iterator, n_jobs, BatchCompletionCallBack)
        except BaseException:
            if not managed:
                self._give_back(backend)
            raise


_ALREADY_RUNNING = (
    "This Parallel instance is already running: take all results of its last call, "
    "or close the generator that yields them, before you call it again."
)


__all__ = [
    "BACKENDS",
    "DEFAULT_BACKEND",
    "DEFAULT_MP_CONTEXT",
    "DEFAULT_PROCESS_BACKEND",
    "DEFAULT_THREAD_BACKEND",
    "EXTERNAL_BACKENDS",
    "MAYBE_AVAILABLE_BACKENDS",
    "TASK_DONE",
    "TASK_ERROR",
    "TASK_PENDING",
    "VALID_BACKEND_CONSTRAINTS",
    "VALID_BACKEND_HINTS",
    "AutoBatchingMixin",
    "BatchCompletionCallBack",
    "BatchedCalls",
    "FallbackToBackend",
    "LokyBackend",
    "MultiprocessingBackend",
    "Parallel",
    "ParallelBackendBase",
    "SequentialBackend",
    "ThreadingBackend",
    "_backend",
    "cpu_count",
    "default_parallel_config",
    "delayed",
    "effective_n_jobs",
    "eval_expr",
    "explain_backend",
    "forward_context",
    "get_active_backend",
    "parallel_backend",
    "parallel_config",
    "register_parallel_backend",
    "register_task_context",
    "short_format_time",
    "task_seed",
    "unregister_task_context",
]
