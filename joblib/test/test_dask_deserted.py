"""Calls on dask clusters that lose all their workers."""

from __future__ import annotations

import asyncio

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import counting, courier  # noqa: E402
from joblib._dask.counting import CoreCount, NoWorkersLeft  # noqa: E402

from .dask_common import (  # noqa: E402
    hold,
    increment,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("threads of the cluster's workers"),
]


@pytest.fixture(params=[True, False], ids=["processes", "threads"])
def client(request):
    with small_cluster(processes=request.param) as client:
        yield client


async def _remove_all(dask_scheduler):
    for address in list(dask_scheduler.workers):
        await dask_scheduler.remove_worker(address, stimulus_id="test", close=True)


def remove_all_workers(client):
    """Have the scheduler lose all of its workers, for good."""
    client.run_on_scheduler(_remove_all)


def begin(name, **options):
    """Begin a call on the one worker; return its results to come."""
    with parallel_config("dask", **options):
        parallel = Parallel(batch_size=1, return_as="generator")
        return parallel(delayed(hold)(name, i) for i in range(3))


def test_a_call_is_not_kept_for_ever(client, monkeypatch):
    monkeypatch.setattr(counting, "DESERTED", 0.1)
    monkeypatch.setattr(courier, "INTERVAL", 0.05)
    results = begin("kept", wait_for_workers_timeout=0.08)
    wait_until_begun("kept", client)
    remove_all_workers(client)
    with pytest.raises(TimeoutError, match="no worker for 0.15") as caught:
        next(results)
    assert type(caught.value) is TimeoutError
    assert type(caught.value.__cause__) is NoWorkersLeft
    assert "'hold'" in str(caught.value)
    assert client.scheduler.address in str(caught.value)
    assert "wait_for_workers_timeout" in str(caught.value)
    assert tasks_left(client) == []


def test_the_next_call_runs_as_soon_as_there_is_a_worker(client, monkeypatch):
    monkeypatch.setattr(counting, "DESERTED", 0.2)
    results = begin("next", wait_for_workers_timeout=0)
    wait_until_begun("next", client)
    remove_all_workers(client)
    with pytest.raises(TimeoutError, match="no worker"):
        next(results)
    client.cluster.scale(2)
    with parallel_config("dask"):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]


def test_workers_that_come_in_time_do_the_work(client, monkeypatch):
    """The longer one of the two times counts; here it is the user's."""
    monkeypatch.setattr(counting, "DESERTED", 0.1)
    results = begin("replaced", wait_for_workers_timeout=20)
    wait_until_begun("replaced", client)
    remove_all_workers(client)
    distributed.Event("replaced-go", client=client).set()
    client.cluster.scale(2)
    assert list(results) == [0, 1, 2]
    assert tasks_left(client) == []


class Nobody:
    """Stands in for a client whose scheduler has no workers, or some."""

    threads: dict[str, int] = {}

    def __init__(self):
        self.scheduler = self
        self.address = "tcp://somewhere:1"

    async def ncores(self, workers=None):
        return self.threads


@pytest.mark.parametrize(("patience", "enough"), [(0, 60), (10, 60), (90, 90)])
def test_how_long_workers_are_waited_for(patience, enough):
    client = Nobody()
    count = CoreCount(client, None, 2, lambda: None, interval=10, patience=patience)
    for _ in range(enough // 10):
        asyncio.run(count._count())
        count.check()
    asyncio.run(count._count())
    with pytest.raises(NoWorkersLeft, match=f"for {enough + 10} seconds.*somewhere"):
        count.check()
    client.threads = {"tcp://here:2": 1}
    asyncio.run(count._count())
    count.check()
