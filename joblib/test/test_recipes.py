"""What other projects do to `Parallel`: subclass, patch, wrap."""

from __future__ import annotations

import contextlib
import functools
import threading

import pytest

import joblib
from joblib import Parallel, delayed


def square(x):
    return x * x


@pytest.mark.parametrize("backend", ["threading", "loky", "sequential"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_replaced_completion_callback(backend, batch_size):
    counted = []

    @contextlib.contextmanager
    def counting():
        original = joblib.parallel.BatchCompletionCallBack

        class Counting(original):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)

            def __call__(self, *args, **kwargs):
                counted.append(self.batch_size)
                return super().__call__(*args, **kwargs)

        joblib.parallel.BatchCompletionCallBack = Counting
        try:
            yield
        finally:
            joblib.parallel.BatchCompletionCallBack = original

    with counting():
        out = Parallel(2, backend=backend, batch_size=batch_size)(
            delayed(square)(i) for i in range(10)
        )
    assert out == [i * i for i in range(10)]
    assert sum(counted) == (0 if backend == "sequential" else 10)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_subclass_with_a_progress_bar(n_jobs):
    class WithBar(Parallel):
        def __init__(self, *args, total=None, **kwargs):
            self._total = total
            self.shown = []
            super().__init__(*args, **kwargs)

        def __call__(self, *args, **kwargs):
            return Parallel.__call__(self, *args, **kwargs)

        def print_progress(self):
            self.shown.append((self.n_completed_tasks, self.n_dispatched_tasks))

    bar = WithBar(n_jobs, backend="threading", total=8)
    assert bar(delayed(square)(i) for i in range(8)) == [i * i for i in range(8)]
    assert bar.shown[-1] == (8, 8)
    assert [done for done, _ in bar.shown] == sorted(done for done, _ in bar.shown)


def test_a_patched_print_progress(monkeypatch):
    calls = []
    monkeypatch.setattr(Parallel, "print_progress", lambda self: calls.append(1))
    Parallel(2, backend="threading")(delayed(square)(i) for i in range(5))
    assert len(calls) >= 5


def test_an_overridden_dispatch():
    class Watching(Parallel):
        dispatched = 0

        def dispatch_one_batch(self, iterator):
            more = super().dispatch_one_batch(iterator)
            self.dispatched += more
            return more

    parallel = Watching(2, backend="threading")
    assert parallel(delayed(square)(i) for i in range(9)) == [i * i for i in range(9)]
    assert parallel.dispatched == 9


def test_configuration_carried_along_with_each_task():
    # as scikit-learn does in its own `Parallel` and `delayed`
    local = threading.local()

    class FuncWrapper:
        def __init__(self, function):
            self.function = function
            functools.update_wrapper(self, self.function)

        def with_config(self, config):
            self.config = config
            return self

        def __call__(self, *args, **kwargs):
            local.config = self.config
            return self.function(*args, **kwargs)

    def own_delayed(function):
        @functools.wraps(function)
        def delayed_function(*args, **kwargs):
            return FuncWrapper(function), args, kwargs

        return delayed_function

    class OwnParallel(Parallel):
        def __call__(self, iterable):
            return super().__call__(
                (delayed_func.with_config("forwarded"), args, kwargs)
                for delayed_func, args, kwargs in iterable
            )

    def read(i):
        return i, local.config

    for n_jobs in (1, 2):
        out = OwnParallel(n_jobs, prefer="threads")(
            own_delayed(read)(i) for i in range(4)
        )
        assert out == [(i, "forwarded") for i in range(4)]


def test_names_that_are_written_by_others(monkeypatch):
    monkeypatch.setattr(joblib.parallel, "DEFAULT_BACKEND", "threading")
    assert type(Parallel()._backend).__name__ == "ThreadingBackend"
    monkeypatch.setattr(joblib.parallel, "DEFAULT_THREAD_BACKEND", "sequential")
    monkeypatch.setattr(joblib.parallel, "DEFAULT_BACKEND", "loky")
    assert type(Parallel(prefer="threads")._backend).__name__ == "SequentialBackend"
    monkeypatch.delitem(joblib.parallel.BACKENDS, "threading")
    with pytest.raises(ValueError, match="Invalid backend"):
        Parallel(backend="threading")


def test_a_backend_reads_its_parallel():
    seen = {}

    class Reading(joblib.parallel.ThreadingBackend):
        def configure(self, n_jobs=1, parallel=None, **kwargs):
            seen.update(kwargs)
            seen["id"] = parallel._id
            seen["verbose"] = parallel.verbose
            seen["n_jobs"] = parallel.n_jobs
            return super().configure(n_jobs, parallel, **kwargs)

    parallel = Parallel(2, backend=Reading(), max_nbytes="2K", custom=3, verbose=60)
    parallel([delayed(square)(1)])
    assert seen["max_nbytes"] == 2048 and seen["custom"] == 3
    assert (seen["verbose"], seen["n_jobs"]) == (10, 2) or seen["verbose"] == 60
    assert seen["id"] == parallel._id
    assert Parallel(2)._id != parallel._id
