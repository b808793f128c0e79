"""Functions with much in their closures: they go to the cluster along with a task."""

from __future__ import annotations

import os
import threading
import time
import warnings

import pytest

pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

import dask  # noqa: E402
import distributed  # noqa: E402

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask.carrying import Carrier  # noqa: E402

from .dask_command import kill_all_workers  # noqa: E402
from .dask_common import (  # noqa: E402
    SECONDS,
    hold,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


@pytest.fixture
def client():
    with small_cluster(n_workers=2) as client:
        yield client
        assert tasks_left(client) == []


@pytest.fixture
def carried(monkeypatch):
    """The keys of functions that have been sent along with tasks."""
    keys = []
    carry = Carrier.carry

    def noting(self, *args):
        future = carry(self, *args)
        keys.append(future.key)
        return future

    monkeypatch.setattr(Carrier, "carry", noting)
    return keys


SIZE = 1_200_000


def closure(n=SIZE):
    data = np.ones(n, dtype=np.uint8)
    return lambda i: int(data.sum()) + i


def scattered(client):
    """Return the keys of the data that workers were given by scattering."""

    def keys(dask_worker):
        log = dask_worker.state.log
        return [str(entry[0]) for entry in log if "receive-from-scatter" in entry]

    return [key for found in client.run(keys).values() for key in found]


def test_a_large_function_goes_with_a_task(client, carried):
    function = closure()
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(function)(i) for i in range(10))
    assert out == [SIZE + i for i in range(10)]
    assert len(carried) == 1
    assert scattered(client) == []


def test_small_ones_are_scattered_for_dask_would_keep_the_messages(client, carried):
    function = closure(500_000)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(function)(i) for i in range(10))
    assert out == [500_000 + i for i in range(10)]
    assert carried == []
    assert len(set(scattered(client))) == 1


def test_its_key_has_the_prefix_of_the_call(client, carried):
    function = closure()
    with parallel_config("dask", key="mine"):
        Parallel(batch_size=1)(delayed(function)(i) for i in range(2))
    [key] = carried
    assert key.startswith("mine-joblib_function_lambda-")


@pytest.mark.parametrize(
    ("most", "is_carried"), [("1MB", False), ("1205kB", False), ("1300kB", True)]
)
def test_dask_does_not_warn_of_it(client, carried, most, is_carried):
    function = closure()
    with (
        warnings.catch_warnings(),
        dask.config.set({"distributed.admin.large-graph-warning-threshold": most}),
        parallel_config("dask"),
    ):
        warnings.simplefilter("error")
        out = Parallel(batch_size=1)(delayed(function)(i) for i in range(4))
    assert out == [SIZE + i for i in range(4)]
    assert bool(carried) is is_carried
    assert bool(scattered(client)) is not is_carried


@pytest.mark.allow_leaks("a nanny may be about to start a worker")
def test_dask_computes_it_again_where_its_workers_have_died(client, carried):
    function = closure()
    killed = []

    def tasks():
        for i in range(12):
            if i == 8:
                kill_all_workers(client)
                killed.append(i)
            yield delayed(function)(i)

    with parallel_config("dask"):
        out = Parallel(pre_dispatch=4, batch_size=1)(tasks())
    assert out == [SIZE + i for i in range(12)]
    assert killed
    assert len(carried) == 1


@pytest.fixture
def busy(client):
    """Keep both workers busy until called; nothing else of that is left then."""
    names = ["a", "b"]
    held = [client.submit(hold, name, 1, pure=False) for name in names]
    for name in names:
        wait_until_begun(name, client)

    def end():
        for name in names:
            distributed.Event(f"{name}-go", client=client).set()
        client.gather(held)
        held.clear()

    yield end
    end()


def test_one_that_waits_for_a_worker_is_not_taken_for_lost(client, busy, carried):
    function = closure()
    out = []

    def call():
        with parallel_config("dask", client=client):
            out.extend(Parallel(batch_size=1)(delayed(function)(i) for i in range(4)))

    caller = threading.Thread(target=call)
    caller.start()
    caller.join(1.5)  # a call looks around twice a second, while it hears nothing
    assert caller.is_alive()
    busy()
    caller.join(SECONDS)
    assert out == [SIZE + i for i in range(4)]
    assert len(carried) == 1


def test_one_that_has_not_run_goes_with_its_call(client, busy, carried):
    function = closure()
    with parallel_config("dask"), pytest.raises(TimeoutError):
        Parallel(batch_size=1, timeout=0.3)(delayed(function)(i) for i in range(4))
    assert len(carried) == 1
    busy()
    assert tasks_left(client) == []


def test_the_data_of_one_called_off_by_somebody_is_sent_again(client, busy, carried):
    function = closure()
    out = []

    def call():
        with parallel_config("dask", client=client):
            out.extend(Parallel(batch_size=1)(delayed(function)(i) for i in range(4)))

    def is_there(dask_scheduler):
        return any(key in dask_scheduler.tasks for key in carried)

    caller = threading.Thread(target=call)
    caller.start()
    while not client.run_on_scheduler(is_there):
        caller.join(0.01)
    client.cancel([distributed.Future(carried[0], client)], force=True)
    busy()
    caller.join(SECONDS)
    assert out == [SIZE + i for i in range(4)]
    # the second time it is taken for one of many that are made around the same data
    assert ["ndarray" in key for key in set(scattered(client))] == [True]


def end_process(seconds):
    time.sleep(seconds)
    os._exit(1)


@pytest.mark.allow_leaks("a nanny may be about to start a worker")
@pytest.mark.parametrize("controls", [{}, {"on_error": "return", "retries": 2}])
def test_one_that_waited_where_another_task_killed_the_worker(controls):
    """dask counts the deaths of a worker against all that waits there."""
    function = closure()
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        small_cluster() as client,
    ):
        killer = client.submit(end_process, 0.5, pure=False)
        with parallel_config("dask", wait_for_workers_timeout=20):
            call = Parallel(batch_size=1, **controls)
            out = call(delayed(function)(i) for i in range(6))
        assert out == [SIZE + i for i in range(6)]
        assert isinstance(killer.exception(), distributed.KilledWorker)
        del killer
        assert tasks_left(client) == []
