"""A call on dask that is given up takes all it has on the cluster with it, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402

from .dask_common import (  # noqa: E402
    hold,
    increment,
    pool_sizes,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

SOON = 1.0  # seconds within which the cluster has to be empty


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


@pytest.fixture
def name(request, client):
    """A name for `hold`; whatever still waits is let go after the test."""
    name = request.node.name
    yield name
    distributed.Event(f"{name}-go", client=client).set()


async def _drain(dask_scheduler, seconds):
    import asyncio

    deadline = time.monotonic() + seconds
    while dask_scheduler.tasks and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return [str(key) for key in dask_scheduler.tasks]


def left_after(client, seconds=SOON):
    """Return the scheduler's tasks once there are none, or `seconds` have passed."""
    return client.run_on_scheduler(_drain, seconds=seconds)


def check_usable(client):
    """Check that the next call works, though old tasks may still hold workers."""
    with parallel_config("dask", client=client):
        parallel = Parallel(n_jobs=2)
        assert parallel(delayed(increment)(i) for i in range(5)) == [1, 2, 3, 4, 5]


def fail_when_begun(name):
    assert distributed.Event(f"{name}-begun").wait(timeout=10)
    raise LookupError(name)


def held(name, data, n=40):
    return (delayed(hold)(name, data) for _ in range(n))


# ------------------------------------------------------------- in this process
@pytest.mark.parametrize("size", [10, 60_000, 300_000], ids=["small", "shared", "sent"])
def test_an_error(client, name, size):
    data = np.ones(size)
    with parallel_config("dask"), pytest.raises(LookupError):
        Parallel(pre_dispatch="all", batch_size=1)(
            # without data of its own it goes to an idle worker
            [delayed(fail_when_begun)(name), *held(name, data)]
        )
    assert left_after(client) == []
    # dask cannot stop what runs: it has the workers until it ends
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)


def test_a_timeout(client, name):
    data = np.ones(300_000)
    with parallel_config("dask"), pytest.raises(TimeoutError):
        Parallel(timeout=0.1, pre_dispatch="all")(held(name, data))
    assert left_after(client) == []
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)


@pytest.mark.parametrize("kind", ["generator", "generator_unordered"])
@pytest.mark.parametrize("way", ["close", "del"])
def test_a_generator(client, name, kind, way):
    data = np.ones(300_000)
    tasks = [delayed(increment)(0), *held(name, data)]
    with parallel_config("dask"):
        outputs = Parallel(return_as=kind, pre_dispatch="all", batch_size=1)(tasks)
    assert next(outputs) == 1
    wait_until_begun(name, client)
    with pytest.warns(UserWarning, match="cancelled"):
        if way == "close":
            outputs.close()
        else:
            del outputs
    assert left_after(client) == []
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)


def test_results_that_nobody_has_taken(client):
    with parallel_config("dask"):
        outputs = Parallel(return_as="generator")(
            delayed(np.ones)(100_000) for _ in range(20)
        )
    assert next(outputs).size == 100_000
    with pytest.warns(UserWarning, match="cancelled"):
        outputs.close()
    assert left_after(client) == []


def call_and_wait(name, data):
    return Parallel(batch_size=1, pre_dispatch="all")(held(name, data, 10))


def test_what_tasks_have_started_goes_with_them(client, name):
    data = np.ones(300_000)
    with parallel_config("dask"):
        outputs = Parallel(return_as="generator", batch_size=1)(
            delayed(call_and_wait)(name, data) for _ in range(3)
        )
        wait_until_begun(name, client)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    assert left_after(client) == []
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)
    assert all(now == should for now, should in pool_sizes(client))


def test_many_aborted_calls_leave_nothing(client):
    data = np.ones(60_000)
    with parallel_config("dask"):
        for _ in range(10):
            with pytest.raises(ZeroDivisionError):
                Parallel()(delayed(divide)(data, 3 - i) for i in range(20))
        assert left_after(client) == []
    check_usable(client)


def divide(data, i):
    return data.sum() / i if i else 1 // 0


# ------------------------------------------------------------ another process
CALLER = """
import sys, time
import numpy as np
from distributed import Client, Event
from joblib import Parallel, delayed, parallel_config
from joblib.test.dask_common import hold, increment

def call_and_wait(name, data):
    return Parallel(batch_size=1)(delayed(hold)(name, data) for _ in range(10))

if __name__ == "__main__":
    address, name, depth = sys.argv[1:]
    data = np.ones(300_000)
    task = hold if depth == "flat" else call_and_wait
    with Client(address) as client, parallel_config("dask"):
        try:
            Parallel(pre_dispatch="all", batch_size=1)(
                delayed(task)(name, data) for _ in range(20)
            )
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            def tasks(dask_scheduler):
                return len(dask_scheduler.tasks)
            deadline = time.monotonic() + float(sys.stdin.readline())
            while client.run_on_scheduler(tasks) and time.monotonic() < deadline:
                time.sleep(0.005)
            print(client.run_on_scheduler(tasks), flush=True)
            Event(f"{name}-go").set()
            print(Parallel()(delayed(increment)(i) for i in range(3)), flush=True)
"""


@pytest.fixture
def start_caller(client, name, tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(CALLER)
    started = []

    def start(depth):
        process = subprocess.Popen(
            [sys.executable, str(script), client.scheduler.address, name, depth],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_until_begun(name, client)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("depth", ["flat", "nested"])
def test_ctrl_c(start_caller, depth):
    caller = start_caller(depth)
    caller.send_signal(signal.SIGINT)
    out, err = caller.communicate(f"{SOON}\n", 20)
    assert out.splitlines() == ["interrupted", "0", "[1, 2, 3]"], err
    assert caller.returncode == 0
    assert err == ""


@pytest.mark.parametrize("depth", ["flat", "nested"])
def test_a_caller_that_is_killed(client, start_caller, name, depth):
    caller = start_caller(depth)
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait(10)
    assert left_after(client) == []
    distributed.Event(f"{name}-go", client=client).set()
    check_usable(client)
    assert tasks_left(client) == []
