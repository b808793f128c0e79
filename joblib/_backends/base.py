"""The contract between one ``Parallel`` call and whatever runs its tasks.

The life of a batch, seen from a backend::

    configure -> start_call -> submit(batch, callback) ... -> stop_call -> terminate
                                  |
              worker runs batch() |   callback(out), exactly once
                                  v
                    retrieve_result_callback(out) -> results, or raises

Threads are named by a letter below: **C** is the thread that called
``Parallel``, **K** whichever thread the backend calls the callback on, **W**
the worker (a thread, a process, a machine). Every optional hook is declared
here as a method that does nothing: the engine never probes for one.
"""

from __future__ import annotations

import copy
import os
import threading
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from .._captured import unwrap
from .._engine.context import share_of_cores

if TYPE_CHECKING:
    from ..parallel import Parallel

#: ``wrapper(func, args, kwargs) -> result``, run on the worker around one task
TaskWrapper = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class FallbackToBackend(Exception):
    """Raised by `configure` to hand the call to another backend.

    Parameters
    ----------
    backend : ParallelBackendBase
        The backend that serves the call instead.
    """

    def __init__(self, backend: ParallelBackendBase) -> None:
        super().__init__(backend)
        self.backend = backend


class ParallelBackendBase(metaclass=ABCMeta):
    """What a backend must, and may, do to run the tasks of `Parallel`.

    A subclass must define `effective_n_jobs` and `submit`, and either
    `retrieve_result_callback` (with ``supports_retrieve_callback = True``) or
    give out job objects that have a ``get`` method. All else is optional.
    `joblib.testing.check_backend` holds a backend to this contract.

    Parameters
    ----------
    nesting_level : int, optional
        How many ``Parallel`` calls this one is nested in; 0 when None.
    inner_max_num_threads : int, optional
        Upper bound for the threads that native libraries (BLAS, OpenMP) use in
        each worker. Only for backends with `supports_inner_max_num_threads`.
    **backend_kwargs : dict
        Options kept in ``self.backend_kwargs`` for `configure`.
    """

    #: n_jobs of ``parallel_config(backend)`` when the user gave none
    default_n_jobs: ClassVar[int] = 1
    #: tasks see and change the caller's own objects
    supports_sharedmem: ClassVar[bool] = False
    #: workers are threads of the caller's process
    uses_threads: ClassVar[bool] = False
    #: the workers use the cores of the caller's machine: calls made inside the
    #: tasks that ask for all cores get a share of them
    shares_machine: ClassVar[bool] = False
    #: batches a worker that may be on their way in addition to the initial ones,
    #: while they come back within `look_ahead_within`: for backends that take about
    #: as long to send a batch as a short one takes to run. Where the user has given
    #: `pre_dispatch`, that alone counts
    look_ahead: ClassVar[int] = 0
    #: the seconds within which batches have to be back for `look_ahead` to count
    look_ahead_within: ClassVar[float] = 0.02
    #: the last batches, which shrink, do not become smaller, as long as there is one
    #: for each worker
    least_batch_size: int = 1
    #: a batch that takes much longer than was thought is divided among more workers:
    #: then one of the least size may hold all tasks that are left
    divides_batches: bool = False
    #: `inner_max_num_threads` is honoured
    supports_inner_max_num_threads: ClassVar[bool] = False
    #: results are taken from the callback by `retrieve_result_callback`, else by
    #: `retrieve_result` in the caller
    supports_retrieve_callback: ClassVar[bool] = False
    #: the workers are threads of this process that call `func` and pass what it
    #: returns or raises to the callback, and no more: the engine may then let them
    #: take tasks from the caller's iterable by themselves
    lets_workers_draw: ClassVar[bool] = False
    #: a task that takes longer than `task_timeout` is stopped, or at least given up,
    #: and `retrieve_result_callback` raises `TaskTimedOut` for it
    supports_task_timeout: ClassVar[bool] = False
    #: a call whose effective n_jobs is 1 runs in the calling thread; False for
    #: a backend whose one worker is elsewhere and is what the user asked for
    runs_single_job_inline: ClassVar[bool] = True

    #: names of the attributes that belong to the call being served, for `sibling`
    _of_one_call: ClassVar[tuple[str, ...]] = ()

    # class-level defaults, for subclasses that do not call our __init__
    nesting_level: int | None = None
    inner_max_num_threads: int | None = None
    parallel: Parallel | None = None

    #: environment variables by which native libraries size their thread pools
    MAX_NUM_THREADS_VARS: ClassVar[list[str]] = [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ]
    #: lets the TBB runtimes of several processes share the machine
    TBB_ENABLE_IPC_VAR: ClassVar[str] = "ENABLE_IPC"

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **backend_kwargs: Any,
    ) -> None:
        self.nesting_level = nesting_level
        self.inner_max_num_threads = inner_max_num_threads
        self.backend_kwargs = backend_kwargs

    # Plain attributes override these two in a subclass.
    @property
    def supports_return_generator(self) -> bool:
        """Whether ``return_as`` may be a generator: needs the retrieve callback."""
        return self.supports_retrieve_callback

    @property
    def supports_timeout(self) -> bool:
        """Whether ``timeout`` can be kept: needs the retrieve callback."""
        return self.supports_retrieve_callback

    # ---------------------------------------------------------- around a call
    @abstractmethod
    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks can run at once when `n_jobs` are asked for.

        On C, before `configure` or within it; must not block for long. Raises
        ValueError for ``n_jobs=0``.
        """

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Parallel | None = None,
        prefer: str | None = None,
        require: str | None = None,
        **backend_kwargs: Any,
    ) -> int:
        """Make the workers ready; return the effective number of jobs.

        On C, once per call or once per ``with Parallel()``; may block. May
        raise `FallbackToBackend`. Left out: keeps `parallel`.
        """
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def sibling(self) -> ParallelBackendBase:
        """Return what serves a call that begins while this object serves another.

        A context's backend is shared by the calls made within it, some of them
        at the same time: from several threads, or while a generator of results
        goes on. On the C of the second call; must not disturb the first. Left
        out: this very object, or a copy without the attributes that
        `_of_one_call` names, if it names any.
        """
        if not self._of_one_call:
            return self
        other = copy.copy(self)
        for name in self._of_one_call:
            other.__dict__.pop(name, None)
        return other

    def start_call(self) -> None:
        """Called on C before the first `submit` of a call. Left out: nothing."""

    def stop_call(self) -> None:
        """Called on C when a call ends, whichever way. Left out: nothing."""

    def terminate(self) -> None:
        """Give all workers back. On C, after a call or a ``with``; idempotent.

        Left out: nothing.
        """

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """Return ``(backend, n_jobs)`` for calls made inside the tasks.

        On C, once per call; the backend is pickled along with the tasks.
        Left out: threads one level down, then sequential.
        """
        level = (self.nesting_level or 0) + 1
        if level > 1:
            from .sequential import SequentialBackend

            return SequentialBackend(nesting_level=level), None
        from .threads import ThreadingBackend

        return ThreadingBackend(nesting_level=level), None

    # ---------------------------------------------------------- around a task
    def wrap_task(self) -> TaskWrapper | None:
        """Return what runs around each task on its worker, or None.

        On C, once per call. The wrapper is called as ``wrapper(func, args,
        kwargs)`` on W and returns the task's result, usually
        ``func(*args, **kwargs)`` between a setup and a teardown in ``finally``.
        It must be picklable where tasks are. If its setup fails, the task
        fails; an error of its teardown never hides the task's own. It stands
        inside the wrappers that users set by ``parallel_config(wrap_task=)``.
        Left out: none.
        """
        return None

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Start one batch: have ``func()`` run on a worker, then call back.

        On C or K, with no lock held; must not wait for the batch. `callback`
        is called exactly once with what `retrieve_result_callback` takes, on
        success and on failure; it may be called before `submit` returns.
        Returns a job object, or None. Left out: ``apply_async``, by which
        backends of older releases did the same.
        """
        if type(self).apply_async is ParallelBackendBase.apply_async:
            raise NotImplementedError(
                f"{type(self).__name__} must define submit(func, callback=None)."
            )
        warnings.warn(
            f"{type(self).__name__} defines `apply_async`, which is deprecated: "
            "rename it to `submit`.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.apply_async(func, callback)

    def apply_async(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Start one batch; the name that `submit` had in older releases."""
        raise NotImplementedError(
            f"{type(self).__name__} must define submit(func, callback=None)."
        )

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the batch's list of results, or raise the batch's error.

        On K, within the callback, given what the backend passed to it; must
        not block. Required with `supports_retrieve_callback`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} says supports_retrieve_callback=True and must "
            "define retrieve_result_callback(out)."
        )

    def retrieve_result(self, out: Any, timeout: float | None = None) -> Any:
        """Wait for one job and return its results, or raise its error.

        On C, with no lock held, only without `supports_retrieve_callback`.
        `timeout` is in seconds. Left out: ``out.get``.
        """
        got = out.get(timeout=timeout) if self.supports_timeout else out.get()
        # Backends that run batches in a wrapper of ours, which returns what the
        # batch raised, count on somebody to raise it.
        return unwrap(got)

    def ends_call(self, out: Any) -> bool:
        """Tell whether what went wrong concerns the whole call, and not one batch.

        On K, given what the backend passed to the callback; then the call ends with
        the error, whatever its ``on_error`` and ``retries`` are. Left out: False.
        """
        return False

    def may_be_innocent(self, error: BaseException) -> bool:
        """Tell whether a task may have failed by no fault of its own.

        On K; then, with ``on_error="return"``, it is run once more with no other
        beside it. Left out: False.
        """
        return False

    def retries_by_itself(self, retry_on: tuple[type[BaseException], ...]) -> bool:
        """Tell whether the backend sees to ``retries``; else the engine does.

        On C, once per call. Left out: False.
        """
        return False

    def compute_batch_size(self) -> int:
        """Return how many tasks the next batch should hold.

        On C or K, while the next batch is formed; must not block. Left out: 1.
        """
        return 1

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Learn that `batch_size` tasks took `duration` seconds since `submit`.

        On K, must not block. Left out: nothing.
        """

    def leave_context(self) -> None:
        """Let go of what was kept for the calls of a ``with`` block that ends.

        On C, once for each block that was given this backend; another one may follow,
        and calls whose results are taken later may be under way. Left out: nothing.
        """

    # --------------------------------------------------- waiting, and the end
    def retrieval_context(self) -> AbstractContextManager[Any]:
        """Return a context entered on C around its wait for results.

        A backend whose workers may not sit on their slot while they wait gives
        it up on entry and takes it back on exit, in ``finally``. Left out:
        nothing.
        """
        return nullcontext()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop what is queued and, where possible, what is running.

        Once per call, on an error, an interrupt, a timeout or a generator that
        is closed before its tasks have ended. With `ensure_ready` the backend must take new batches
        afterwards (the call was made within ``with Parallel()``). Left out:
        nothing.
        """

    # -------------------------------------------------------- for subclasses
    def _prepare_worker_env(self, n_jobs: int) -> dict[str, str]:
        """Return environment variables that keep n_jobs workers from crowding.

        Each worker's native thread pools get an equal share of the cores, or
        `inner_max_num_threads`; a variable that the user has set stays as it
        is unless `inner_max_num_threads` was asked for.
        """
        limit = self.inner_max_num_threads
        share = limit or max(share_of_cores() // max(n_jobs, 1), 1)
        env = {}
        for name in self.MAX_NUM_THREADS_VARS:
            present = os.environ.get(name) if limit is None else None
            if present and present.isdecimal() and self.nesting_level:
                # In a worker it is the outer call's share, which is divided further.
                present = str(min(int(present), share))
            env[name] = present or str(share)
        env.setdefault(
            self.TBB_ENABLE_IPC_VAR, os.environ.get(self.TBB_ENABLE_IPC_VAR, "1")
        )
        return env

    @staticmethod
    def in_main_thread() -> bool:
        """Whether the calling thread is the interpreter's main thread."""
        return threading.current_thread() is threading.main_thread()


def overrides(backend: object, hook: str) -> bool:
    """Whether a backend has its own version of an optional hook of the contract.

    For hooks on the way of every batch: one that does nothing is not called.
    """
    own = getattr(type(backend), hook, None)
    return own is not getattr(ParallelBackendBase, hook) or hook in vars(backend)
