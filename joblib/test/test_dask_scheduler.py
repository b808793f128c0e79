"""A scheduler that dies, freezes or comes back ends calls in an error, soon."""

from __future__ import annotations

import math
import signal
import threading
import time

import pytest

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import pulse  # noqa: E402
from joblib._dask.dividing import Divider  # noqa: E402

from .dask_command import command_line_cluster, wait_for  # noqa: E402
from .dask_common import (  # noqa: E402
    hold,
    increment,
    tasks_left,
    total,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

PATIENCE = 1.0  # seconds of silence after which a scheduler is taken for frozen


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    # not by its setting, of which dask takes no less than eleven seconds
    monkeypatch.setattr(pulse, "longest_silence", lambda: PATIENCE)
    with dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
        yield


@pytest.fixture
def cluster(tmp_path):
    with command_line_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster.address, timeout=3) as client:
        client.wait_for_workers(1, timeout=20)
        yield client
        cluster.scheduler.signal(signal.SIGCONT)


class Call(threading.Thread):
    """A call on a thread of its own, and what it raised."""

    def __init__(self, tasks, **options):
        super().__init__()
        self.tasks = tasks
        self.options = options
        self.error = None
        self.start()

    def run(self):
        try:
            with parallel_config("dask", **self.options):
                Parallel()(self.tasks)
        except BaseException as error:
            self.error = error

    def end(self):
        self.join(15)
        assert not self.is_alive()
        return self.error


def check_names(error, function):
    assert isinstance(error, RuntimeError), error
    assert f"'{function}'" in str(error)
    assert error.__cause__ is not None


# -------------------------------------------------------------------- it freezes
@pytest.mark.parametrize("pause", [math.inf, 0.1])
def test_a_scheduler_that_freezes_while_tasks_run(cluster, client, monkeypatch, pause):
    """With a pause it is also looked for batches that take too long."""
    monkeypatch.setattr(Divider, "pause", pause)
    call = Call([delayed(hold)("frozen", i) for i in range(4)], client=client)
    wait_until_begun("frozen", client)
    cluster.scheduler.signal(signal.SIGSTOP)
    error = call.end()
    check_names(error, "hold")
    assert "has not answered" in str(error)
    assert cluster.address in str(error)
    # once it goes on it is as good as new
    cluster.scheduler.signal(signal.SIGCONT)
    distributed.Event("frozen-go", client=client).set()
    assert tasks_left(client) == []
    with parallel_config("dask", client=client):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]


def test_a_scheduler_that_is_frozen_when_a_call_begins(cluster, client):
    cluster.scheduler.signal(signal.SIGSTOP)
    with parallel_config("dask", client=client):
        with pytest.raises(ConnectionError, match="has not answered"):
            Parallel()(delayed(increment)(i) for i in range(3))
    cluster.scheduler.signal(signal.SIGCONT)
    with parallel_config("dask", client=client):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]


def test_a_scheduler_that_is_frozen_when_data_is_sent(cluster, client):
    with parallel_config("dask", client=client):
        assert Parallel()([delayed(increment)(1)]) == [2]  # knows the workers
    data = np.ones(1_000_000)

    def tasks():
        cluster.scheduler.signal(signal.SIGSTOP)
        yield from (delayed(total)(data, i) for i in range(3))

    check_names(Call(tasks(), client=client).end(), "total")
    cluster.scheduler.signal(signal.SIGCONT)
    assert tasks_left(client) == []


def test_a_scheduler_that_is_frozen_when_a_context_scatters(cluster, client):
    data = np.ones(1_000_000)
    with parallel_config("dask", client=client, scatter=[data]):
        parallel = Parallel()
        assert parallel([]) == []  # knows the workers
        cluster.scheduler.signal(signal.SIGSTOP)
        with pytest.raises(ConnectionError, match="has not answered"):
            parallel([delayed(total)(data)])
        cluster.scheduler.signal(signal.SIGCONT)
        assert parallel([delayed(total)(data)]) == [1_000_000.0]


def test_a_pause_of_the_scheduler_is_survived(cluster, client, monkeypatch):
    monkeypatch.setattr(pulse, "longest_silence", lambda: 60.0)
    call = Call([delayed(hold)("pause", i) for i in range(4)], client=client)
    wait_until_begun("pause", client)
    cluster.scheduler.signal(signal.SIGSTOP)
    call.join(3 * PATIENCE)  # real silence, which is what this is about
    assert call.is_alive()
    cluster.scheduler.signal(signal.SIGCONT)
    distributed.Event("pause-go", client=client).set()
    assert call.end() is None
    assert tasks_left(client) == []


def test_patience_is_a_setting_of_dask(monkeypatch):
    monkeypatch.undo()
    with dask.config.set({"distributed.comm.timeouts.tcp": "2 minutes"}):
        assert pulse.longest_silence() == 120.0


# ---------------------------------------------------------------------- it dies
def test_a_scheduler_that_is_killed(cluster, client):
    call = Call([delayed(hold)("killed", i) for i in range(4)], client=client)
    wait_until_begun("killed", client)
    start = time.monotonic()
    cluster.scheduler.signal(signal.SIGKILL)
    error = call.end()
    check_names(error, "hold")
    assert time.monotonic() - start < 10
    with parallel_config("dask", client=client):
        with pytest.raises((OSError, RuntimeError, ValueError)):
            Parallel()([delayed(increment)(1)])


def test_a_scheduler_that_is_killed_and_started_again(cluster, client):
    call = Call([delayed(hold)("again", i) for i in range(4)], client=client)
    wait_until_begun("again", client)
    cluster.scheduler.signal(signal.SIGKILL)
    check_names(call.end(), "hold")
    cluster.start_scheduler()
    cluster.start_workers(1)
    wait_for(lambda: client.status == "running", "new connection")
    client.wait_for_workers(1, timeout=20)
    with parallel_config("dask", client=client):
        assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]
    assert tasks_left(client) == []


def test_a_frozen_scheduler_that_is_killed(cluster, client):
    call = Call([delayed(hold)("both", i) for i in range(4)], client=client)
    wait_until_begun("both", client)
    cluster.scheduler.signal(signal.SIGSTOP)
    cluster.scheduler.signal(signal.SIGKILL)
    check_names(call.end(), "hold")
