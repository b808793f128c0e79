"""Workers that die take data and results along: a call on dask makes them anew."""

from __future__ import annotations

import os
import re
import signal
import threading
import types
import uuid

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import collecting  # noqa: E402
from joblib._dask.allowance import Allowance  # noqa: E402
from joblib._dask.collecting import Lost, was_dropped  # noqa: E402
from joblib._dask.courier import Courier  # noqa: E402
from joblib._dask.losses import lost_values, lost_with_worker, sent_again  # noqa: E402
from joblib._dask.naming import Keys  # noqa: E402
from joblib._dask.sharing import Sharing  # noqa: E402
from joblib._dask.shipment import Shipment  # noqa: E402

from .dask_command import kill_all_workers, wait_for  # noqa: E402
from .dask_common import (  # noqa: E402
    end_process,
    hold,
    small_cluster,
    tasks_left,
    total,
    wait_until_begun,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("a nanny may be about to start a worker"),
]


@pytest.fixture
def client():
    """The client of a cluster of its own for each test.

    A nanny whose worker dies while it is being started starts no other one, so
    that a cluster may be left with none.
    """
    with small_cluster(n_workers=3) as client:
        yield client
        assert tasks_left(client) == []


#: kinds of data, by how it gets to the workers
KINDS = {
    "shared": lambda: np.ones(50_000),  # from the second task on, to one worker
    "sent": lambda: np.ones(100_000),  # at once, to one
    "broadcast": lambda: np.ones(300_000),  # to all workers
    "list": lambda: [float(i) for i in range(100_000)],  # held by strong reference
}


def add(data, i):
    return float(sum(data[:100])) + i


# ------------------------------------------------------------- scattered data
@pytest.mark.parametrize(
    ("kind", "is_given"), [*((kind, False) for kind in KINDS), ("list", True)]
)
def test_data_whose_every_holder_died(client, kind, is_given):
    data = KINDS[kind]()
    options = {"scatter": [data]} if is_given else {}
    expected = [add(data, i) for i in range(12)]
    killed = []

    def tasks():
        for i in range(12):
            if i == 8:
                kill_all_workers(client)
                killed.append(i)
            yield delayed(add)(data, i)

    with parallel_config("dask", **options):
        out = Parallel(pre_dispatch=4, batch_size=1)(tasks())
    assert out == expected
    assert killed


@pytest.mark.parametrize("way", ["killed", "restarted"])
def test_data_of_a_context_whose_every_holder_died(client, way):
    data = np.ones(50_000)
    with parallel_config("dask", scatter=[data]):
        for i in range(2):
            out = Parallel()(delayed(total)(data, k) for k in range(4))
            assert out == [50_000.0 + k for k in range(4)]
            if i == 0 and way == "killed":
                kill_all_workers(client)
            elif i == 0:
                client.restart(timeout=20)
    del data


def end_once(folder, data, i):
    marker = os.path.join(folder, str(i))
    if i % 10 == 0 and not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(1)
    return float(data.sum()) + i


def search(folder, base):
    data = np.full(50_000, float(base))
    tasks = (delayed(end_once)(folder, data, 10 * base + k) for k in range(4))
    return Parallel(batch_size=1)(tasks)


def test_a_task_whose_own_tasks_kill_workers(client, tmp_path):
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(
            delayed(search)(str(tmp_path), base) for base in range(2)
        )
    assert out == [[50_000.0 * b + 10 * b + k for k in range(4)] for b in range(2)]


def cancelled(reason):
    kind = getattr(distributed.client, "FutureCancelledError", None)
    if kind is None:
        pytest.skip("this release of distributed gives no reasons")
    return kind("some-key", reason)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        ("lost dependencies", True),
        ("already forgotten", True),
        ("scheduler-restart", False),
        ("scheduler-connection-lost", False),
        (None, False),
    ],
)
def test_why_a_task_was_cancelled(reason, again):
    """The news of a task's end may come before that of its arguments."""
    error = cancelled(reason)
    assert was_dropped(error) is again
    assert not was_dropped(RuntimeError(reason))
    groups = distributed.client.CancelledFuturesGroup([error.key], error.reason)
    assert was_dropped(distributed.client.FuturesCancelledError([groups])) is again


@pytest.mark.parametrize("reason", ["lost dependencies", "already forgotten"])
def test_a_task_is_sent_again_before_its_arguments_are_known_to_be_lost(
    client, monkeypatch, reason
):
    error, heard = cancelled(reason), []
    real = Courier._deliver

    def deliver(self, arrived):
        if not heard:
            heard.extend(arrived)
            arrived = [(ship, future, Lost(error, True)) for ship, future, _ in arrived]
        real(self, arrived)

    monkeypatch.setattr(Courier, "_deliver", deliver)
    data = np.ones(300_000)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(total)(data, i) for i in range(4))
    assert out == [300_000.0 + i for i in range(4)]
    heard.clear()


# -------------------------------------------------------------------- results
def large_result(i):
    return np.full(100_000, float(i))


def test_results_that_died_before_they_were_fetched(client, monkeypatch):
    """All are done, and nobody has them any more when the caller asks."""
    real, killed = collecting.ask_for, []

    async def ask_for(*args, **kwargs):
        if not killed:
            killed.extend(client.cluster.workers.values())
            for nanny in killed:
                os.kill(nanny.process.process.pid, signal.SIGKILL)
        return await real(*args, **kwargs)

    monkeypatch.setattr(collecting, "ask_for", ask_for)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(large_result)(i) for i in range(6))
    assert [array[0] for array in out] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(killed) == 3


# ----------------------------------------------------- a task that kills workers
def allow_failures(count, dask_scheduler):
    dask_scheduler.allowed_failures = count


@pytest.fixture
def no_patience(client):
    """A task that has killed a worker is given up."""
    client.run_on_scheduler(allow_failures, 0)


def call_what_kills(x):
    return Parallel()([delayed(end_process)(x)])


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (end_process, "end_process"),
        # dask blames all that the worker ran, and that may be the caller, too
        (call_what_kills, "end_process|call_what_kills"),
    ],
    ids=["flat", "nested"],
)
def test_a_task_that_kills_its_workers_is_named(client, no_patience, task, name):
    data = np.ones(300_000)
    with parallel_config("dask"):
        with pytest.raises(distributed.KilledWorker, match=name) as caught:
            Parallel()([delayed(task)(data)])
    notes = getattr(caught.value, "__notes__", None)  # Python 3.10 has none
    assert notes is None or re.search(name, str(notes))


def test_others_are_called_off_when_a_task_kills_workers(client, no_patience):
    with parallel_config("dask"), pytest.raises(distributed.KilledWorker):
        Parallel(pre_dispatch="all", batch_size=1)(
            [delayed(end_process)(0), *(delayed(hold)("others", i) for i in range(9))]
        )
    distributed.Event("others-go", client=client).set()


def end_with(data, i):
    if i == 2:
        (data[0] / uuid.uuid4().hex).touch()
        os._exit(1)
    return i


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_a_task_whose_data_dies_with_each_worker_it_kills(on_error, tmp_path):
    """dask calls it off each time, for want of the data, and so keeps no count."""
    with small_cluster(n_workers=2) as client:
        client.run_on_scheduler(allow_failures, 1)
        data = [tmp_path, np.ones(300_000)]
        with parallel_config("dask", client=client):
            run = Parallel(batch_size=1, on_error=on_error)
            tasks = [delayed(end_with)(data, i) for i in range(5)]
            if on_error == "raise":
                with pytest.raises(distributed.KilledWorker, match="end_with"):
                    run(tasks)
            else:
                out = run(tasks)
                assert isinstance(out.pop(2), distributed.KilledWorker)
                assert out == [0, 1, 3, 4]
        assert tasks_left(client) == []
    # three times, and each time dask may have had it run by both workers
    assert 2 <= len(list(tmp_path.iterdir())) <= 6


@pytest.mark.parametrize("allowed", [0, 2, 7, float("inf")])
def test_it_is_tried_as_often_as_the_scheduler_allows(allowed):
    with small_cluster(processes=False) as client:
        client.run_on_scheduler(allow_failures, allowed)
        allowance = Allowance.of(client)
        allowance.ask(client)
        wait_for(lambda: allowance.losses == allowed + 1, "answer of the scheduler")


class Endless:
    """A client whose scheduler never answers."""

    status = "running"
    loop = types.SimpleNamespace(add_callback=lambda *args: None)


def lose(shipment, client, error=None):
    """Return whether a batch is sent again, and what has ended it."""
    shipment.sendings += 1
    shipment.values = [types.SimpleNamespace(status="lost", key="data-1")]
    out = Lost(error or cancelled("lost dependencies"), error is None)
    cores = types.SimpleNamespace(suspect=lambda: None)
    again = sent_again(shipment, out, client, Sharing(None, {}, False), cores)
    return again, out.error


@pytest.mark.parametrize("losses", [1, 8])
def test_how_often_a_batch_is_sent(losses):
    client = Endless()
    Allowance.of(client).losses = losses
    shipment = Shipment(types.SimpleNamespace(name=lambda: "fit"), None)
    for _ in range(losses):
        # what cannot be sent meanwhile is no death of a worker
        assert lose(shipment, client, OSError("its worker has gone"))[0]
        assert lose(shipment, client)[0]
    again, error = lose(shipment, client)
    assert not again
    with pytest.raises(distributed.KilledWorker, match=f"on {losses + 1} diff"):
        raise error


def test_what_cannot_be_sent_is_not_tried_for_ever():
    client = Endless()
    Allowance.of(client).losses = float("inf")
    shipment = Shipment(types.SimpleNamespace(name=lambda: "fit"), None)
    gone = OSError("its worker has gone")
    for _ in range(4):
        assert lose(shipment, client, gone) == (True, gone)
    assert lose(shipment, client, gone) == (False, gone)


def test_nor_by_a_scheduler_that_allows_all():
    with small_cluster(processes=False) as client:
        client.run_on_scheduler(allow_failures, 10**6)
        allowance = Allowance.of(client)
        allowance.ask(client)
        wait_for(lambda: allowance.losses > 10**6, "answer of the scheduler")
        with (
            parallel_config("dask", client=client, allow_other_workers=True),
            pytest.raises(ValueError, match="workers"),
        ):
            Parallel()(delayed(end_with)(None, i) for i in range(2))


def total_when_told(data, i):
    if i < 4:
        hold("many", i)
    return total(data, i)


def test_one_question_for_many_batches_that_were_lost(monkeypatch):
    """Each takes a connection of its own, of which there are not so many."""
    asking = []
    peaks = []
    real = Allowance._ask

    async def noting(self, client):
        asking.append(client)
        peaks.append(len(asking))
        await real(self, client)
        asking.pop()

    monkeypatch.setattr(Allowance, "_ask", noting)
    with small_cluster(n_workers=2) as client, parallel_config("dask"):
        data = np.ones(300_000)

        def tasks():
            for i in range(400):
                yield delayed(total_when_told)(data, i)
            wait_until_begun("many", client)
            kill_all_workers(client)
            distributed.Event("many-go", client=client).set()

        out = Parallel(batch_size=1, pre_dispatch="all")(tasks())
    assert out == [data.sum() + i for i in range(400)]
    assert set(peaks) == {1}


@pytest.mark.parametrize(
    ("reason", "n_left"), [("scheduler-restart", 0), (None, 1), ("lost", 1)]
)
def test_what_somebody_has_called_off_is_not_sent_again(reason, n_left):
    shipment = Shipment(None, None)
    shipment.values = [types.SimpleNamespace(status="cancelled", key="data-1")]
    found = lost_with_worker(shipment, Lost(cancelled(reason), True))
    assert len(found or []) == n_left


@pytest.mark.parametrize(
    ("status", "is_sent_again"),
    [("finished", True), ("lost", True), ("error", False), ("cancelled", False)],
)
def test_what_depends_on_a_future_of_the_users(status, is_sent_again):
    """One that is lost may be computed anew, others are for the user to mend."""
    shipment = Shipment(None, None)
    shipment.given = [types.SimpleNamespace(status=status, key="theirs")]
    shared = types.SimpleNamespace(status="lost", key="data-1")
    shipment.values = [shared, *shipment.given]
    found = lost_with_worker(shipment, Lost(cancelled("lost dependencies"), True))
    assert found == ([shared] if is_sent_again else None)


@pytest.mark.parametrize(
    ("status", "is_lost"),
    [("pending", False), ("lost", False), ("finished", False), ("cancelled", True)],
)
def test_functions_that_dask_computes_again_are_not_lost(status, is_lost):
    key = Keys().of_function(len)
    shipment = Shipment(None, None)
    shipment.values = [types.SimpleNamespace(status=status, key=key)]
    assert lost_values(shipment) == (shipment.values if is_lost else [])


def is_retiring(client, address):
    def status(dask_scheduler):
        worker = dask_scheduler.workers.get(address)
        return worker is None or worker.status.name == "closing_gracefully"

    return client.run_on_scheduler(status)


def test_a_worker_that_is_retired_in_the_middle_of_a_call():
    data = np.ones(300_000)
    with small_cluster(n_workers=2) as client, parallel_config("dask", client=client):
        first = next(iter(client.nthreads()))
        outputs = Parallel(return_as="generator", batch_size=1, pre_dispatch="all")(
            delayed(hold if i < 2 else total)(*(("retired", i) if i < 2 else (data, i)))
            for i in range(8)
        )
        wait_until_begun("retired", client)
        retiring = threading.Thread(target=client.retire_workers, args=([first],))
        retiring.start()  # it takes until the worker has nothing left to do
        wait_for(lambda: is_retiring(client, first), "worker that retires")
        distributed.Event("retired-go", client=client).set()
        assert list(outputs) == [0, 1, *(300_000.0 + i for i in range(2, 8))]
        retiring.join(20)
        assert not retiring.is_alive()
        assert tasks_left(client) == []
