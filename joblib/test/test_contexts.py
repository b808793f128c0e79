"""parallel_config and parallel_backend: nesting, threads, task wrappers, errors."""

from __future__ import annotations

import multiprocessing
import sys
import threading

import pytest

from joblib import (
    Parallel,
    delayed,
    effective_n_jobs,
    parallel_backend,
    parallel_config,
    register_parallel_backend,
)
from joblib._engine.context import current
from joblib._parallel_backends import MultiprocessingBackend, ThreadingBackend
from joblib.parallel import BACKENDS, get_active_backend
from joblib.testing import check_subprocess_call


def square(x):
    return x * x


def nested_squares(n):
    return Parallel(n_jobs=2)(delayed(square)(i) for i in range(n))


def test_contexts_nest_and_are_left_in_order():
    with parallel_config("threading", n_jobs=2, verbose=7):
        with parallel_config(n_jobs=3):
            parallel = Parallel()
            assert (parallel.n_jobs, parallel.verbose) == (3, 7)
            assert type(parallel._backend) is ThreadingBackend
        assert Parallel().n_jobs == 2
    assert Parallel().n_jobs == 1
    assert Parallel().verbose == 0


def test_a_context_is_left_on_an_error():
    before = current()
    with pytest.raises(KeyError), parallel_config("threading", n_jobs=2):
        raise KeyError
    assert current() is before


def test_a_context_belongs_to_its_thread():
    seen = []
    with parallel_config("threading", n_jobs=5):
        thread = threading.Thread(target=lambda: seen.append(Parallel().n_jobs))
        thread.start()
        thread.join()
    assert seen == [1]


def start_method(_):
    return multiprocessing.get_start_method()


@pytest.mark.skipif(
    "spawn" not in multiprocessing.get_all_start_methods(), reason="needs spawn"
)
@pytest.mark.parametrize(
    "name",
    [
        lambda spawn: (spawn, {}),
        lambda spawn: ("multiprocessing", {"context": spawn}),
        lambda spawn: (MultiprocessingBackend(context=spawn), {}),
    ],
)
def test_a_context_says_how_workers_are_started(name, monkeypatch):
    monkeypatch.setenv("JOBLIB_START_METHOD", "fork")
    backend, options = name(multiprocessing.get_context("spawn"))
    with parallel_config(backend, n_jobs=2, **options):
        found = Parallel()(delayed(start_method)(i) for i in range(2))
    assert found == ["spawn"] * 2


@pytest.mark.skipif(
    "spawn" not in multiprocessing.get_all_start_methods(), reason="needs spawn"
)
def test_a_call_says_how_workers_are_started(monkeypatch):
    monkeypatch.setenv("JOBLIB_START_METHOD", "fork")
    spawn = multiprocessing.get_context("spawn")
    with parallel_config("multiprocessing", n_jobs=2):
        found = Parallel(context=spawn)(delayed(start_method)(i) for i in range(2))
    assert found == ["spawn"] * 2


def test_what_the_contexts_give():
    with parallel_config("threading", n_jobs=2) as config:
        assert config["n_jobs"] == 2
        assert type(config["backend"]) is ThreadingBackend
    with parallel_backend("threading", n_jobs=2) as (backend, n_jobs):
        assert (type(backend), n_jobs) == (ThreadingBackend, 2)
        assert get_active_backend() == (backend, 2)
    with parallel_backend("threading"):
        assert effective_n_jobs(None) == effective_n_jobs(-1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="Invalid backend: 'nowhere'.*'dask'"):
        parallel_config("nowhere")
    with pytest.raises(ValueError, match="only supported when backend is not None"):
        parallel_config(param=3)
    with pytest.raises(ValueError, match="only supported when backend is a string"):
        parallel_config(ThreadingBackend(), param=3)
    with pytest.raises(TypeError, match="wrap_task must be callable.*3"):
        parallel_config(wrap_task=3)
    with pytest.raises(AssertionError, match="inner_max_num_threads"):
        parallel_config("threading", inner_max_num_threads=2)
    assert Parallel().n_jobs == 1  # none of them left anything behind


def test_a_registered_name(monkeypatch):
    class Mine(ThreadingBackend):
        def __init__(self, size=0, **kwargs):
            super().__init__(**kwargs)
            self.size = size

    register_parallel_backend("mine", Mine)
    try:
        with parallel_config("mine", size=4, n_jobs=2):
            assert Parallel()._backend.size == 4
            assert Parallel()([delayed(square)(3)]) == [9]
    finally:
        del BACKENDS["mine"]
    with pytest.raises(ValueError, match="Invalid backend: 'mine'"):
        Parallel(backend="mine")


def test_a_backend_whose_package_is_missing():
    # in a process of its own: modules can't be taken back without a trace
    code = """if True:
        import sys
        sys.modules["distributed"] = None
        from joblib import parallel_config
        for name in ("dask", "distributed", "dask.distributed"):
            try:
                parallel_config(name)
            except ValueError as error:
                print(error)
    """
    pattern = r"(?s)(.*Please install dask and distributed){3}"
    check_subprocess_call([sys.executable, "-c", code], 20, stdout_regex=pattern)


# ---------------------------------------------------------------- task wrappers
def test_wrappers_nest_and_reach_nested_calls():
    seen = []

    def note(label):
        def wrapper(func, args, kwargs):
            seen.append((label, func.__name__, args))
            return func(*args, **kwargs)

        return wrapper

    with parallel_config("threading", n_jobs=2, wrap_task=note("outer")):
        with parallel_config(wrap_task=note("inner")):
            Parallel()([delayed(nested_squares)(2)])
    tasks = [("nested_squares", (2,)), ("square", (0,)), ("square", (1,))]
    assert sorted(seen) == sorted(
        (label, *task) for label in ("inner", "outer") for task in tasks
    )
    assert seen[0][0] == "outer"


def test_wrappers_hold_for_sequential_calls():
    with parallel_config(wrap_task=lambda f, a, k: -f(*a, **k)):
        assert Parallel(n_jobs=1)(delayed(square)(i) for i in (1, 2)) == [-1, -4]
        with parallel_config(wrap_task=None):
            assert Parallel(n_jobs=1)([delayed(square)(3)]) == [9]


def test_a_backends_wrapper_is_innermost():
    class Doubling(ThreadingBackend):
        def wrap_task(self):
            return lambda func, args, kwargs: 2 * func(*args, **kwargs)

    for n_jobs in (1, 2):
        with parallel_config(Doubling(), n_jobs=n_jobs):
            with parallel_config(wrap_task=lambda f, a, k: f(*a, **k) + 1):
                out = Parallel()(delayed(square)(i) for i in range(4))
        assert out == [2 * i * i + 1 for i in range(4)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_wrapper_that_translates_an_error(n_jobs):
    def translate(func, args, kwargs):
        try:
            return func(*args, **kwargs)
        except ZeroDivisionError as error:
            raise LookupError("translated") from error

    def leave_badly(func, args, kwargs):
        try:
            return func(*args, **kwargs)
        finally:
            raise OSError("teardown")

    with parallel_config("threading", n_jobs=n_jobs, wrap_task=translate):
        with pytest.raises(LookupError, match="translated"):
            Parallel()([delayed(divmod)(1, 0)] * 2)
    with parallel_config("threading", n_jobs=n_jobs, wrap_task=leave_badly):
        with pytest.raises(ZeroDivisionError) as caught:
            Parallel()([delayed(divmod)(1, 0)] * 2)
    if sys.version_info >= (3, 11):
        assert any("teardown" in note for note in caught.value.__notes__)


def test_a_wrapper_may_call_the_task_again():
    def retry(func, args, kwargs):
        try:
            return func(*args, **kwargs)
        except ValueError:
            return func(*args, **kwargs)

    left = [ValueError("once")]

    def flaky():
        if left:
            raise left.pop()
        return "done"

    with parallel_config(wrap_task=retry):
        assert Parallel(n_jobs=1)([delayed(flaky)()]) == ["done"]
