"""A run's controls when more goes wrong than a task: what was found by attacking them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import decimal
import gc
import itertools
import sys
import threading
import time

import pytest

np = pytest.importorskip("numpy")

import joblib  # noqa: E402
from joblib import Parallel, delayed, register_task_context, task_seed  # noqa: E402
from joblib._backends.lanes import Crew, Worker  # noqa: E402
from joblib._engine import forwarding  # noqa: E402
from joblib._engine.run import Run  # noqa: E402
from joblib._engine.states import State  # noqa: E402
from joblib.test import control_tasks as tasks  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

PROCESSES = ["loky", "multiprocessing"]
NAMES = ["sequential", "threading", *PROCESSES]


def many(n, function, *given):
    return (delayed(function)(*given, i) for i in range(n))


# ------------------------------------------------------------------ exceptions
@pytest.mark.parametrize("name", NAMES)
def test_an_exception_that_lets_nobody_touch_it(name):
    out = Parallel(2, backend=name, on_error="return")(many(3, tasks.fail_frozen))
    if name in PROCESSES:
        assert all("Frozen" in str(error) for error in out)
    else:
        assert out == [tasks.Frozen(i) for i in range(3)]
    assert all(isinstance(error, Exception) for error in out)


@pytest.mark.parametrize("name", NAMES)
def test_an_exception_that_does_not_travel_is_retried_by_its_class(name, tmp_path):
    path = tmp_path / "tries"
    out = Parallel(2, backend=name, retries=5, retry_on=tasks.TwoArguments)(
        [delayed(tasks.fail_until)(3, path)]
    )
    assert out == [3]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError])
def test_what_is_no_exception_is_kept_too(name, kind):
    out = Parallel(2, backend=name, on_error="return", retries=3)(
        many(3, tasks.raise_for, [1], kind)
    )
    assert (out[0], out[2]) == (0, 2)
    assert isinstance(out[1], kind)


@pytest.mark.parametrize("name", ["sequential", "threading"])
def test_an_interrupt_ends_the_call(name):
    with pytest.raises(KeyboardInterrupt):
        Parallel(2, backend=name, on_error="return")(
            many(3, tasks.raise_for, [1], KeyboardInterrupt)
        )


@pytest.mark.parametrize("name", ["sequential", "threading"])
def test_a_group_of_kept_errors_keeps_nothing_alive(name):
    out = Parallel(2, backend=name, on_error="return")(many(3, tasks.fail_in_group))
    gc.collect()
    assert len(out) == 3
    assert all(error.exceptions[0].__traceback__ is None for error in out)
    assert not any(isinstance(each, tasks.Local) for each in gc.get_objects())


def test_an_error_of_the_engine_ends_the_call(monkeypatch):
    from joblib._engine import controlled

    def fail(error):
        raise LookupError("out of order")

    monkeypatch.setattr(controlled, "in_place", fail)
    with pytest.raises(LookupError, match="out of order"):
        Parallel(2, backend="threading", on_error="return")(
            many(3, tasks.fail_for, [1])
        )


# -------------------------------------------------------------------- contexts
def test_tasks_on_threads_have_decimal_contexts_of_their_own():
    before = decimal.getcontext().prec
    out = Parallel(2, prefer="threads")(
        delayed(tasks.with_precision)(i) for i in range(3, 8)
    )
    assert out == [3, 4, 5, 6, 7]
    assert decimal.getcontext().prec == before


def test_a_registration_while_a_call_begins():
    def capture():
        name = f"test {len(names)}"
        if len(names) < 3:
            names.append(name)
            register_task_context(name, lambda: None, forwarding._variable)
        return None

    names = ["test 0"]
    register_task_context("test 0", capture, lambda state: _Nothing())
    try:
        assert Parallel(1)(many(2, abs)) == [0, 1]
    finally:
        for name in names:
            joblib.unregister_task_context(name)


class _Nothing:
    def __enter__(self):
        return None

    def __exit__(self, *exc):
        return None


def test_processes_of_one_number_are_told_apart(monkeypatch):
    """In containers the caller and a worker often are both process 1."""
    import os
    import pickle

    here = forwarding.process_token()
    state = pickle.dumps((here, [("ignore", None, Warning, None, 0)]))
    forwarding._tokens.clear()  # as in another process
    assert forwarding.process_token() != here
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with forwarding._filtering(pickle.loads(state)):
        import warnings

        assert warnings.filters[0][0] == "ignore"
        assert len(warnings.filters) == 1


# ----------------------------------------------------------------------- lanes
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("name", PROCESSES)
def test_a_worker_that_dies_while_it_sends(name):
    """A child of it has the line open as well: nothing tells of its end."""
    out = Parallel(2, backend=name, on_error="return", task_timeout=30)(
        many(3, tasks.die_while_sending)
    )
    assert type(out[0]).__name__ == "TerminatedWorkerError"
    assert out[1:] == [1, 2]


@pytest.mark.parametrize("name", PROCESSES)
def test_large_arguments_and_results_of_lanes(name):
    data = b"y" * 5_000_000
    out = Parallel(2, backend=name, on_error="return", max_nbytes=None)(
        delayed(bytes)(data) for _ in range(4)
    )
    assert out == [data] * 4


@pytest.mark.parametrize("name", PROCESSES)
def test_a_shut_down_between_two_calls_and_in_one(name):
    with Parallel(2, backend=name, on_error="return") as parallel:
        assert parallel(many(3, abs)) == [0, 1, 2]
        joblib.shutdown()
        assert parallel(many(3, abs)) == [0, 1, 2]
    for options in ({"on_error": "return"}, {"retries": 300}):
        begun = threading.Event()

        def rows(begun=begun):
            for i in itertools.count():
                if i == 5:
                    begun.set()
                yield delayed(tasks.take)(0.01, i)

        thread = threading.Thread(
            target=lambda begun=begun: begun.wait(30) and joblib.shutdown()
        )
        thread.start()
        with pytest.raises(RuntimeError, match="were shut down"):
            Parallel(2, backend=name, **options)(rows())
        thread.join()


def hire_but(monkeypatch, wrong):
    """Have some of the workers, by their number, not start."""
    numbers = itertools.count(1)
    real = Worker.__init__

    def init(self, *args):
        if next(numbers) in wrong:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        real(self, *args)

    monkeypatch.setattr(Worker, "__init__", init)


def test_a_worker_that_can_not_be_started_leaves_its_task_to_others(monkeypatch):
    hire_but(monkeypatch, range(2, 1000))
    out = Parallel(2, backend="loky", on_error="return", pre_dispatch="all")(
        many(6, tasks.take, 0.05)
    )
    assert out == list(range(6))


def test_no_worker_at_all_ends_the_call(monkeypatch):
    hire_but(monkeypatch, range(1, 1000))
    with pytest.raises(BlockingIOError):
        Parallel(2, backend="loky", on_error="return", retries=3)(many(6, abs))


@pytest.mark.parametrize("name", PROCESSES)
def test_an_initializer_that_fails_ends_the_call(name, capfd):
    with pytest.raises(Exception, match="`initializer`"):
        Parallel(2, backend=name, on_error="return", initializer=tasks.fail_to_start)(
            many(6, abs)
        )


def test_a_thread_that_can_not_be_started(monkeypatch):
    real = threading.Thread.start
    lanes = itertools.count(1)

    def start(self):
        if self.name.startswith("joblib-lane") and next(lanes) > 1:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    out = Parallel(2, backend="loky", on_error="return")(many(6, abs))
    assert out == list(range(6))


def test_a_crew_without_a_thread_says_why(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    crew = Crew(2, lambda: None, None)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="new thread"):
        crew.put(_Settled())
    monkeypatch.undo()
    crew.close()


class _Settled:
    def fail_call(self, error):
        self.error = error


# ------------------------------------------------------------------- called off
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"on_error": "return"}, {"retries": 1}])
@pytest.mark.parametrize("name", ["sequential", "threading", "loky"])
def test_called_off_at_any_moment(name, options):
    """Whoever waits gets the error that says so, and no other."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for turn in range(12):
            parallel = Parallel(
                2, backend=name, return_as="generator", pre_dispatch=500, **options
            )
            begun = threading.Event()

            def rows(begun=begun, turn=turn):
                for i in itertools.count():
                    if i == 40 * turn:
                        begun.set()
                    yield delayed(abs)(i)

            def cancel(parallel=parallel, begun=begun):
                begun.wait(30)
                while not parallel.cancel():
                    time.sleep(0)

            thread = threading.Thread(target=cancel)
            thread.start()
            with pytest.raises(concurrent.futures.CancelledError):
                for _ in parallel(rows()):
                    pass
            thread.join()
    finally:
        sys.setswitchinterval(switch)


def test_called_off_between_the_state_and_its_cause(monkeypatch):
    """A call in the caller sees both, or neither."""
    parallel = Parallel(backend="sequential", return_as="generator")
    moved, asked = threading.Event(), threading.Event()
    move = Run._move

    def slow(run, to):
        done = move(run, to)
        if to is State.ABORTING and threading.current_thread() is thread:
            moved.set()
            asked.wait(0.2)  # the caller has either failed by now, or waits for us
        return done

    monkeypatch.setattr(Run, "_move", slow)
    thread = threading.Thread(target=parallel.cancel)
    results = parallel(delayed(abs)(i) for i in itertools.count())
    next(results)
    thread.start()
    assert moved.wait(30)
    with pytest.raises(concurrent.futures.CancelledError):
        next(results)
    asked.set()
    thread.join(30)


def test_a_call_in_the_caller_that_is_called_off_can_be_followed_by_another():
    parallel = Parallel(1, return_as="generator")
    results = parallel(many(5, abs))
    assert next(results) == 0
    assert parallel.cancel() is True
    assert list(parallel(many(3, abs))) == [0, 1, 2]
    with pytest.raises(concurrent.futures.CancelledError):
        next(results)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_a_task_in_the_caller_calls_the_call_off(at, return_as):
    parallel = Parallel(1, return_as=return_as)

    def task(i):
        if i == at:
            assert parallel.cancel() is True
        return i

    with pytest.raises(concurrent.futures.CancelledError):
        list(parallel(delayed(task)(i) for i in range(3)))
    assert list(parallel(many(3, abs))) == [0, 1, 2]


# --------------------------------------------------------------------- windows
@pytest.mark.parametrize("batch_size", [1, 10])
def test_a_window_of_one_in_the_caller(batch_size):
    read = []

    def rows():
        for i in range(5):
            read.append(i)
            yield delayed(abs)(i)

    parallel = Parallel(
        1, return_as="generator", batch_size=batch_size, max_pending_results=1
    )
    results = parallel(rows())
    assert next(results) == 0
    assert read == [0]
    assert list(results) == [1, 2, 3, 4]


def test_a_window_has_something_for_each_worker():
    barrier = threading.Barrier(4, timeout=30)

    def meet(i):
        if i % 8 == 0:  # the first of each batch
            barrier.wait()
        return i

    parallel = Parallel(
        4,
        backend="threading",
        return_as="generator",
        batch_size=32,
        max_pending_results=32,
        pre_dispatch="all",
    )
    assert list(parallel(many(32, meet))) == list(range(32))


# ----------------------------------------------------------------------- seeds
def draw(i):
    return int(np.random.default_rng(task_seed()).integers(10**9))


def test_children_that_somebody_has_are_not_given_again():
    sequence = np.random.SeedSequence(5)
    first = [int(np.random.default_rng(s).integers(10**9)) for s in sequence.spawn(2)]
    here = Parallel(2, prefer="threads", seed=sequence)(many(2, draw))
    then = [int(np.random.default_rng(s).integers(10**9)) for s in sequence.spawn(2)]
    assert here == then
    assert set(here).isdisjoint(first)
