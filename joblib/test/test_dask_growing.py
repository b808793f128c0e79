"""Calls on dask clusters that grow: new workers are put to work at once."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("distributed")

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
