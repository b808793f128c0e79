"""The backend for clusters of dask.distributed."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from datetime import timedelta
from typing import Any

from .._backends.base import FallbackToBackend, ParallelBackendBase
from .._backends.outgoing import check_tasks
from .._backends.sequential import SequentialBackend
from .._captured import unwrap
from .._engine.controls import RETRY_ON
from .clients import (
    check_submit_options,
    count_cores,
    find_client,
    find_client_in_task,
    require_dask,
    seconds_of,
    shares_process,
    wait_for_worker,
)
from .collecting import Lost
from .counting import jobs_on
from .courier import Courier
from .losses import is_killed
from .orders import Orders, holds_resources
from .own_work import OwnWork, is_callers, may_work
from .packing import Results, load_results, teach_dask
from .scattering import check_scatter, scatter_all
from .sizing import WorkerTimedBatches
from .slots import SlotReleased
from .timing import options_for

ABORTED = "The call that it was part of was aborted."


class DaskDistributedBackend(WorkerTimedBatches, ParallelBackendBase):
    """Runs tasks on the workers of a dask.distributed cluster.

    Parameters
    ----------
    scheduler_host : str, optional
        Address of the scheduler, such as ``"tcp://10.0.0.1:8786"``. A client
        already connected to it is used, else one is made, and closed with the
        backend. When left out: the current client, and inside a task the
        cluster on which it runs.
    scatter : list or tuple, optional
        Objects to send to all workers beforehand; tasks that have one of these
        very objects as an argument find it there. Other large arguments are
        sent when they are met.
    client : distributed.Client, optional
        The client to use.
    loop : tornado.ioloop.IOLoop, optional
        Event loop for a client that is made here.
    wait_for_workers_timeout : float, str or timedelta, default=10
        Seconds to wait for the first worker; 0 not to wait. A call whose cluster has
        lost all its workers waits that long for new ones, but at least five minutes;
        ``float("inf")`` has it wait for ever.
    **submit_kwargs : dict
        Keywords of ``Client.submit`` for every task: ``workers``, ``resources``,
        ``retries``, ``priority``, ``allow_other_workers``, ``fifo_timeout``; and
        ``key``, with which the keys of all tasks begin. They hold for the calls of
        tasks, too, but for ``resources``: a task keeps its own while it waits.

    Raises
    ------
    ValueError
        If dask is not installed, there is no client to use, or
        `wait_for_workers_timeout` is no time.
    TypeError
        If `scatter` is not a list or tuple, or dask knows no such keyword.
    """

    default_n_jobs = -1
    supports_inner_max_num_threads = False
    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True
    supports_task_timeout = True
    runs_single_job_inline = False
    # There and back takes some hundredths of a second. Batches that are back within
    # a quarter of one are a moment's work, however many of them there are.
    look_ahead = 64
    look_ahead_within = 0.25

    def __init__(
        self,
        scheduler_host: str | None = None,
        scatter: list[Any] | tuple[Any, ...] | None = None,
        client: Any = None,
        loop: Any = None,
        wait_for_workers_timeout: float | str | timedelta | None = 10,
        **submit_kwargs: Any,
    ) -> None:
        nesting_level = submit_kwargs.pop("nesting_level", None)
        super().__init__(nesting_level=nesting_level)
        require_dask()
        check_scatter(scatter)
        check_submit_options(submit_kwargs)
        if isinstance(submit_kwargs.get("workers"), int):  # its name
            submit_kwargs["workers"] = [submit_kwargs["workers"]]
        seconds_of(wait_for_workers_timeout)  # or ValueError, now and not in a call
        found, made = find_client(client, scheduler_host, loop)
        if made:
            weakref.finalize(self, found.close)
        self._set_up(found, scatter, wait_for_workers_timeout, submit_kwargs)

    def _set_up(
        self,
        client: Any,
        scatter: list[Any] | tuple[Any, ...] | None,
        wait_for_workers_timeout: float | str | timedelta | None,
        submit_kwargs: dict[str, Any],
    ) -> None:
        self._client = client
        self.wait_for_workers_timeout = wait_for_workers_timeout
        self.submit_kwargs = submit_kwargs
        # kept, for futures are found by the id of their object
        self._scatter = list(scatter or ())
        self._given: dict[int, Any] | None = None
        # Reentrant: the garbage collector may end a forgotten generator's call at
        # any point, on a thread that is here for another one.
        self._lock = threading.RLock()
        # by the call they serve: several may be under way at once, such as two
        # generators in one context
        self._couriers: dict[Any, Courier] = {}
        # n_jobs as it was asked for, by the `Parallel` that asked
        self._asked: weakref.WeakKeyDictionary[Any, int | None] = (
            weakref.WeakKeyDictionary()
        )
        self._context: contextvars.Context | None = None
        # in a task, what its call knew: the scheduler need not be waited for
        self._told_cores = 0
        # in a task, whether one that waits for its call holds resources
        self._under_resources = False

    # ------------------------------------------------- across the cluster
    def _for_tasks(self) -> DaskDistributedBackend:
        """Return this backend as tasks get it: with the client of their worker."""
        other = type(self).__new__(type(self))
        # Levels are counted so that threads in threads do not crowd a process. A
        # task on a cluster has its worker's slot to itself, however deep it is.
        ParallelBackendBase.__init__(other, nesting_level=0)
        options = dict(self.submit_kwargs)
        # A task keeps its resources while it waits for tasks of its own; if those
        # needed the same ones, they might wait for each other for ever.
        options.pop("resources", None)
        other._set_up(None, None, self.wait_for_workers_timeout, options)
        other._told_cores = self._count_cores()
        other._under_resources = self._under_resources or holds_resources(
            self.submit_kwargs
        )
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.nesting_level, self.wait_for_workers_timeout, self.submit_kwargs)
        told = self._told_cores, self._under_resources
        return _arrive, (type(self), *state, *told)

    @property
    def client(self) -> Any:
        """The client; in a task it is looked for when it is first needed."""
        if self._client is None:
            self._client = find_client_in_task(self._context)
        return self._client

    # ---------------------------------------------------- around a call
    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks the cluster runs at once for `n_jobs`.

        As many as the workers have threads, at most `n_jobs` of them if that is
        positive; ``-2`` means all but one. 0 if there is no worker.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs == 1:
            return 1
        cores = self._count_cores()
        if cores == 0 and self.wait_for_workers_timeout:
            limit = seconds_of(self.wait_for_workers_timeout)
            wait_for_worker(self.client, limit, self.submit_kwargs)
            cores = self._count_cores()
        return jobs_on(cores, n_jobs)

    def _count_cores(self) -> int:
        workers = self.submit_kwargs.get("workers")
        # if told, the call's courier will ask
        return count_cores(self.client, workers, self._told_cores)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        **backend_kwargs: Any,
    ) -> int:
        """Find the workers; a call for one job is run by the caller itself."""
        effective = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self.serve(effective)
        if parallel is not None:
            self._asked[parallel] = n_jobs
        return effective

    def stop_call(self) -> None:
        """Let the threads and the data on the cluster of ended calls go."""
        for call, courier in self._take_ended():
            # It may be another call's, given up a moment ago on its own thread,
            # that will find nothing to abort any more.
            if getattr(call, "aborting", False):
                courier.abort(RuntimeError(ABORTED))
            else:
                courier.close()

    def terminate(self) -> None:
        """Start anew with the size of batches."""
        self.stop_call()
        self.reset_batch_stats()
        if not self._couriers:
            # No cycle, in which what was scattered by hand would stay on the
            # cluster until the garbage collector comes by.
            self.parallel = None

    def leave_context(self) -> None:
        """Free what was scattered by hand, whoever may keep this backend.

        An error does, by the frames that it went through.
        """
        with self._lock:
            if self._couriers or not self._given:
                return
            given, self._given = self._given, None
        given.clear()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel the tasks of given-up calls and release all they hold."""
        for _, courier in self._take_ended():
            courier.abort(RuntimeError(ABORTED))

    def _take_ended(self) -> list[tuple[Any, Courier]]:
        with self._lock:
            ended = [
                call
                for call in list(self._couriers)
                if not getattr(call, "active", False)
            ]
            taken = [(call, self._couriers.pop(call, None)) for call in ended]
        return [(call, courier) for call, courier in taken if courier is not None]

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """Return the same cluster, all of it."""
        return self._for_tasks(), -1

    def retrieval_context(self) -> AbstractContextManager[Any]:
        """Return a context in which a task does not hold a slot of its worker.

        As long as there are batches for it, it works in its slot before.
        """
        with self._lock:
            couriers = list(self._couriers.items())
        for _, courier in couriers:
            courier.flush()  # the caller waits: there are no more first batches
        for call, courier in reversed(couriers):
            if is_callers(call) and getattr(call, "active", False):
                # not if it still reads its iterable, in which there is a call
                if courier.works and call.draining:
                    return _working_first(call, courier)
                break
        return SlotReleased()

    # ---------------------------------------------------- around a batch
    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Give a batch to the call's courier."""
        check_tasks(func)
        call = getattr(callback, "run", None)
        here = threading.current_thread()
        if isinstance(here, Courier) and here.call is call:
            # not looked for, lest a late one finds none and hires another
            courier = here
        else:
            with self._lock:
                found = self._couriers.get(call)
            courier = found or self._hire(call, getattr(callback, "parallel", None))
        courier.submit(func, callback or _ignore)

    def _hire(self, call: Any, parallel: Any) -> Courier:
        client = self.client
        teach_dask()
        in_process = shares_process(client)
        given = self._given  # which a context that ends on another thread may take
        if given is None:
            named = self._scatter
            given = scatter_all(client, named, in_process) if named else {}
            self._given = given
        controls = options_for(getattr(parallel, "_controls", None))
        n_jobs = None if parallel is None else self._asked.get(parallel)
        works = may_work(call, parallel, client, self.submit_kwargs)
        self.divided = getattr(call, "divisible", False)
        sizes = self if self.divided else None
        context = self._context or copy_context()
        courier = Courier(
            call,
            client,
            given,
            Orders({**self.submit_kwargs, **controls}, self._under_resources),
            n_jobs,
            self._count_cores(),
            in_process,
            seconds_of(self.wait_for_workers_timeout),
            None if call is None else self,
            OwnWork(in_process, context, sizes) if works else None,
        )
        with self._lock:
            self._couriers[call] = courier
        courier.start()
        if call is not None and not getattr(call, "active", True):
            # It was given up meanwhile, and nobody will come for this courier.
            with self._lock:
                self._couriers.pop(call, None)
            courier.abort(RuntimeError(ABORTED))
        return courier

    @property
    def divides_batches(self) -> bool:  # type: ignore[override]
        """Whether batches are divided. dask would try again what others have done."""
        import dask

        annotations = dask.get_annotations()  # type: ignore[attr-defined]
        return "retries" not in annotations and "retries" not in self.submit_kwargs

    def ends_call(self, out: Any) -> bool:
        """Tell whether a batch was called off, and did not fail by itself."""
        return type(out) is Lost and out.cancelled

    def may_be_innocent(self, error: BaseException) -> bool:
        """Tell whether a task's workers were killed, be it by another task on them."""
        return is_killed(error)

    def retries_by_itself(self, retry_on: tuple[type[BaseException], ...]) -> bool:
        """Tell whether dask is to try again: it does so whatever a task raises."""
        return retry_on == RETRY_ON

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the results of a batch, or raise what happened to it."""
        if type(out) is Lost:
            try:
                raise out.error
            finally:
                out = None  # the error refers to this frame: no cycle through it
        results = out[0]
        if isinstance(results, Results):
            results = load_results(results)
        return unwrap(results)


@contextmanager
def _working_first(call: Any, courier: Courier) -> Iterator[None]:
    courier.work(call)
    with call.condition:
        waits = not call.drained()
    with SlotReleased() if waits else nullcontext():
        yield


def _ignore(out: Any) -> None:
    """Stand in for a callback nobody gave."""


def _arrive(
    cls: type[DaskDistributedBackend],
    nesting_level: int | None,
    wait_for_workers_timeout: float | str | timedelta | None,
    submit_kwargs: dict[str, Any],
    told_cores: int = 0,
    under_resources: bool = False,
) -> DaskDistributedBackend:
    """Rebuild a backend where its pickle arrived: it will use the client there."""
    backend = cls.__new__(cls)
    ParallelBackendBase.__init__(backend, nesting_level=nesting_level)
    backend._set_up(None, None, wait_for_workers_timeout, submit_kwargs)
    backend._context = contextvars.copy_context()
    backend._told_cores = told_cores
    backend._under_resources = under_resources
    return backend
