"""A worker that is stopped, and does not die: dask gives it up, and the call goes on."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import collecting  # noqa: E402

from .dask_command import command_line_cluster, wait_for  # noqa: E402
from .dask_common import tasks_left  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


def tell_and_double(name, x):
    """Send the process id, by way of the scheduler, and return twice the number."""
    distributed.Queue(name).put((x, os.getpid()))
    if x < 2:  # so that both workers have one
        distributed.Event(f"{name}-go").wait(20)
    return 2 * x


def test_the_tasks_of_a_frozen_worker_are_run_by_another(tmp_path, monkeypatch):
    # for how long dask waits to hear of a worker, if that is no less than ten times
    # the interval at which workers say that they are there
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "1s")
    with command_line_cluster(tmp_path, workers=2) as cluster:
        with distributed.Client(cluster.address) as client:
            client.wait_for_workers(2, timeout=20)
            begun = distributed.Queue("frozen", client=client)
            with parallel_config("dask", client=client):
                outputs = Parallel(return_as="generator", batch_size=1)(
                    delayed(tell_and_double)("frozen", i) for i in range(12)
                )
            where = dict(begun.get(timeout=20) for _ in range(2))
            assert len(set(where.values())) == 2
            frozen = where[0]
            os.kill(frozen, signal.SIGSTOP)
            try:
                distributed.Event("frozen-go", client=client).set()
                assert list(outputs) == [2 * i for i in range(12)]
                assert tasks_left(client) == []
            finally:
                with suppress(ProcessLookupError):  # its nanny has ended it
                    os.kill(frozen, signal.SIGCONT)
            # there is another one in its place
            wait_for(lambda: len(client.nthreads()) == 2, "second worker")
            with parallel_config("dask", client=client):
                assert Parallel()(delayed(abs)(-i) for i in range(9)) == list(range(9))


def number_and_place(i):
    return bytes(100_000), i, os.getpid()


def test_a_worker_that_freezes_with_results(tmp_path, monkeypatch):
    """They are computed anew, though the scheduler still tries to reach it."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "1s")
    real, frozen = collecting.ask_for, []

    async def ask_for(client, futures):
        if not frozen:
            frozen.append(pids[0])
            os.kill(pids[0], signal.SIGSTOP)
        return await real(client, futures)

    with command_line_cluster(tmp_path, workers=2) as cluster:
        with distributed.Client(cluster.address) as client:
            client.wait_for_workers(2, timeout=20)
            pids = list(client.run(os.getpid).values())
            monkeypatch.setattr(collecting, "ask_for", ask_for)
            try:
                with parallel_config("dask", client=client):
                    out = Parallel(batch_size=1)(
                        delayed(number_and_place)(i) for i in range(8)
                    )
                assert [i for _, i, _ in out] == list(range(8))
                assert frozen
                assert tasks_left(client) == []
            finally:
                for pid in frozen:
                    with suppress(ProcessLookupError):  # its nanny has ended it
                        os.kill(pid, signal.SIGCONT)
