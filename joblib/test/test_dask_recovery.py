"""A call on dask goes on when workers, requests or other calls come to grief."""

from __future__ import annotations

import asyncio
import gc
import types

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import DaskDistributedBackend, backend, collecting, losses  # noqa: E402
from joblib._dask.collecting import Collector  # noqa: E402

from .dask_common import (  # noqa: E402
    SECONDS,
    fail,
    hold,
    increment,
    small_cluster,
    tasks_left,
    total,
    wait_until_begun,
)

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_cluster_empty(request):
    yield
    if "client" in request.fixturenames:
        assert tasks_left(request.getfixturevalue("client")) == []


# ------------------------------------------------------------------ gathering
def first_time(owner, monkeypatch, name, instead):
    """Have the owner's function `name` do something else when it is first used."""
    real, used = getattr(owner, name), []

    def stand_in(*args, **kwargs):
        used.append(args)
        return (instead if len(used) == 1 else real)(*args, **kwargs)

    monkeypatch.setattr(owner, name, stand_in)
    return used


UNSET = []


async def never(*_, **__):
    UNSET.append(asyncio.Event())  # kept, as a connection is by the event loop
    await UNSET[-1].wait()


def test_results_are_asked_for_anew_when_a_worker_was_lost(client, monkeypatch):
    monkeypatch.setattr(collecting, "PATIENCE", 0.05)
    monkeypatch.setattr(
        collecting, "known_workers", lambda client: {"tcp://that-has-died:1"}
    )
    used = first_time(collecting, monkeypatch, "ask_for", never)
    with parallel_config("dask", client=client):
        assert Parallel()([delayed(increment)(1)]) == [2]
    assert len(used) == 2
    # what waits in vain holds nothing on the cluster
    assert tasks_left(client) == []


def test_slow_results_are_asked_for_once(client, monkeypatch):
    monkeypatch.setattr(collecting, "PATIENCE", 0.01)
    looks = []
    go = asyncio.Event()
    real = collecting.ask_for

    async def late(*args, **kwargs):
        await go.wait()
        return await real(*args, **kwargs)

    real_nthreads = client.nthreads

    def nthreads(*args, **kwargs):
        if client.asynchronous:
            looks.append(1)
            if len(looks) == 3:
                go.set()
        return real_nthreads(*args, **kwargs)

    monkeypatch.setattr(client, "nthreads", nthreads)
    used = first_time(collecting, monkeypatch, "ask_for", late)
    with parallel_config("dask", client=client):
        assert Parallel()([delayed(increment)(1)]) == [2]
    assert len(used) == 1
    assert len(looks) >= 3


async def call_off(*_, **__):
    raise asyncio.CancelledError


def test_a_request_that_somebody_elses_ctrl_c_took_along(client, monkeypatch):
    used = first_time(collecting, monkeypatch, "ask_for", call_off)
    with parallel_config("dask", client=client):
        assert Parallel()([delayed(increment)(1)]) == [2]
    assert len(used) == 2


def test_requests_that_are_called_off_all_the_time(client, monkeypatch):
    monkeypatch.setattr(collecting, "ask_for", call_off)
    with parallel_config("dask", client=client):
        with pytest.raises(RuntimeError, match="called off again"):
            Parallel()([delayed(increment)(1)])


def test_the_end_of_a_call_stops_no_fetch(client):
    """The client may have joined it with a question of somebody else."""

    async def outcomes():
        never, comes = asyncio.Event(), asyncio.Event()
        future = types.SimpleNamespace(exception=lambda **_: never.wait())
        collector = Collector(client, list)
        fetch = collector._spawn(comes.wait())
        collector._start([(None, future)])
        [follow] = collector._following
        collector._stop()
        comes.set()
        await asyncio.wait([fetch, follow], timeout=SECONDS)
        collector._start([(None, future)])
        return fetch.result(), follow.cancelled(), len(collector._following)

    assert client.sync(outcomes) == (True, True, 0)


# ----------------------------------------------------------------- scattering
@pytest.mark.parametrize(
    "error",
    [KeyError, OSError, ValueError, asyncio.TimeoutError],
    ids=["unknown", "unreachable", "no copy", "none"],
)
def test_a_worker_that_goes_while_it_is_sent_data(client, monkeypatch, error):
    def refuse(*_, **__):
        raise error("tcp://gone:1")

    used = first_time(client, monkeypatch, "scatter", refuse)
    data = np.ones(50_000)
    with parallel_config("dask", client=client):
        assert Parallel()([delayed(total)(data)]) == [50_000.0]
    assert len(used) == 2


# ------------------------------------------------------------------ odd errors
def test_an_error_that_cannot_be_explained_ends_the_call(client, monkeypatch):
    def fail_to_explain(*_):
        raise LookupError("no words for it")

    monkeypatch.setattr(losses, "explain_loss", fail_to_explain)
    with parallel_config("dask", client=client):
        with pytest.raises(Exception, match="no "):
            Parallel(batch_size=1)(delayed(fail)(i) for i in range(3))


# -------------------------------------------------- several calls at one time
class Recorder:
    def __init__(self):
        self.heard = []

    def abort(self, error):
        self.heard.append("abort")

    def close(self):
        self.heard.append("close")


class Call:
    def __init__(self, active, aborting):
        self.active = active
        self.aborting = aborting


def test_a_context_that_ends_while_another_thread_begins_a_call(client, monkeypatch):
    """Both were given the same backend."""
    data = np.ones(300_000)
    other = DaskDistributedBackend(client=client, scatter=[data])
    may_work = backend.may_work

    def leave(*args):
        other.leave_context()
        return may_work(*args)

    monkeypatch.setattr(backend, "may_work", leave)
    with parallel_config(backend=other):
        assert Parallel()([delayed(total)(data)]) == [300_000.0]


def test_the_end_of_a_call_aborts_another_that_was_just_given_up(client):
    backend = DaskDistributedBackend(client=client)
    ended, given_up, running = Call(False, False), Call(False, True), Call(True, False)
    couriers = {call: Recorder() for call in (ended, given_up, running)}
    backend._couriers.update(couriers)
    backend.stop_call()
    assert couriers[ended].heard == ["close"]
    assert couriers[given_up].heard == ["abort"]
    assert couriers[running].heard == []
    assert list(backend._couriers) == [running]


def test_a_batch_that_comes_after_the_end_of_its_call(client):
    class Callback:
        run = Call(active=False, aborting=True)

        def __call__(self, out):
            pass

    backend = DaskDistributedBackend(client=client)
    with pytest.raises(RuntimeError, match="after its call had ended"):
        backend.submit(lambda: None, Callback())
    assert backend._couriers == {}


def test_a_generator_that_is_collected_while_the_backend_is_busy(client):
    name = "forgotten"
    backend = DaskDistributedBackend(client=client)
    with parallel_config(backend):
        outputs = Parallel(return_as="generator")(
            delayed(hold)(name, i) for i in range(3)
        )
    wait_until_begun(name, client)
    cycle = [outputs]
    cycle.append(cycle)
    with backend._lock, pytest.warns(UserWarning, match="cancelled"):
        del cycle, outputs
        gc.collect()
    assert tasks_left(client) == []
    distributed.Event(f"{name}-go", client=client).set()
