"""Nested calls share the machine: the levels together start no more than its cores."""

from __future__ import annotations

import os

import pytest

import joblib
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib._backends.base import ParallelBackendBase
from joblib._engine import context

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def twelve_cores(monkeypatch):
    # for this process and for workers that are started now
    monkeypatch.setattr(context, "cpu_count", lambda: 12)
    joblib.shutdown()
    yield
    joblib.shutdown()


def inner(backend, n_jobs=-1):
    context.cpu_count = lambda: 12  # of a worker process, which has its own
    with parallel_config(backend):
        return effective_n_jobs(n_jobs)


def innermost(backend):
    context.cpu_count = lambda: 12
    with parallel_config(backend):
        return Parallel(n_jobs=2)(delayed(inner)("threading") for _ in range(2))


@pytest.mark.parametrize("outer", ["threading", "loky", "multiprocessing"])
@pytest.mark.parametrize("n_jobs, share", [(1, 12), (2, 6), (3, 4), (5, 2)])
def test_all_cores_means_a_share_of_them(outer, n_jobs, share):
    tasks = (delayed(inner)("threading") for _ in range(2))
    assert Parallel(n_jobs=n_jobs, backend=outer)(tasks) == [share] * 2
    # and outside all of them
    assert inner("threading") == 12


def test_never_less_than_one():
    found = Parallel(n_jobs=20, backend="threading")(
        delayed(inner)("threading") for _ in range(2)
    )
    assert found == [1, 1]


def test_three_levels():
    found = Parallel(n_jobs=3, backend="loky")(
        delayed(innermost)("threading") for _ in range(2)
    )
    assert found == [[2, 2]] * 2


def test_a_number_is_a_number():
    tasks = (delayed(inner)("threading", n) for n in (2, 7, None))
    assert Parallel(n_jobs=6, backend="threading")(tasks) == [2, 7, 1]


def test_counting_back_from_the_share():
    tasks = (delayed(inner)("threading", n) for n in (-2, -5, -99))
    assert Parallel(n_jobs=2, backend="threading")(tasks) == [5, 2, 1]


class Elsewhere(ParallelBackendBase):
    """Stands for a cluster, whose workers have cores of their own."""

    runs_single_job_inline = False
    supports_retrieve_callback = True

    def effective_n_jobs(self, n_jobs):
        return 4

    def submit(self, func, callback):
        callback(func())

    def retrieve_result_callback(self, out):
        return out


def test_a_cluster_takes_nothing_of_this_machine():
    with parallel_config(Elsewhere()):
        tasks = (delayed(inner)("threading") for _ in range(2))
        assert Parallel(n_jobs=4)(tasks) == [12, 12]


def read_limits():
    return os.environ.get("OMP_NUM_THREADS")


def nested_limits():
    context.cpu_count = lambda: 12
    with parallel_config("loky"):
        return Parallel(n_jobs=2)(delayed(read_limits)() for _ in range(2))


def test_native_threads_of_nested_workers(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tasks = (delayed(read_limits)() for _ in range(2))
    assert Parallel(n_jobs=3, backend="loky")(tasks) == ["4", "4"]
    with parallel_config("loky", inner_max_num_threads=2):
        tasks = (delayed(read_limits)() for _ in range(2))
        assert Parallel(n_jobs=3)(tasks) == ["2", "2"]


def test_native_threads_of_workers_of_workers(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = Parallel(n_jobs=2, backend="loky")(
        delayed(nested_limits)() for _ in range(2)
    )
    assert found == [["3", "3"]] * 2
