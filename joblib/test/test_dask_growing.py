"""Calls on dask clusters that grow: new workers are put to work at once."""

from __future__ import annotations

import threading
import time

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import courier  # noqa: E402

from .dask_common import small_cluster, tasks_left  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("threads of the cluster's workers"),
]


class Meeting:
    """Tasks that end once enough of them are at work at the same time."""

    def __init__(self, enough):
        self.lock = threading.Lock()
        self.reached = threading.Event()
        self.some = threading.Event()
        self.enough = enough
        self.now = self.most = 0

    def __reduce__(self):  # there is one, whoever it is sent to
        return "MEETING"

    def attend(self, i):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now >= self.enough:
                self.reached.set()
        self.some.set()
        assert self.reached.wait(20), f"only {self.most} tasks at once"
        with self.lock:
            self.now -= 1
        return i


MEETING = Meeting(1)


@pytest.mark.parametrize(("n_jobs", "most"), [(-1, 12), (None, 12), (8, 8)])
def test_workers_that_join_in_mid_call_are_used(monkeypatch, n_jobs, most):
    monkeypatch.setattr(courier, "INTERVAL", 0.05)
    meeting = Meeting(most)
    monkeypatch.setitem(globals(), "MEETING", meeting)
    with small_cluster(processes=False, n_workers=4) as client:
        with parallel_config("dask", client=client):
            parallel = Parallel(n_jobs, batch_size=1, return_as="generator")
            out = parallel(delayed(meeting.attend)(i) for i in range(60))
            assert meeting.some.wait(10)
            client.cluster.scale(12)
            assert list(out) == list(range(60))
        assert tasks_left(client) == []
    assert meeting.most == most


# --------------------------------------------------------- processes of their own
def meet(name, enough, i):
    """Wait until so many are at work at once, wherever they are."""
    all_here = distributed.Event(name)
    if all_here.is_set():
        return i
    with distributed.Lock(f"{name}-lock"):
        here = distributed.Variable(f"{name}-count")
        try:
            count = here.get(timeout="10ms") + 1
        except TimeoutError:
            count = 1
        here.set(count)
    if count == enough:
        all_here.set()
    assert all_here.wait(20)
    return i


def test_an_adaptive_cluster_is_used_as_it_grows():
    """Three workers of four threads each, started because there is work for them."""
    name = f"growing-{time.time_ns()}"
    with small_cluster(threads_per_worker=4) as client:
        client.cluster.adapt(minimum=1, maximum=3, interval="100ms")
        with parallel_config("dask", client=client):
            parallel = Parallel(-1, batch_size=1, return_as="generator")
            out = parallel(delayed(meet)(name, 12, i) for i in range(40))
            client.wait_for_workers(3, timeout=20)
            assert distributed.Event(name, client=client).wait(timeout=5)
            assert list(out) == list(range(40))
        assert tasks_left(client) == []


def begin_and_end(_):
    begin = time.time()
    time.sleep(0.05)
    return begin, time.time()


def most_at_once(spans):
    """Return how many of these there were at one moment, at most."""
    return max(sum(a <= begin < b for a, b in spans) for begin, _ in spans)


@pytest.mark.parametrize(("n_jobs", "most"), [(2, 2), (3, 3), (-2, 3), (-1, 4)])
def test_n_jobs_counts_tasks_on_all_workers(four_threads, n_jobs, most):
    with parallel_config("dask", client=four_threads):
        spans = Parallel(n_jobs, batch_size=1)(
            delayed(begin_and_end)(i) for i in range(16)
        )
    assert 2 <= most_at_once(spans) <= most


@pytest.fixture(scope="module")
def four_threads():
    with small_cluster(n_workers=2, threads_per_worker=2) as client:
        yield client


def test_a_cluster_that_shrinks(four_threads):
    """A worker retires in the middle of a call; the other one does the rest."""
    client, name = four_threads, f"shrinking-{time.time_ns()}"
    with parallel_config("dask", client=client):
        parallel = Parallel(-1, batch_size=1, return_as="generator")
        out = parallel(delayed(meet)(name, 4, i) for i in range(40))
        first = [next(out) for _ in range(4)]
        client.retire_workers([next(iter(client.nthreads()))])
        assert [*first, *out] == list(range(40))
        assert len(client.nthreads()) == 1
        spans = Parallel(-1, batch_size=1)(delayed(begin_and_end)(i) for i in range(8))
    assert most_at_once(spans) == 2
    assert tasks_left(client) == []
