"""The backend to which process backends hand the calls whose tasks are to be isolated."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .admission import count_workers, refuse_while_starting, workers_have_main
from .arrays import arrays_of_call
from .base import FallbackToBackend, ParallelBackendBase
from .delivery import Delivery
from .ending import remember
from .lanes import Crew, Worker
from .orphans import Start
from .scattered import scatter_of
from .transport import Transport

if TYPE_CHECKING:
    from ..parallel import Parallel


class IsolatedTasksBackend(ParallelBackendBase):
    """Runs each task so that what happens to its process happens to it alone.

    For calls with ``on_error="return"``, `task_timeout` or `retries`.

    Parameters
    ----------
    kind : {"loky", "multiprocessing"}
        Of which backend the processes are to be.
    **options
        As for `ParallelBackendBase`.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_task_timeout = True
    shares_machine = True

    _of_one_call = ("_crew", "_transport", "_new_crew", "parallel")

    _crew: Crew | None = None
    _transport: Transport | None = None
    _new_crew: Callable[[], Crew] | None = None

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self._kind = kind
        self._lock = threading.Lock()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of processes for a call made here; 1 where there are none."""
        is_loky = self._kind == "loky"
        return count_workers(
            n_jobs,
            self.nesting_level,
            label="Loky" if is_loky else "Multiprocessing",
            may_nest_in_loky=is_loky,
        )

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Parallel | None = None,
        prefer: str | None = None,
        require: str | None = None,
        **kwargs: Any,
    ) -> int:
        """Note what the processes are to be; they start with the tasks."""
        if n_jobs != 1:
            refuse_while_starting()
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            from .sequential import SequentialBackend

            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        options = {**self.backend_kwargs, **kwargs}
        env = self._prepare_worker_env(workers)
        start = Start(
            options.get("initializer"),
            options.get("initargs") or (),
            None if self._kind == "loky" else env,
        )
        make_process, main_by_reference = self._process_maker(options, env)
        self._transport = Transport(
            arrays_of_call(options), main_by_reference, scatter_of(options)
        )
        self._transport.watch_repeats(parallel)
        controls = getattr(parallel, "_controls", None)
        self._new_crew = partial(
            _new_crew,
            workers,
            partial(Worker, make_process, start),
            getattr(controls, "task_timeout", None),
        )
        return workers

    def _process_maker(
        self, options: dict[str, Any], env: dict[str, str]
    ) -> tuple[Callable[[Any, tuple[Any, ...]], Any], bool]:
        """Return what makes a process, and whether it has the main module."""
        if self._kind == "loky":
            from multiprocessing import resource_tracker

            from loky.backend.context import get_context

            resource_tracker.ensure_running()
            loky = get_context("loky")
            return partial(_loky_process, loky, env), False
        from .._multiprocessing_helpers import default_context

        context = options.get("context") or default_context()
        main = workers_have_main(context.get_start_method())
        return partial(_plain_process, context), main

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None
    ) -> Any:
        """Give a task to the first lane that is free."""
        assert self._transport is not None and self._new_crew is not None
        with self._lock:
            crew = self._crew
            if crew is None:
                crew = self._crew = self._new_crew()
        delivery = Delivery(self._transport.pack(func), callback)
        crew.put(delivery)
        return delivery

    def ends_call(self, out: Any) -> bool:
        """Tell whether no worker could be had, or all were shut down."""
        return bool(out.ends_call)

    def start_call(self) -> None:
        """Let go of workers that somebody has shut down since the last call."""
        super().start_call()
        if self._crew is not None and self._crew.is_closed:
            self._close(kill=True)

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the results, or raise the task's error."""
        return out.results()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the workers, and with them what is running and queued."""
        self._close(kill=True)

    def stop_call(self) -> None:
        """Say what a verbose call sent again and again."""
        if self._transport is not None:
            self._transport.tell_repeats(self.parallel, self._kind)

    def terminate(self) -> None:
        """End the workers."""
        self._close(kill=False)
        self._new_crew = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _close(self, kill: bool) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            atexit.unregister(crew.close)
            crew.close(kill)


def _new_crew(size: int, hire: Callable[[], Worker], time_limit: float | None) -> Crew:
    crew = Crew(size, hire, time_limit)
    remember(crew, Crew.close)
    # before multiprocessing waits for its processes, which it does at exit as well
    atexit.register(crew.close)
    return crew


def _loky_process(
    context: Any, env: dict[str, str], target: Any, args: tuple[Any, ...]
) -> Any:
    return context.Process(target=target, args=args, env=env)


def _plain_process(context: Any, target: Any, args: tuple[Any, ...]) -> Any:
    return context.Process(target=target, args=args, daemon=True)
