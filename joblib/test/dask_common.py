"""What the tests of the dask backend share: functions to run, and a few helpers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import contextmanager, suppress

import distributed
import pytest

from joblib import Parallel, delayed, parallel_config

#: with a key of the user's, a task runs nothing of its calls itself
EITHER_WAY = pytest.mark.parametrize("options", [{}, {"key": "seen"}], ids=str)

SECONDS = 10.0  # that anything here may take at most


def increment(x):
    return x + 1


def process_id(*_):
    return os.getpid()


def total(array, extra=0):
    return float(array.sum()) + extra


def fail(x):
    raise KeyError(f"no {x}")


def return_lock(x):
    return threading.Lock()


def end_process(*_):
    os._exit(1)


def hold(name, x):
    """Say that the task has begun, and wait until the test lets it go on."""
    distributed.Event(f"{name}-begun").set()
    distributed.Event(f"{name}-go").wait(timeout=SECONDS)
    return x


def wait_until_begun(name, client):
    assert distributed.Event(f"{name}-begun", client=client).wait(timeout=SECONDS)


class TolerantCluster(distributed.LocalCluster):
    """Bears the news that a worker has gone of which it has not heard before.

    One may be killed while it joins; dask's own would fail when it is closed.
    """

    def _update_worker_status(self, op, msg):
        with suppress(KeyError):
            super()._update_worker_status(op, msg)


@contextmanager
def small_cluster(**options):
    """A cluster of one worker with one thread, unless `options` say otherwise."""
    options = {"n_workers": 1, "threads_per_worker": 1, **options}
    cluster = TolerantCluster(
        dashboard_address=":0", worker_dashboard_address=":0", **options
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


async def _drain(dask_scheduler, seconds):
    # Looked at where it was waited for: a moment after a task was called off there may
    # be some that it had sent before it heard of it, and those go as well.
    deadline = time.monotonic() + seconds
    while dask_scheduler.tasks and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return [str(key) for key in dask_scheduler.tasks]


def tasks_left(client, seconds=SECONDS):
    """Return the scheduler's tasks, once there are none or `seconds` have passed."""
    return client.run_on_scheduler(_drain, seconds=seconds)


def keys_seen(client):
    """Return the keys of all tasks the scheduler remembers to have had."""

    def keys(dask_scheduler):
        return [str(entry[0]) for entry in dask_scheduler.transition_log]

    return set(client.run_on_scheduler(keys))


def pool_sizes(client):
    """Return how many threads each worker has in its pool, and should have."""

    def sizes(dask_worker):
        return len(
            dask_worker.executors["default"]._threads
        ), dask_worker.state.nthreads

    return list(client.run(sizes).values())


def check_as_before(client):
    """Check that nothing is left on the cluster, and that the next call works."""
    assert tasks_left(client) == []
    with parallel_config("dask", client=client):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]
