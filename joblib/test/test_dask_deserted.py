"""Calls on dask clusters that lose all their workers."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import threading
from datetime import timedelta

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import counting, courier, sharing  # noqa: E402
from joblib._dask.counting import CoreCount, NoWorkersLeft  # noqa: E402
from joblib._dask.restrictions import Restrictions  # noqa: E402

from .dask_common import (  # noqa: E402
    hold,
    increment,
    process_id,
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
    with pytest.raises(TimeoutError, match=r"no worker for 0\.\d+ s") as caught:
        next(results)
    assert type(caught.value) is TimeoutError
    assert type(caught.value.__cause__) is NoWorkersLeft
    assert "'hold'" in str(caught.value)
    assert client.scheduler.address in str(caught.value)
    assert "wait_for_workers_timeout" in str(caught.value)
    assert tasks_left(client) == []


def test_the_reason_is_told_though_news_of_its_end_come_first(client, monkeypatch):
    """A batch that is cancelled for it may come home before it is called off."""
    look_around = courier.Courier._look_around

    def look(carrier):
        look_around(carrier)
        with carrier._condition:
            if carrier._error is not None:
                come.append(carrier._condition.wait_for(lambda: carrier._arrived, 5))

    come = []
    monkeypatch.setattr(courier.Courier, "_look_around", look)
    monkeypatch.setattr(counting, "DESERTED", 0.1)
    results = begin("reason", wait_for_workers_timeout=0)
    wait_until_begun("reason", client)
    remove_all_workers(client)
    with pytest.raises(TimeoutError, match="no worker"):
        next(results)
    assert come and come[0]


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
    monkeypatch.setattr(courier, "INTERVAL", 0.05)
    check = CoreCount.check

    def look(count):
        check(count)
        if count._deserted * count._interval > 0.1:
            enough.set()

    enough = threading.Event()
    monkeypatch.setattr(CoreCount, "check", look)
    results = begin("replaced", wait_for_workers_timeout=20)
    wait_until_begun("replaced", client)
    remove_all_workers(client)
    distributed.Event("replaced-go", client=client).set()
    assert enough.wait(10)
    client.cluster.scale(2)
    assert list(results) == [0, 1, 2]
    assert tasks_left(client) == []


@pytest.fixture
def no_collector():
    """What is to go goes by itself: nothing waits for the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_shared_data_waits_for_a_worker_to_go_to(client, monkeypatch, no_collector):
    """Not to be sent in vain, time and again, and the call given up for that."""
    monkeypatch.setattr(courier, "INTERVAL", 0.05)
    monkeypatch.setattr(sharing, "NO_WORKER", 0.1)
    data = b"x" * 2_000_000
    enough = threading.Event()
    check = CoreCount.check

    def look(count):
        check(count)
        if count._deserted > 5:
            enough.set()

    monkeypatch.setattr(CoreCount, "check", look)
    with parallel_config("dask"):
        parallel = Parallel(batch_size=1, return_as="generator")
        results = parallel(delayed(hold)("shared", (data, i)) for i in range(3))
    wait_until_begun("shared", client)
    remove_all_workers(client)
    distributed.Event("shared-go", client=client).set()
    assert enough.wait(15)
    client.cluster.scale(2)
    assert [i for _, i in results] == [0, 1, 2]
    assert tasks_left(client) == []


def test_an_adaptive_cluster_is_shown_that_there_is_work(client, monkeypatch):
    """Though what is left to do waits until there are workers."""
    monkeypatch.setattr(courier, "INTERVAL", 0.05)
    # after which a LocalCluster believes that a worker of its own has gone
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        parallel_config("dask", task_timeout=60),
    ):
        parallel = Parallel(1000, batch_size=1, return_as="generator", pre_dispatch=2)
        results = parallel(delayed(increment)(i) for i in range(40))
        assert next(results) == 1
        remove_all_workers(client)
        client.cluster.adapt(minimum=0, maximum=2, interval="100ms")
        assert list(results) == list(range(2, 41))
    assert tasks_left(client) == []


# ---------------------------------------------- workers that a call may not use
@pytest.fixture(scope="module")
def two_workers():
    with small_cluster(n_workers=2) as client:
        yield client


@pytest.fixture
def soon(monkeypatch):
    """The time is short for which workers are waited for."""
    monkeypatch.setattr(counting, "DESERTED", 0.1)
    monkeypatch.setattr(counting, "LOOK_CLOSER", 1)
    monkeypatch.setattr(courier, "INTERVAL", 0.05)


def test_the_only_worker_for_a_call_is_killed(two_workers, soon):
    """Its nanny starts another one, which has another address."""
    client = two_workers
    address = next(iter(client.nthreads()))
    [pid] = client.run(os.getpid, workers=[address]).values()
    options = {"workers": [address], "wait_for_workers_timeout": 0}
    results = begin("only", client=client, **options)
    wait_until_begun("only", client)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TimeoutError, match="no worker with workers=") as caught:
        next(results)
    assert address in str(caught.value)
    assert "'hold'" in str(caught.value)
    assert tasks_left(client) == []
    distributed.Event("only-go", client=client).set()
    with parallel_config("dask", client=client):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]


def test_resources_that_nobody_has(two_workers, soon):
    options = {"resources": {"GPU": 1}, "wait_for_workers_timeout": 0}
    with parallel_config("dask", client=two_workers, **options):
        with pytest.raises(TimeoutError, match="no worker with resources={'GPU': 1}"):
            Parallel()(delayed(increment)(i) for i in range(3))
    assert tasks_left(two_workers) == []


def test_a_worker_with_the_resources_joins_in_time(two_workers, monkeypatch):
    monkeypatch.setattr(counting, "LOOK_CLOSER", 1)
    with parallel_config("dask", client=two_workers, resources={"BIG": 1}):
        parallel = Parallel(batch_size=1, return_as="generator")
        results = parallel(delayed(process_id)(i) for i in range(3))
    loop, address = two_workers.loop, two_workers.scheduler.address

    async def join():
        return await distributed.Worker(
            address, nthreads=1, resources={"BIG": 1}, dashboard_address=":0"
        )

    worker = distributed.utils.sync(loop, join)
    try:
        assert list(results) == [os.getpid()] * 3
    finally:
        distributed.utils.sync(loop, worker.close)


ALICE = {"tcp://10.0.0.1:80": {"name": "alice", "host": "10.0.0.1", "resources": {}}}
BOB = {"tls://10.0.0.2:81": {"name": 7, "host": "10.0.0.2", "resources": {"GPU": 2}}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [True, True, True]),
        ({"workers": ["alice"]}, [True, False, True]),
        ({"workers": "tcp://10.0.0.1:80"}, [True, False, True]),
        ({"workers": ["10.0.0.1:80"]}, [True, False, True]),
        ({"workers": ["10.0.0.1"]}, [True, False, True]),
        ({"workers": ["tcp://10.0.0.1:080"]}, [True, False, True]),
        ({"workers": [7]}, [True, True, True]),  # 7 may still join
        ({"workers": ["a-host"]}, [True, True, True]),
        ({"workers": ["tcp://a-host:80"]}, [True, True, True]),
        ({"workers": ["tcp://10.0.0.3:80"]}, [False, False, False]),
        ({"workers": ["tcp://10.0.0.3:80", "alice"]}, [True, False, True]),
        (
            {"workers": ["tcp://10.0.0.3:80"], "allow_other_workers": True},
            [True, True, True],
        ),
        ({"resources": {"GPU": 2}}, [False, True, True]),
        ({"resources": {"GPU": 3}}, [False, False, False]),
        ({"resources": {"GPU": 1}, "workers": ["alice"]}, [False, True, True]),
    ],
)
def test_who_may_run_a_calls_tasks(options, expected):
    """With Alice there alone, then Bob, then both; nobody ever will do."""
    restrictions = Restrictions(options)
    seen = [restrictions.admit(those) for those in (ALICE, BOB, {**ALICE, **BOB})]
    assert seen == expected


class Nobody:
    """Stands in for a client whose scheduler has no workers, or some."""

    def __init__(self):
        self.threads: dict[str, int] = {}
        self.scheduler = self
        self.address = "tcp://somewhere:1"
        self.loop = self
        self.queued = []

    async def ncores(self, workers=None):
        return self.threads

    def submit(self, func, **options):
        return options

    def add_callback(self, callback):
        self.queued.append(callback)


class Misjudged(Nobody):
    """The same of one with a worker of which it says nothing that would do."""

    status = "pending"

    def __init__(self):
        super().__init__()
        self.threads = {"tcp://here:2": 1}

    async def identity(self):
        return {"workers": {"tcp://here:2": {"resources": {}}}}

    def submit(self, func, **options):
        return self


def test_a_worker_counts_if_it_runs_a_task_as_those_of_the_call():
    client = Misjudged()
    count = CoreCount(client, {"resources": {"GPU": 1}}, 1, lambda: None)
    for _ in range(5):
        asyncio.run(count._count())
    assert (count._deserted, count.nobody) == (5, False)
    client.status = "finished"
    asyncio.run(count._count())
    assert count._deserted == 0
    client.status = "pending"
    for _ in range(5):
        asyncio.run(count._count())
    assert count._deserted == 0


def test_a_late_answer_counts_once(monkeypatch):
    """However often it was due: the loop may have been blocked, or the scheduler."""
    now = iter(range(1000))
    monkeypatch.setattr(counting.time, "monotonic", lambda: next(now))
    client = Nobody()
    count = CoreCount(client, {}, 2, lambda: None)
    for _ in range(20):
        count.look()
    assert len(client.queued) == 1
    asyncio.run(client.queued[0]())
    count.look()
    assert (count._deserted, len(client.queued)) == (1, 2)


def test_the_user_is_told_once(caplog):
    client = Nobody()
    count = CoreCount(client, {}, 2, lambda: None, interval=6)
    for expected in (0, 1, 1):
        asyncio.run(count._count())
        count.check()
        assert len(caplog.records) == expected
    assert "tcp://somewhere:1" in caplog.text
    assert "300 seconds" in caplog.text


@pytest.mark.parametrize("timeout", ["soon", "", [3], math.nan, "3 moons"])
def test_what_is_no_time_is_refused(timeout):
    with pytest.raises(ValueError, match="wait_for_workers_timeout must be") as caught:
        parallel_config("dask", wait_for_workers_timeout=timeout)
    assert repr(timeout) in str(caught.value)


@pytest.mark.parametrize("timeout", [None, 0, "50ms", "1 h", timedelta(1), math.inf])
def test_however_the_time_is_written(client, timeout):
    with parallel_config("dask", wait_for_workers_timeout=timeout):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]


def test_for_ever():
    """An infinite time is waited for the first worker, too."""
    with small_cluster(n_workers=0, processes=False) as client:
        client.cluster.scale(1)
        with parallel_config("dask", wait_for_workers_timeout=math.inf):
            assert Parallel()([delayed(increment)(1)]) == [2]


@pytest.mark.parametrize(
    ("patience", "enough"), [(0, 300), (10, 300), (330, 330), (math.inf, 1_000)]
)
def test_how_long_workers_are_waited_for(patience, enough):
    client = Nobody()
    count = CoreCount(client, {}, 2, lambda: None, interval=10, patience=patience)
    for _ in range(enough // 10):
        asyncio.run(count._count())
        count.check()
    asyncio.run(count._count())
    if patience == math.inf:
        count.check()
    else:
        with pytest.raises(NoWorkersLeft, match=f"for {enough + 10} seconds.*some"):
            count.check()
    client.threads = {"tcp://here:2": 1}
    asyncio.run(count._count())
    count.check()
