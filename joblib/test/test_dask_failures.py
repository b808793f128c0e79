"""What goes wrong on a dask cluster ends in an error, soon, and leaves nothing."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import DaskDistributedBackend  # noqa: E402

from .dask_common import (  # noqa: E402
    check_as_before,
    end_process,
    fail,
    hold,
    increment,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

KILLS = pytest.mark.allow_leaks("the nanny of the shared cluster starts new workers")


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_client_usable(request):
    yield
    if "client" in request.fixturenames:
        check_as_before(request.getfixturevalue("client"))


# ---------------------------------------------------------------- what is no task
@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (3, TypeError),
        (None, TypeError),
        (increment, TypeError),
        (delayed(increment), TypeError),
        ((increment, (1,)), ValueError),
    ],
)
@pytest.mark.parametrize("place", [0, 30])
def test_an_item_that_is_no_task(client, item, kind, place):
    tasks = [delayed(increment)(i) for i in range(40)]
    tasks[place] = item
    with parallel_config("dask"):
        with pytest.raises(kind, match="runs tasks made by `delayed`.*got an item"):
            Parallel()(tasks)


class Nameless:
    """Raises when it is asked for its name, as some proxies do."""

    @property
    def __name__(self):
        raise RuntimeError("no name")

    def __call__(self, x):
        return x + 1 if x else threading.Lock()


def test_a_function_without_a_name_keeps_nobody_waiting(client):
    with parallel_config("dask"):
        with pytest.raises((RuntimeError, pickle.PicklingError)):
            Parallel()(delayed(Nameless())(i) for i in range(3))


# --------------------------------------------------------------------- errors
def test_the_tasks_own_error_and_where_it_was_raised(client):
    with parallel_config("dask"):
        with pytest.raises(KeyError, match="no 3") as caught:
            Parallel()([delayed(fail)(3)])
    assert "in fail" in str(caught.value.__cause__)


def test_an_error_with_a_long_message_keeps_its_type(client):
    def shout():
        raise LookupError("x" * 100_000)

    with parallel_config("dask"), pytest.raises(LookupError) as caught:
        Parallel()([delayed(shout)()])
    assert len(caught.value.args[0]) == 100_000


class Mute(Exception):
    def __str__(self):
        raise ValueError("it has no text")


def fail_mutely(x):
    raise Mute(x)


def test_an_error_without_a_text_keeps_its_type(client):
    with parallel_config("dask"), pytest.raises(Mute) as caught:
        Parallel()([delayed(fail_mutely)(3)])
    assert caught.value.args == (3,)


def test_an_error_that_cannot_be_pickled(client):
    def complain():
        raise ValueError(threading.Lock())

    with parallel_config("dask"):
        with pytest.raises(RuntimeError, match="can't be pickled: ValueError"):
            Parallel()([delayed(complain)()])


def test_an_error_cancels_what_is_left(client, tmp_path):
    def note_and_wait(i):
        (tmp_path / str(i)).touch()
        if i == 0:
            raise KeyError(i)
        time.sleep(0.01)

    with parallel_config("dask"), pytest.raises(KeyError):
        Parallel(pre_dispatch="all", batch_size=1)(
            delayed(note_and_wait)(i) for i in range(1000)
        )
    assert tasks_left(client) == []
    assert len(list(tmp_path.iterdir())) < 1000


def test_a_timeout_cancels_what_runs(client):
    name = "too-slow"
    with parallel_config("dask"), pytest.raises(TimeoutError, match="timeout=0.2"):
        Parallel(timeout=0.2)(delayed(hold)(name, i) for i in range(10))
    assert tasks_left(client) == []
    distributed.Event(f"{name}-go", client=client).set()


def test_a_closed_generator_cancels_what_runs(client):
    name = "closed"
    data = np.ones(200_000)
    with parallel_config("dask"):
        outputs = Parallel(return_as="generator")(
            delayed(hold)(name, data) for i in range(10)
        )
        wait_until_begun(name, client)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    assert tasks_left(client) == []
    distributed.Event(f"{name}-go", client=client).set()


def test_an_interrupted_call_cancels_what_runs(client):
    name = "interrupted"

    def interrupt():
        wait_until_begun(name, client)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with parallel_config("dask"), pytest.raises(KeyboardInterrupt):
        Parallel()(delayed(hold)(name, i) for i in range(10))
    thread.join()
    assert tasks_left(client) == []
    distributed.Event(f"{name}-go", client=client).set()


def test_an_error_in_the_callers_iterable(client):
    def tasks():
        yield delayed(increment)(1)
        yield delayed(increment)(2)
        raise OSError("no more input")

    with parallel_config("dask"), pytest.raises(OSError, match="no more input"):
        Parallel()(tasks())


# -------------------------------------------------------------- dying workers
@pytest.fixture
def mortal():
    """The client of a cluster of its own for each test.

    A nanny whose worker dies while it is being started starts no other one.
    """
    with small_cluster(n_workers=2) as client:
        yield client
        check_as_before(client)


@KILLS
def test_a_task_that_kills_its_workers():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        small_cluster(n_workers=2),
        parallel_config("dask"),
        pytest.raises(distributed.KilledWorker, match="end_process"),
    ):
        Parallel()(delayed(end_process)(i) for i in range(3))


@KILLS
def test_a_worker_that_dies_once_is_survived(mortal, tmp_path):
    def die_once(i):
        marker = tmp_path / "died"
        if i == 2 and not marker.exists():
            marker.touch()
            os._exit(1)
        return i

    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(die_once)(i) for i in range(10))
    assert out == list(range(10))


@KILLS
def test_shared_data_that_died_with_its_worker_is_sent_again(tmp_path):
    def work(data, i):
        marker = tmp_path / "died"
        if i == 3 and not marker.exists():
            marker.touch()
            os._exit(1)
        return float(data.sum()) + i

    data = np.ones(50_000)  # shared, but not with all workers at once
    with small_cluster() as client, parallel_config("dask", client=client):
        out = Parallel(batch_size=1)(delayed(work)(data, i) for i in range(8))
        assert out == [50_000.0 + i for i in range(8)]
        assert tasks_left(client) == []


# ---------------------------------------------------- clients and schedulers
def held_call(client, name, out, beside=None):
    with parallel_config("dask", client=client):
        try:
            Parallel()(delayed(hold)(name, (i, beside)) for i in range(5))
        except BaseException as error:
            out.append(error)


def check_cancelled(out, reason):
    [error] = out
    assert isinstance(error, RuntimeError)
    assert "'hold'" in str(error)
    assert reason in str(error.__cause__)


@pytest.mark.parametrize(
    ("what", "reason"), [("close", "was closed"), ("restart", "scheduler-restart")]
)
def test_a_client_that_ends_in_the_middle_of_a_call(what, reason):
    out = []
    with small_cluster(silence_logs="CRITICAL") as client:
        caller = threading.Thread(target=held_call, args=(client, what, out))
        caller.start()
        wait_until_begun(what, client)
        getattr(client, what)()
        caller.join(20)
        assert not caller.is_alive()
    check_cancelled(out, reason)


def test_a_restart_ends_a_call_whose_data_was_shared():
    """It was not lost, but called off with all the rest."""
    out = []
    with small_cluster(silence_logs="CRITICAL") as client:
        more = client, "restart-shared", out, np.ones(300_000)
        caller = threading.Thread(target=held_call, args=more)
        caller.start()
        wait_until_begun("restart-shared", client)
        client.restart()
        caller.join(20)
        assert not caller.is_alive()
    check_cancelled(out, "scheduler-restart")


def test_a_call_on_a_client_that_was_closed_meanwhile():
    with small_cluster() as client, parallel_config("dask", client=client):
        Parallel()([delayed(increment)(1)])
        client.close()
        with pytest.raises(RuntimeError, match="client was closed"):
            Parallel()([delayed(increment)(1)])


CLUSTER = """
import sys
from distributed import LocalCluster
cluster = LocalCluster(
    n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://",
    dashboard_address=":0", worker_dashboard_address=":0",
)
print(cluster.scheduler_address, flush=True)
sys.stdin.read()
"""


def test_a_scheduler_that_dies_in_the_middle_of_a_call():
    out = []
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        address = process.stdout.readline().strip()
        with distributed.Client(address, timeout=2, set_as_default=False) as client:
            caller = threading.Thread(target=held_call, args=(client, "dying", out))
            caller.start()
            wait_until_begun("dying", client)
            process.kill()
            caller.join(20)
            assert not caller.is_alive()
    check_cancelled(out, "scheduler-connection-lost")


def test_no_worker_in_time():
    with small_cluster(n_workers=0) as client:
        with parallel_config("dask", client=client, wait_for_workers_timeout=0.1):
            with pytest.raises(TimeoutError, match="no worker after 0.1 s") as caught:
                Parallel()([delayed(increment)(1)])
            assert client.scheduler.address in str(caught.value)
        with parallel_config("dask", client=client, wait_for_workers_timeout=0):
            with pytest.raises(RuntimeError, match="no active worker"):
                Parallel()([delayed(increment)(1)])
        assert tasks_left(client) == []


def test_a_late_worker_is_waited_for():
    with small_cluster(n_workers=0, processes=False) as client:
        client.cluster.scale(1)
        with parallel_config("dask", client=client):
            assert Parallel()([delayed(increment)(1)]) == [2]


def test_a_scheduler_that_is_not_there():
    with dask.config.set({"distributed.comm.timeouts.connect": "500ms"}):
        with pytest.raises(OSError, match="127.0.0.1:1"):
            DaskDistributedBackend(scheduler_host="tcp://127.0.0.1:1")
