"""The contract of `ParallelBackendBase` as checks that any backend can be held to.

A check takes a factory of backends and raises AssertionError where the backend
does not keep the contract.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..parallel import Parallel, delayed, parallel_config
from .tasks import (
    TaskError,
    Unpicklable,
    adding_wrapper,
    close_quietly,
    doubling_wrapper,
    fail_on_odd,
    failing_setup,
    failing_teardown,
    make_unpicklable,
    nested_sum,
    nothing,
    put_into,
    sleep_then,
    square,
)

#: returns a new backend at each call
Factory = Callable[[], Any]
Check = Callable[[Factory, int], None]

_CHECKS: list[Check] = []


def _check(function: Check) -> Check:
    _CHECKS.append(function)
    return function


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


@contextlib.contextmanager
def _raises(*kinds: type[BaseException]) -> Iterator[list[BaseException]]:
    seen: list[BaseException] = []
    try:
        yield seen
    except kinds as error:
        seen.append(error)
    else:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise AssertionError(f"expected {names}, but nothing was raised")


def _spy(backend: Any) -> tuple[list[str], Counter[int]]:
    """Record the hooks called on `backend`, and how often each callback was."""
    events: list[str] = []
    calls: Counter[int] = Counter()
    for name in ("configure", "start_call", "stop_call", "terminate"):
        _record(backend, name, events)
    _record(backend, "abort_everything", events)
    inner_submit = backend.submit
    inner_context = backend.retrieval_context

    def submit(func: Any, callback: Any = None) -> Any:
        number = len(calls)
        calls[number] = 0
        events.append("submit")

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[number] += 1
            return callback(*args, **kwargs)

        return inner_submit(func, counted)

    @contextlib.contextmanager
    def retrieval_context() -> Iterator[None]:
        with inner_context():
            events.append("retrieval_context")
            try:
                yield
            finally:
                events.append("retrieval_left")

    backend.submit = submit
    backend.retrieval_context = retrieval_context
    return events, calls


def _record(backend: Any, name: str, events: list[str]) -> None:
    inner = getattr(backend, name)

    def hook(*args: Any, **kwargs: Any) -> Any:
        events.append(name)
        return inner(*args, **kwargs)

    setattr(backend, name, hook)


def _ran_inline(parallel: Parallel, backend: Any) -> bool:
    """Whether the call was not the backend's to run after all."""
    if parallel._backend is not backend:
        return True
    return bool(backend.runs_single_job_inline and parallel._effective_n_jobs() == 1)


@_check
def check_results(factory: Factory, n_jobs: int) -> None:
    """Every task runs once, results are in order, for each size of batch."""
    for batch_size in ("auto", 1, 3):
        for n in (0, 1, 2, 25):
            parallel = Parallel(n_jobs, backend=factory(), batch_size=batch_size)
            out = parallel(delayed(square)(i) for i in range(n))
            _require(out == [i * i for i in range(n)], f"wrong results: {out}")


@_check
def check_pre_dispatch(factory: Factory, n_jobs: int) -> None:
    """All tasks are run whatever is given out at the start."""
    for pre_dispatch in ("all", 1, "n_jobs", "3 * n_jobs"):
        parallel = Parallel(n_jobs, backend=factory(), pre_dispatch=pre_dispatch)
        out = parallel(delayed(square)(i) for i in range(11))
        _require(out == [i * i for i in range(11)], f"wrong results: {out}")


@_check
def check_zero_jobs(factory: Factory, n_jobs: int) -> None:
    """n_jobs=0 is an error."""
    with _raises(ValueError):
        Parallel(0, backend=factory())([delayed(nothing)()])


@_check
def check_task_error(factory: Factory, n_jobs: int) -> None:
    """A task's error reaches the caller with its type; the backend lives on."""
    with Parallel(n_jobs, backend=factory()) as parallel:
        for _ in range(2):
            with _raises(TaskError) as seen:
                parallel(delayed(fail_on_odd)(i) for i in range(8))
            _require("odd" in str(seen[0]), f"message lost: {seen[0]!r}")
            out = parallel(delayed(square)(i) for i in range(4))
            _require(out == [0, 1, 4, 9], f"wrong results after an error: {out}")


@_check
def check_iterator_error(factory: Factory, n_jobs: int) -> None:
    """An error of the caller's iterable reaches the caller."""

    def tasks(n: int) -> Iterator[Any]:
        for i in range(n):
            yield delayed(square)(i)
        raise TaskError("iterable")

    for n in (0, 1, 3 * n_jobs + 1):
        with _raises(TaskError):
            Parallel(n_jobs, backend=factory())(tasks(n))


@_check
def check_hooks(factory: Factory, n_jobs: int) -> None:
    """Hooks come in the order of the contract; callbacks exactly once."""
    backend = factory()
    events, calls = _spy(backend)
    parallel = Parallel(n_jobs, backend=backend, batch_size=1)
    out = parallel(delayed(square)(i) for i in range(9))
    _require(len(out) == 9, "results are missing")
    if _ran_inline(parallel, backend):
        return
    _require(events[0] == "configure", f"first hook: {events[0]}")
    last_submit = len(events) - 1 - events[::-1].index("submit")
    _require({"stop_call", "terminate"} <= set(events), f"no end: {events}")
    order = [last_submit, events.index("stop_call"), events.index("terminate")]
    _require(order == sorted(order), f"the end is out of order: {events}")
    _require(events.count("start_call") == 1, "start_call is not called once")
    _require(events.count("retrieval_context") == 1, "retrieval_context not once")
    _require(events.count("retrieval_left") == 1, "retrieval_context is not left")
    _require(events.index("start_call") < events.index("submit"), "late start_call")
    _require("abort_everything" not in events, "abort without an error")
    _require(len(calls) == 9, f"{len(calls)} batches were submitted, not 9")
    _require(set(calls.values()) == {1}, f"callbacks were called {dict(calls)} times")


@_check
def check_hooks_on_error(factory: Factory, n_jobs: int) -> None:
    """After an error: one abort, then stop_call and terminate; no second callback."""
    backend = factory()
    events, calls = _spy(backend)
    parallel = Parallel(n_jobs, backend=backend, batch_size=1)
    with _raises(TaskError):
        parallel(delayed(fail_on_odd)(i) for i in range(9))
    if _ran_inline(parallel, backend):
        return
    _require(events.count("abort_everything") == 1, f"aborts: {events}")
    order = [events.index(n) for n in ("abort_everything", "stop_call", "terminate")]
    _require(order == sorted(order), f"the end is out of order: {events}")
    _require(max(calls.values()) == 1, f"callbacks were called {dict(calls)} times")


@_check
def check_terminate_twice(factory: Factory, n_jobs: int) -> None:
    """`terminate` is idempotent, and the backend can be configured again."""
    backend = factory()
    for _ in range(2):
        out = Parallel(n_jobs, backend=backend)(delayed(square)(i) for i in range(5))
        _require(out == [0, 1, 4, 9, 16], f"wrong results: {out}")
        backend.terminate()
        backend.terminate()


@_check
def check_nested(factory: Factory, n_jobs: int) -> None:
    """Calls inside tasks work and end."""
    out = Parallel(n_jobs, backend=factory())(delayed(nested_sum)(i) for i in range(5))
    _require(out == [0, 0, 1, 5, 14], f"wrong nested results: {out}")


@_check
def check_in_context(factory: Factory, n_jobs: int) -> None:
    """A context that holds the backend serves calls that name none."""
    with parallel_config(backend=factory(), n_jobs=n_jobs):
        for prefer in ("threads", "processes", None):
            out = Parallel(prefer=prefer)(delayed(square)(i) for i in range(5))
            _require(out == [0, 1, 4, 9, 16], f"wrong results: {out}")


@_check
def check_shared_memory(factory: Factory, n_jobs: int) -> None:
    """With `supports_sharedmem` tasks change the caller's objects."""
    backend = factory()
    target: list[Any] = [None] * 7
    if backend.supports_sharedmem:
        Parallel(n_jobs, backend=backend, require="sharedmem")(
            delayed(put_into)(target, i) for i in range(7)
        )
        _require(target == list(range(7)), f"memory is not shared: {target}")
    else:
        with _raises(ValueError):
            Parallel(n_jobs, backend=backend, require="sharedmem")


@_check
def check_generator(factory: Factory, n_jobs: int) -> None:
    """Generators yield all results; closing one early leaves the backend usable."""
    backend = factory()
    if not backend.supports_return_generator:
        with _raises(ValueError):
            Parallel(n_jobs, backend=backend, return_as="generator")
        return
    for kind in ("generator", "generator_unordered"):
        parallel = Parallel(n_jobs, backend=backend, return_as=kind)
        out = list(parallel(delayed(square)(i) for i in range(20)))
        wanted = [i * i for i in range(20)]
        same = out == wanted if kind == "generator" else sorted(out) == wanted
        _require(same, f"wrong results of a {kind}: {out}")
        with _raises(TaskError):
            list(parallel(delayed(fail_on_odd)(i) for i in range(20)))
    with Parallel(n_jobs, backend=factory(), return_as="generator") as parallel:
        generator = parallel(delayed(square)(i) for i in range(50))
        _require(next(generator) == 0, "the first result is wrong")
        close_quietly(generator)
        out = list(parallel(delayed(square)(i) for i in range(3)))
        _require(out == [0, 1, 4], f"wrong results after a close: {out}")


@_check
def check_overlapping(factory: Factory, n_jobs: int) -> None:
    """A context's calls may overlap: one is made while another's generator is read."""
    backend = factory()
    if not backend.supports_return_generator:
        return
    with parallel_config(backend, n_jobs=n_jobs):
        parallel = Parallel(return_as="generator", pre_dispatch=n_jobs)
        results = parallel(delayed(square)(i) for i in range(20))
        try:
            out = [next(results)]
            beside = Parallel()(delayed(square)(i) for i in range(4))
            out += results
            _require(beside == [0, 1, 4, 9], f"wrong results beside it: {beside}")
            _require(out == [i * i for i in range(20)], f"wrong results: {out}")
        finally:
            close_quietly(results)


@_check
def check_timeout(factory: Factory, n_jobs: int) -> None:
    """With `supports_timeout` a slow task ends the call with a TimeoutError."""
    backend = factory()
    if not backend.supports_timeout:
        return
    from multiprocessing import TimeoutError as ProcessTimeout

    parallel = Parallel(n_jobs, backend=backend, timeout=0.2)
    if _ran_inline(parallel, backend):
        return
    started = time.monotonic()
    with _raises(TimeoutError, ProcessTimeout):
        parallel(delayed(sleep_then)(5, i) for i in range(2))
    _require(time.monotonic() - started < 4.5, "the timeout came too late")


@_check
def check_unpicklable(factory: Factory, n_jobs: int) -> None:
    """What can't be sent to a worker, or back, is an error: no hang, no loss."""
    for task in (delayed(id)(Unpicklable()), delayed(make_unpicklable)()):
        parallel = Parallel(n_jobs, backend=factory(), batch_size=1)
        try:
            out = parallel([task, task])
        except Exception:  # any error will do, so long as there is one
            continue
        # workers in this process need no pickling: then nothing may be missing
        _require(len(out) == 2 and None not in out, f"results are missing: {out}")


@_check
def check_wrap_task(factory: Factory, n_jobs: int) -> None:
    """Task wrappers run around each task, the outer context's outermost."""
    backend = factory()
    with parallel_config(backend=backend, n_jobs=n_jobs, wrap_task=adding_wrapper):
        with parallel_config(wrap_task=doubling_wrapper):
            out = Parallel()(delayed(square)(i) for i in range(5))
    _require(out == [2 * i * i + 1000 for i in range(5)], f"wrong order: {out}")


@_check
def check_wrap_task_errors(factory: Factory, n_jobs: int) -> None:
    """A failing setup fails the task; a failing teardown hides no error."""
    with parallel_config(backend=factory(), n_jobs=n_jobs, wrap_task=failing_setup):
        with _raises(TaskError) as seen:
            Parallel()(delayed(square)(i) for i in range(3))
    _require("setup" in str(seen[0]), f"another error: {seen[0]!r}")
    with parallel_config(backend=factory(), n_jobs=n_jobs, wrap_task=failing_teardown):
        with _raises(TaskError):
            Parallel(batch_size=1)(delayed(fail_on_odd)(1) for _ in range(3))
        with _raises(RuntimeError):
            Parallel(batch_size=1)(delayed(square)(1) for _ in range(3))


@_check
def check_from_threads(factory: Factory, n_jobs: int) -> None:
    """Two threads with a backend each do not disturb one another."""
    out: dict[int, Any] = {}

    def call(number: int) -> None:
        try:
            out[number] = Parallel(n_jobs, backend=factory())(
                delayed(square)(i) for i in range(number)
            )
        except BaseException as error:  # shown by the check below
            out[number] = error

    threads = [threading.Thread(target=call, args=(n,)) for n in (11, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in (11, 17):
        _require(out[n] == [i * i for i in range(n)], f"wrong results: {out[n]!r}")


def backend_checks() -> list[Check]:
    """Return the checks, to parametrize a test with.

    Returns
    -------
    list of callable
        Each is called as ``check(factory, n_jobs)``, where ``factory()`` returns
        a new backend, and raises AssertionError if the contract is not kept.

    Examples
    --------
    >>> import pytest
    >>> from joblib.testing import backend_checks
    >>> @pytest.mark.parametrize("check", backend_checks())
    ... def test_my_backend(check):
    ...     check(MyBackend, n_jobs=2)
    """
    return list(_CHECKS)


def check_backend(factory: Factory, n_jobs: int = 2) -> None:
    """Hold a backend to the whole contract of `ParallelBackendBase`.

    Parameters
    ----------
    factory : callable
        Returns a new backend at each call; usually the backend's class.
    n_jobs : int, default=2
        What the calls ask for.

    Raises
    ------
    AssertionError
        Naming all checks that failed, each with its reason. A backend that
        hangs hangs the check: run it under a timeout.
    """
    failures: list[str] = []
    cause: BaseException | None = None
    for check in _CHECKS:
        try:
            check(factory, n_jobs)
        except Exception as error:  # collected, and raised together below
            cause = cause or error
            name = getattr(check, "__name__", str(check))
            failures.append(f"{name}: {type(error).__name__}: {error}")
    if failures:
        raise AssertionError(
            f"{len(failures)} of {len(_CHECKS)} checks failed:\n" + "\n".join(failures)
        ) from cause
