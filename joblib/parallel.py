"""`Parallel`: a loop of independent tasks, on whatever there is to run them."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ._backends.base import FallbackToBackend, ParallelBackendBase
from ._cpu import cpu_count
from ._engine.batch import BatchedCalls, Plan, delayed
from ._engine.claims import claim, release
from ._engine.config import parallel_backend, parallel_config
from ._engine.context import DEFAULTS as default_parallel_config
from ._engine.context import (
    WRAPPERS,
    _backend,
    current,
    level_of,
    setting,
)
from ._engine.progress import Snapshot, progress_line
from ._engine.registry import ANNOUNCED as EXTERNAL_BACKENDS
from ._engine.registry import BACKENDS, load_target
from ._engine.resolve import VALID_BACKEND_CONSTRAINTS, VALID_BACKEND_HINTS
from ._engine.retrieval import collect, inline, stream, warn_early_exit
from ._engine.run import TASK_DONE, TASK_ERROR, TASK_PENDING, Job, Run, State
from ._engine.select import (
    MAYBE_AVAILABLE_BACKENDS,
    BackendChoice,
    DefaultNames,
    Selection,
    named_backend,
    select,
)
from ._engine.source import Source, initial_tasks
from ._utils import _Sentinel, eval_expr
from .disk import memstr_to_bytes
from .logger import Logger, short_format_time

if TYPE_CHECKING:
    from ._backends.autobatch import AutoBatchingMixin
    from ._backends.loky import LokyBackend
    from ._backends.multiprocessing import MultiprocessingBackend
    from ._backends.sequential import SequentialBackend
    from ._backends.threads import ThreadingBackend

# Other projects assign to these: they are read from here at each use.
DEFAULT_BACKEND = (
    "threading" if os.environ.get("JOBLIB_MULTIPROCESSING") == "0" else "loky"
)
DEFAULT_THREAD_BACKEND = "threading"
DEFAULT_PROCESS_BACKEND = "loky"
#: the multiprocessing context where none is named; None for the platform's own
DEFAULT_MP_CONTEXT: Any = None

#: loaded when first asked for: most of them import multiprocessing
_LATE = {
    "AutoBatchingMixin": "joblib._backends.autobatch:AutoBatchingMixin",
    "LokyBackend": "joblib._backends.loky:LokyBackend",
    "MultiprocessingBackend": "joblib._backends.multiprocessing:MultiprocessingBackend",
    "SequentialBackend": "joblib._backends.sequential:SequentialBackend",
    "ThreadingBackend": "joblib._backends.threads:ThreadingBackend",
    "TimeoutError": "multiprocessing:TimeoutError",
    "loky": "joblib.externals:loky",
    "mp": "joblib._multiprocessing_helpers:mp",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        value = load_target(_LATE[name])
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _names() -> DefaultNames:
    return DefaultNames(
        DEFAULT_BACKEND, DEFAULT_THREAD_BACKEND, DEFAULT_PROCESS_BACKEND
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


def get_active_backend(
    prefer: Any = default_parallel_config["prefer"],
    require: Any = default_parallel_config["require"],
    verbose: Any = default_parallel_config["verbose"],
) -> tuple[Any, Any]:
    """Return the backend and n_jobs of a call that names neither.

    Parameters
    ----------
    prefer : {"processes", "threads", None}, optional
        As in `Parallel`.
    require : {"sharedmem", None}, optional
        As in `Parallel`.
    verbose : int, default=0
        From 10 on, say so when `require` overrides the context's backend.

    Returns
    -------
    backend : ParallelBackendBase
    n_jobs : int
        The context's, or the backend's default; None where the context says
        None.
    """
    config = current()
    chosen = select(config, _names(), prefer=prefer, require=require)
    _tell_override(chosen, setting(verbose, config, "verbose"))
    return chosen.backend, chosen.n_jobs


def effective_n_jobs(n_jobs: int | None = -1) -> int:
    """Return how many tasks would run at once, given the context.

    Parameters
    ----------
    n_jobs : int, default=-1
        What a call would ask for; None for the context's own number.

    Returns
    -------
    int

    Examples
    --------
    >>> from joblib import effective_n_jobs, parallel_config
    >>> with parallel_config("threading", n_jobs=3):
    ...     effective_n_jobs(None)
    3
    """
    if n_jobs == 1:
        return 1
    backend, context_n_jobs = get_active_backend()
    count: int = backend.effective_n_jobs(context_n_jobs if n_jobs is None else n_jobs)
    return count


def explain_backend(
    n_jobs: Any = default_parallel_config["n_jobs"],
    backend: Any = default_parallel_config["backend"],
    prefer: Any = default_parallel_config["prefer"],
    require: Any = default_parallel_config["require"],
) -> BackendChoice:
    """Tell which backend would serve a call of `Parallel` here, and why.

    Parameters
    ----------
    n_jobs, backend, prefer, require
        What the call would be given.

    Returns
    -------
    BackendChoice
        With the attributes ``backend`` (its class name), ``n_jobs``, ``reason``
        (a sentence) and ``row`` (of the table in the user guide).

    Raises
    ------
    ValueError
        As `Parallel` would.

    Examples
    --------
    >>> from joblib import explain_backend, parallel_config
    >>> with parallel_config("threading", n_jobs=2):
    ...     print(explain_backend(prefer="processes"))
    ThreadingBackend, n_jobs=2. Using ThreadingBackend: the context names it; \
prefer='processes' yields to it.
    """
    chosen, _ = _select_for_call(n_jobs, backend, prefer, require)
    return BackendChoice(
        type(chosen.backend).__name__, chosen.n_jobs, chosen.reason, chosen.decision.row
    )


def _select_for_call(
    n_jobs: Any, backend: Any, prefer: Any, require: Any
) -> tuple[Selection, dict[str, Any]]:
    config = current()
    named, extra = None, {}
    if backend is not None and not isinstance(backend, _Sentinel):
        named, extra = named_backend(
            backend, {"nesting_level": level_of(config)}, DEFAULT_THREAD_BACKEND
        )
    asked = None if isinstance(n_jobs, _Sentinel) else n_jobs
    return select(config, _names(), named, asked, prefer, require), extra


def _tell_override(chosen: Selection, verbose: int) -> None:
    if verbose >= 10 and chosen.decision.row == 4:
        print(chosen.reason)


class BatchCompletionCallBack(Job):
    """What a backend calls when a batch is done; one for each batch.

    Other projects replace this class in `joblib.parallel` by a subclass, to
    count ``self.batch_size`` tasks in ``__call__``.
    """


class Parallel(Logger):
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
        **backend_kwargs: Any,
    ) -> None:
        super().__init__()
        config = current()
        self.verbose = setting(verbose, config, "verbose")
        self.timeout = timeout
        self.pre_dispatch = pre_dispatch
        self.batch_size = _checked_batch_size(batch_size)
        self.return_as = _checked_return_as(return_as)
        self.return_generator = return_as != "list"
        self.return_ordered = return_as != "generator_unordered"

        chosen, extra = _select_for_call(n_jobs, backend, prefer, require)
        _tell_override(chosen, self.verbose)
        self._reason = chosen.reason
        self._backend = chosen.backend
        if self.return_generator and not self._backend.supports_return_generator:
            raise ValueError(
                f"Backend {self._backend} does not support return_as={return_as}. Use "
                "return_as='list', or a backend that hands results over by its "
                "callback: 'loky', 'threading', 'dask'."
            )
        try:
            self.n_jobs = int(chosen.n_jobs)
        except (ValueError, TypeError):
            raise ValueError(
                f"n_jobs could not be converted to int: got {chosen.n_jobs!r}."
            ) from None

        max_nbytes = setting(max_nbytes, config, "max_nbytes")
        self._backend_kwargs = {
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
        self._add_process_context()

        #: backends that handed the calls on; their task wrappers still hold
        self._declined: list[Any] = []
        self._managed_backend = False
        self._run: Run | None = None
        self._gate = threading.Lock()
        self._start_time = 0.0
        self.n_tasks: int | None = None

    def _add_process_context(self) -> None:
        """Name the start method, for a backend that multiprocessing serves."""
        module = sys.modules.get("joblib._backends.multiprocessing")
        kind = getattr(module, "MultiprocessingBackend", None)
        if kind is not None and isinstance(self._backend, kind):
            from ._multiprocessing_helpers import mp

            if mp is not None and "context" not in self._backend_kwargs:
                method = os.environ.get("JOBLIB_START_METHOD", "").strip() or None
                self._backend_kwargs["context"] = DEFAULT_MP_CONTEXT or mp.get_context(
                    method
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_jobs={self.n_jobs})"

    # ----------------------------------------------- read by backends, recipes
    @property
    def _id(self) -> str:
        """A name for this object that no other one has, in any process."""
        name = self.__dict__.get("_unique_id")
        if name is None:
            from uuid import uuid4

            name = self.__dict__.setdefault("_unique_id", uuid4().hex)
        return str(name)

    @property
    def n_dispatched_batches(self) -> int:
        """Batches given out in the present or last call."""
        return self._run.n_dispatched_batches if self._run else 0

    @property
    def n_dispatched_tasks(self) -> int:
        """Tasks given out in the present or last call."""
        return self._run.n_dispatched_tasks if self._run else 0

    @property
    def n_completed_tasks(self) -> int:
        """Tasks completed in the present or last call."""
        return self._run.n_completed_tasks if self._run else 0

    @property
    def _iterating(self) -> bool:
        return self._run is not None and self._run.active and not self._run.exhausted

    @property
    def _aborting(self) -> bool:
        return self._run is not None and self._run.aborting

    # --------------------------------------------------------------- backend
    def _initialize_backend(self) -> int:
        """Have the backend made ready; return the effective number of jobs."""
        self._backend = claim(self._backend, self)
        try:
            n_jobs: int = self._backend.configure(
                n_jobs=self.n_jobs, parallel=self, **self._backend_kwargs
            )
        except FallbackToBackend as fallback:
            release(self._backend, self)
            self._declined.append(self._backend)
            self._backend = fallback.backend
            return self._initialize_backend()
        except BaseException:
            release(self._backend, self)
            raise
        if self.timeout is not None and not self._backend.supports_timeout:
            warnings.warn(
                f"The backend class {type(self._backend).__name__!r} does not support "
                f"timeout. You have set 'timeout={self.timeout}' in Parallel but the "
                "'timeout' parameter will not be used.",
                UserWarning,
                stacklevel=2,
            )
        return n_jobs

    def _give_back(self, backend: Any) -> None:
        """Let go of the workers, and of the backend."""
        try:
            backend.terminate()
        finally:
            release(backend, self)

    def _effective_n_jobs(self) -> int:
        n_jobs: int = self._backend.effective_n_jobs(self.n_jobs)
        return n_jobs

    def __enter__(self) -> Parallel:
        self._managed_backend = True
        try:
            self._initialize_backend()
        except BaseException:
            self._managed_backend = False
            raise
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        self._managed_backend = False
        run = self._run
        try:
            if run is not None and not run.ended:
                warn_early_exit(run)
                run.end()
        finally:
            self._give_back(self._backend)

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
        try:
            iter_or_error = iter(iterable)
        except TypeError:
            raise TypeError(
                f"{type(iterable).__name__!r} object is not iterable: Parallel is "
                "called with an iterable of tasks, such as "
                "(delayed(function)(x) for x in data)."
            ) from None
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
            return self._make_configured_run(iter_or_error, iterable, n_jobs, managed)
        except BaseException:
            if not managed:
                self._give_back(backend)
            raise

    def _make_configured_run(
        self, iterator: Any, iterable: Any, n_jobs: int, managed: bool
    ) -> tuple[Run, int]:
        backend = self._backend
        runs_inline = n_jobs == 1 and backend.runs_single_job_inline
        fixed = None if self.batch_size == "auto" else int(self.batch_size)
        # Tasks that run in the caller leave its context as it is.
        plan = Plan(
            None if runs_inline else backend.get_nested_backend(),
            current().get(WRAPPERS, ()),
            [b.wrap_task() for b in (*self._declined, backend)],
        )
        limit = None if runs_inline else initial_tasks(self.pre_dispatch, n_jobs)
        self.n_tasks = len(iterable) if hasattr(iterable, "__len__") else None
        self._start_time = time.time()
        if self.verbose > 0 and not runs_inline:
            if self.verbose >= 10:
                self._print(self._reason)
            self._print(
                f"Using backend {type(backend).__name__} with {n_jobs} "
                "concurrent workers."
            )
        run = Run(
            self,
            backend,
            Source(iterator, n_jobs, limit),
            BatchCompletionCallBack,
            batch_size=fixed,
            plan=plan,
            ordered=self.return_ordered,
            timeout=self.timeout if backend.supports_timeout else None,
            managed=managed,
            dispatch=(
                None
                if type(self).dispatch_one_batch is Parallel.dispatch_one_batch
                else self.dispatch_one_batch
            ),
            progress=(
                None
                if not self.verbose and type(self).print_progress is _PRINT_PROGRESS
                else self.print_progress
            ),
        )
        return run, (fixed or 1) if runs_inline else 0

    def dispatch_one_batch(self, iterator: Any) -> bool:
        """Give out one more batch; False when there is none. May be overridden.

        Parameters
        ----------
        iterator : object
            Where the tasks come from.
        """
        run = self._run
        return run is not None and run.dispatch_one()

    # -------------------------------------------------------------- messages
    def _print(self, msg: str) -> None:
        out = sys.stderr if self.verbose < 50 else sys.stdout
        out.write(f"[{self}]: {msg}\n")

    def print_progress(self) -> None:
        """Print how far the call is, as `verbose` says. May be overridden.

        Called on the thread that completes a batch, and at the end.
        """
        if not self.verbose:
            return
        run = self._run
        if run is None:
            return
        now = Snapshot(
            done=run.n_completed_tasks,
            dispatched=run.n_dispatched_batches,
            total=run.n_dispatched_tasks if run.exhausted else None,
            given_total=self.n_tasks,
            finished=run.state is State.DONE,
            elapsed=time.time() - self._start_time,
        )
        line = progress_line(now, self.verbose)
        if line is not None:
            self._print(line)


# Others replace the method on the class as well: told by the original.
_PRINT_PROGRESS = Parallel.print_progress

_ALREADY_RUNNING = (
    "This Parallel instance is already running: take all results of its last call, "
    "or close the generator that yields them, before you call it again."
)


def _checked_batch_size(batch_size: Any) -> Any:
    if batch_size == "auto" or (isinstance(batch_size, Integral) and batch_size > 0):
        return batch_size
    raise ValueError(
        f"batch_size must be 'auto' or a positive integer, got: {batch_size!r}"
    )


def _checked_return_as(return_as: Any) -> str:
    allowed = ("list", "generator", "generator_unordered")
    if return_as not in allowed:
        raise ValueError(f"return_as must be one of {allowed}, got: {return_as!r}")
    return str(return_as)


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
    "get_active_backend",
    "parallel_backend",
    "parallel_config",
    "register_parallel_backend",
    "short_format_time",
]
