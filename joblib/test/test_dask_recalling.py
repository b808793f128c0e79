"""What is called off before the scheduler has taken it in does not stay on it."""

from __future__ import annotations

import asyncio
import threading

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import scouting  # noqa: E402
from joblib._dask.recalling import cancel  # noqa: E402

from .dask_common import hold, increment, small_cluster, tasks_left  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("threads of the shared cluster's workers"),
]


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


MARK = "the last word"


class Gate:
    """Has the scheduler take in no tasks until it is opened, as many releases may do.

    All other messages pass.
    """

    def __init__(self, scheduler):
        self.handlers = scheduler.stream_handlers
        self.real = self.handlers["update-graph"]
        self.opened = asyncio.Event()
        self.came = threading.Event()
        self.passed = threading.Event()
        self.let_in = []
        self.waiting = set()
        self.release = self.handlers["client-releases-keys"]
        self.heard = threading.Event()

    def take(self, **message):
        waiting = asyncio.ensure_future(self.wait(**message))
        self.waiting.add(waiting)
        self.came.set()

    def hear(self, **message):
        if MARK in message["keys"]:
            self.heard.set()
        return self.release(**message)

    async def wait(self, **message):
        await self.opened.wait()
        await self.real(**message)
        self.let_in += message["keys"]
        self.passed.set()


@pytest.fixture
def gate(client):
    gate = Gate(client.cluster.scheduler)
    gate.handlers["update-graph"] = gate.take
    gate.handlers["client-releases-keys"] = gate.hear
    yield gate
    client.loop.add_callback(gate.opened.set)
    gate.handlers["update-graph"] = gate.real
    gate.handlers["client-releases-keys"] = gate.release


def open_gate(client, gate):
    """Let tasks in, after all else that the client has sent before."""
    mark = {"op": "client-releases-keys", "keys": [MARK], "client": client.id}
    client.loop.add_callback(client._send_to_scheduler, mark)
    assert gate.heard.wait(10)
    client.loop.add_callback(gate.opened.set)
    assert gate.passed.wait(10)


def test_a_call_that_is_given_up_at_once(client, gate):
    with parallel_config("dask", client=client):
        outputs = Parallel(return_as="generator", batch_size=1)(
            delayed(hold)("at-once", i) for i in range(9)
        )
        assert gate.came.wait(10)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    open_gate(client, gate)
    assert gate.let_in
    assert tasks_left(client) == []
    distributed.Event("at-once-go", client=client).set()


def test_scouts_that_are_recalled_at_once(client, gate):
    scouts = scouting.Scouts(client, 0, 2, lambda: None)
    scouts.keep(2)
    assert gate.came.wait(10)
    scouts.recall()
    open_gate(client, gate)
    assert [key.split("-")[1] for key in gate.let_in] == ["scout"]
    assert tasks_left(client) == []


def test_what_was_let_go_of_before(client):
    future = client.submit(increment, 1)
    assert future.result() == 2
    future.release()
    cancel(client, [future])
    assert tasks_left(client) == []
    assert client.submit(increment, 2).result() == 3
